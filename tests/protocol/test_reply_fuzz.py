"""A server that says anything: replies are cut out alike, and read as a value or our own error."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from beanrow import BeanstalkError
from beanrow.protocol.commands import Command
from beanrow.protocol.replies import ReplyStream
from tests.protocol.test_halves import HALVES

WORDS = st.sampled_from(
    [
        *(
            b"INSERTED",
            b"RESERVED",
            b"FOUND",
            b"OK",
            b"USING",
            b"RESUMED",
            b"WATCHING",
            b"BURIED",
            b"KICKED",
        ),
        *(b"DELETED", b"NOT_FOUND", b"TIMED_OUT", b"DEADLINE_SOON", b"DRAINING", b"NOT_IGNORED"),
        *(b"OUT_OF_MEMORY", b"EXPECTED_CRLF", b"JOB_TOO_BIG", b"RELEASED", b"TOUCHED", b"PAUSED"),
        *(
            b"BAD_FORMAT",
            b"UNKNOWN_COMMAND",
            b"SESSION",
            b"EXISTS",
            b"TRUNCATED",
            b"INTERNAL_ERROR",
            b"HELLO",
            b"",
        ),
    ]
)
NUMBERS = st.sampled_from([b"0", b"1", b"7", b"-1", b"007", b"1" * 30, b"x", b"", b"\xff", b"1_0"])
BODIES = st.sampled_from([b"", b"a", b"---\n- a\n", b"---\nid: 1\n", b"---\n: \n", b"\xff" * 7])
REPLIES = st.builds(
    lambda word, numbers, end, body, tail: b" ".join([word, *numbers]) + end + body + tail,
    WORDS,
    st.lists(NUMBERS, max_size=3),
    st.sampled_from([b"\r\n", b"\n", b" \r\n", b""]),
    BODIES,
    st.sampled_from([b"", b"\r\n", b"\n"]),
)
COMMANDS = [command for command, _ in HALVES]


@settings(max_examples=500, deadline=None)
@given(command=st.sampled_from(COMMANDS), reply=st.one_of(REPLIES, st.binary(max_size=60)))
def test_any_reply_is_a_value_or_an_error_of_ours(command: Command[object], reply: bytes) -> None:
    with suppress(BeanstalkError):
        command.answer(reply)


def cut(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The replies, and whether the bytes turned out to be none."""
    stream, found = ReplyStream(), []
    try:
        for piece in pieces:
            stream.feed(piece)
            while (reply := stream.next()) is not None:
                found.append(reply)
    except ValueError:
        return found, True
    return found, False


@given(st.lists(REPLIES, max_size=10), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_what_a_stream_means_does_not_depend_on_its_pieces(
    replies: list[bytes], cuts: list[int]
) -> None:
    data, pieces = b"".join(replies), []
    whole = cut([data] if data else [])
    while data:
        for size in cuts:
            pieces.append(data[:size])
            data = data[size:]
    assert cut([piece for piece in pieces if piece]) == whole
