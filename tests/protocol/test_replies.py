"""Replies cut out of a stream, however it arrives."""

from __future__ import annotations

import random
import time

import pytest

from beanrow.protocol import replies
from beanrow.protocol.replies import ReplyStream, reply_end

SOME = [
    replies.inserted(1),
    replies.reserved(7, b"hello\r\nRESERVED 1 2\r\n"),
    replies.DELETED,
    replies.found(2**64 - 1, b""),
    replies.ok(b"---\n- default\n"),
    replies.using("default"),
    replies.NOT_FOUND,
    replies.kicked(0),
    replies.watching(3),
    replies.RELEASED,
]


def cut_out(chunks: list[bytes]) -> list[bytes]:
    stream, cut = ReplyStream(), []
    for chunk in chunks:
        stream.feed(chunk)
        while (reply := stream.next()) is not None:
            cut.append(reply)
    assert stream.idle
    return cut


def test_all_in_one_piece() -> None:
    assert cut_out([b"".join(SOME)]) == SOME


def test_byte_by_byte() -> None:
    assert cut_out([bytes([byte]) for byte in b"".join(SOME)]) == SOME


@pytest.mark.parametrize("seed", range(50))
def test_in_pieces_of_any_size(seed: int) -> None:
    chance, data, chunks = random.Random(seed), b"".join(SOME), []
    while data:
        size = chance.choice([1, 2, 3, 10, 40])
        chunks.append(data[:size])
        data = data[size:]
    assert cut_out(chunks) == SOME


def test_a_piece_of_a_reply_is_not_idle() -> None:
    stream = ReplyStream()
    assert stream.idle
    for piece in (b"RESERVED", b" 1 3\r\n", b"ab", b"c\r"):
        stream.feed(piece)
        assert stream.next() is None
        assert not stream.idle
    stream.feed(b"\n")
    assert stream.next() == b"RESERVED 1 3\r\nabc\r\n"
    assert stream.idle


def test_a_large_body_takes_linear_time() -> None:
    """50 MB in 64 KiB pieces: copied anew for each, they would take many seconds."""
    stream = ReplyStream()
    chunk, count = b"x" * 65536, 800
    began = time.process_time()
    stream.feed(b"RESERVED 1 %d\r\n" % (65536 * count))
    for _ in range(count):
        assert stream.next() is None
        stream.feed(chunk)
    stream.feed(b"\r\n")
    reply = stream.next()
    assert time.process_time() - began < 2
    assert reply is not None
    assert len(reply) > 65536 * count


@pytest.mark.parametrize(
    "garbage", [b"x" * 1025, b"RESERVED 1 -1\r\n", b"OK lots\r\n", b"FOUND 1 \r\n"]
)
def test_what_cannot_begin_a_reply(garbage: bytes) -> None:
    stream = ReplyStream()
    stream.feed(garbage)
    with pytest.raises(ValueError, match=r".*"):
        stream.next()


def test_where_a_reply_ends_is_known_before_it_is_there() -> None:
    assert reply_end(b"RESERVED 1 100\r\nx", 0) == 16 + 100 + 2
    assert reply_end(b"RESERVED 1 100", 0) == 0
    assert reply_end(b"xxDELETED\r\n", 2) == 11
