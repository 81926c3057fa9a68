"""Bytes into requests: what each line means, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanrow.protocol import request_stream
from beanrow.protocol import requests as r
from beanrow.protocol.lines import parse_line
from beanrow.protocol.request_stream import AT_ONCE, RequestStream

BAD = r.BadFormat()
UNKNOWN = r.UnknownCommand()
LINES: list[tuple[bytes, r.Parsed]] = [
    (b"put 1 2 3 4", r.PutLine(1, 2, 3, 4)),
    (b"put  1   2 3 4", r.PutLine(1, 2, 3, 4)),
    (b"put 1 2 3 4 junk", r.PutLine(1, 2, 3, 4, r.BadFormat("put"))),
    (b"put 1 2 3 4 ", r.PutLine(1, 2, 3, 4, r.BadFormat("put"))),
    (b"put 4294967296 0 0 0", BAD),
    (b"put 1 2 3", BAD),
    (b"put +1 2 3 4", BAD),
    (b"put 1_0 2 3 4", BAD),
    (b"put\t1 2 3 4", UNKNOWN),
    (b"reserve", r.Reserve()),
    (b"reserve ", BAD),
    (b"reservefoo", BAD),
    (b"reserve-with-timeout 2147483647", r.ReserveWithTimeout(2147483647)),
    (b"reserve-with-timeout 2147483648", BAD),
    (b"reserve-with-timeout", BAD),
    (b"reserve-with-timeout ", BAD),
    (b"reserve-job 7", r.ReserveJob(7)),
    (b"delete 18446744073709551615", r.Delete(2**64 - 1)),
    (b"delete 18446744073709551616", BAD),
    (b"delete  5", r.Delete(5)),
    (b"delete 5 ", BAD),
    (b"delete", UNKNOWN),
    (b"delete ", BAD),
    (b"release 1 2 3", r.Release(1, 2, 3)),
    (b"release 1 2 3 4", BAD),
    (b"bury 1 2", r.Bury(1, 2)),
    (b"bury 1 2 ", BAD),
    (b"touch 1", r.Touch(1)),
    (b"kick 3 junk", r.Kick(3)),
    (b"kick \t+3", r.Kick(3)),
    (b"kick 4294967296", r.Kick(0)),
    (b"kick 4294967297", r.Kick(1)),
    (b"kick 18446744073709551616", BAD),
    (b"kick -1", BAD),
    (b"kick", UNKNOWN),
    (b"kick-job 3", r.KickJob(3)),
    (b"peek 3", r.Peek(3)),
    (b"peek-ready", r.PeekReady()),
    (b"peek-readyx", BAD),
    (b"peek", UNKNOWN),
    (b"stats", r.Stats()),
    (b"stats ", BAD),
    (b"statsx", BAD),
    (b"stats-job", BAD),
    (b"stats-job 3", r.StatsJob(3)),
    (b"stats-tube a", r.StatsTube("a")),
    (b"stats-tube a ", BAD),
    (b"list-tubes", r.ListTubes()),
    (b"list-tube", UNKNOWN),
    (b"list-tube-used", r.ListTubeUsed()),
    (b"list-tubes-watched", r.ListTubesWatched()),
    (b"use " + b"x" * 200, r.Use("x" * 200)),
    (b"use " + b"x" * 201, BAD),
    (b"use -x", BAD),
    (b"use  x", BAD),
    (b"use azAZ09-+/;.$_()", r.Use("azAZ09-+/;.$_()")),
    (b"watch null", r.Watch("null")),
    (b"ignore 12145", r.Ignore("12145")),
    (b"pause-tube a 5", r.PauseTube("a", 5)),
    (b"pause-tubea 5", r.PauseTube("a", 5)),
    (b"pause-tube a", BAD),
    (b"pause-tube -a 5", r.BadFormat(counted="pause-tube")),
    (b"quit", r.Quit()),
    (b"quit  ", r.Quit()),
    (b"quitx", UNKNOWN),
    (b"", UNKNOWN),
    (b"STATS", UNKNOWN),
    (b"use a\0b", BAD),
    (b"GET / HTTP/1.1", r.Quit()),
]


@pytest.mark.parametrize(("line", "request_"), LINES)
def test_a_line_is_read_as_the_daemon_reads_it(line: bytes, request_: r.Parsed) -> None:
    parsed = parse_line(line)
    assert type(parsed) is type(request_)
    assert parsed == request_


@given(st.binary(max_size=230))
def test_any_line_becomes_a_request(line: bytes) -> None:
    assert isinstance(parse_line(line), tuple)


def read_all(stream: RequestStream) -> list[r.Request]:
    found = []
    while (request := stream.next()) is not None:
        found.append(request)
    return found


def feed_and_read_all(stream: RequestStream, data: bytes) -> list[r.Request]:
    stream.feed(data)
    return read_all(stream)


def feed_and_read_many(stream: RequestStream, data: bytes) -> list[r.Request]:
    """As the server does: one alone without a detour, as many at once as are usual otherwise."""
    only = stream.only(data)
    if only is not None:
        return [only]
    stream.feed(data)
    return read_many(stream)


def read_many(stream: RequestStream) -> list[r.Request]:
    found = []
    while (request := stream.next()) is not None:
        found.append(request)
        found += stream.take() or []
    return found


PIECES = st.one_of(
    st.sampled_from([line + b"\r\n" for line, _ in LINES]),
    st.sampled_from(
        [
            b"reserve\r",
            b"put 0 0 1 3\r\n",
            b"put 0 0 1 0\r\n",
            b"put 0 0 1 3\r\nabc\r\n",
            b"put 0 0 1 3\r\nabcXX",
            b"put 0 0 1 30\r\n" + b"y" * 32,
            b"put 0 0 1 0\r\n\r\n",
            b"put 0 0 1 10\r\na\r\nb\r\n\r\nc\r\r\n",
            b"put 0 0 1 8\r\n\r\nab\r\n\r\n\r\n",
            b"put 0 0 1 2\r\na\r\n\r\n",
            b"put 0 0 1 3\r\na\r\nb\r\n",
            b"put 0 0 1 " + b"3".zfill(212) + b"\r\nabc\r\n",
            b"put 0 0 1 " + b"3".zfill(213) + b"\r\nabc\r\n",
            b"\r",
            b"\n",
            b"a\rb\r\n",
            b"x" * 223 + b"\r\n",
            b"x" * 222 + b"\r\n",
            b"x" * 224,
            b"x" * 447 + b"\r\n",
        ]
    ),
    st.binary(max_size=20),
)


@given(st.lists(PIECES, max_size=30), st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_what_a_stream_means_does_not_depend_on_its_pieces(
    pieces: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(pieces)
    whole = RequestStream(20)
    expected = feed_and_read_all(whole, data)
    for read in (feed_and_read_all, feed_and_read_many):
        stream, at, turn = RequestStream(20), 0, 0
        found: list[r.Request] = []
        while at < len(data):
            size = cuts[turn % len(cuts)]
            found += read(stream, data[at : at + size])
            at, turn = at + size, turn + 1
        assert [(type(one), one) for one in found] == [(type(one), one) for one in expected]


def test_nothing_of_a_body_over_the_limit_is_kept() -> None:
    stream = RequestStream(10)
    stream.feed(b"put 0 0 1 1000000\r\n")
    for _ in range(100):
        stream.feed(b"x" * 10_000)
        assert stream.next() is None
        assert stream.buffered == 0
    stream.feed(b"\r\nstats\r\n")
    assert [type(one) for one in read_all(stream)] == [r.PutTooBig, r.Stats]


def test_one_alone_is_read_without_a_detour() -> None:
    stream = RequestStream(10)
    assert stream.only(b"delete 7\r\n") == r.Delete(7)
    assert stream.only(b"put 1 2 3 4\r\na\r\nb\r\n") == r.Put(1, 2, 3, b"a\r\nb")
    assert stream.only(b"delete 7\r\ndelete 8\r\n") is None
    assert stream.only(b"put 1 2 3 0\r\n\r\n") == r.Put(1, 2, 3, b"")
    assert stream.only(b"put 1 2 3 0\r\n") is None
    assert stream.only(b"") is None
    stream.feed(b"delete ")
    assert stream.only(b"delete 7\r\n") is None


def test_many_at_once_are_bounded_and_the_rest_is_still_there() -> None:
    stream = RequestStream(10)
    stream.feed(b"put 0 0 1 1\r\nx\r\n" + b"delete 7\r\n" * (2 * AT_ONCE))
    taken = stream.take()
    assert taken is not None
    assert len(taken) == AT_ONCE - 1  # the body of the put counts as a line
    assert stream.buffered == len(b"delete 7\r\n") * (AT_ONCE + 2)
    assert len(read_many(stream)) == AT_ONCE + 2
    assert stream.take() is None


@pytest.mark.parametrize("kept_back", [0, 1, 5, 7, 20])
def test_a_line_that_comes_twice_is_not_remembered(kept_back: int) -> None:
    """However it arrives: else it pins memory that its neighbours have left, a megabyte for each."""
    stream, known = RequestStream(100), dict(request_stream._known_lines)
    line = b"put 123456789 %d 60 3\r\nabc\r\n" % kept_back
    for _ in range(2):
        data = line + b"delete 1\r\n"
        cut = len(data) - kept_back
        feed_and_read_many(stream, data[:cut])
        feed_and_read_many(stream, data[cut:])
    assert request_stream._known_lines == known


def test_a_line_is_longer_only_once_a_word_of_ours_is_switched_on() -> None:
    line = b"list-jobs %b ready 0 1000\r\n" % (b"x" * 200)
    stream = RequestStream(100)
    assert feed_and_read_many(stream, line + b"swallowed\r\n") == [BAD]
    asked = feed_and_read_many(stream, b"capabilities list-jobs\r\n" + line + line)
    assert asked[1:] == [r.ListJobs("x" * 200, "ready", 0, 1000)] * 2
    assert feed_and_read_many(stream, b"y" * 510 + b"\r\n") == [UNKNOWN]
    assert feed_and_read_many(stream, b"y" * 511 + b"\r\n\r\n") == [BAD]


def test_a_long_line_is_no_line_to_a_stream_without_our_words() -> None:
    """Also not where another stream has switched them on and says it over and over."""
    put = b"put 0 0 1 " + b"3".zfill(300) + b"\r\nabc\r\n"
    asking = RequestStream(100)
    feed_and_read_many(asking, b"capabilities truncate\r\n")
    for _ in range(10):
        assert feed_and_read_many(asking, put) == [r.Put(0, 0, 1, b"abc")]
        assert feed_and_read_many(asking, put + put) == [r.Put(0, 0, 1, b"abc")] * 2
    for data in (put, put + put, b"stats\r\n" + put):
        assert r.Put not in map(type, feed_and_read_many(RequestStream(100), data))
