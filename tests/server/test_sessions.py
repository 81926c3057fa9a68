"""Sessions on the wire: who is closed, who is not, and what nobody is told."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.server.talk import Talk, until
from tests.servers import OurServer

Start = Callable[..., OurServer]


def begin(talk: Talk, grace: int = 1000) -> bytes:
    """Begin a session; its token."""
    talk.ask(b"capabilities session resume\r\n")
    word, token = talk.ask(b"session %d\r\n" % grace).split()
    assert word == b"SESSION"
    assert len(token) == 32
    return token


def test_a_session_is_unknown_until_it_is_asked_for(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        assert talk.ask(b"session 5\r\n") == b"UNKNOWN_COMMAND\r\n"
        assert talk.ask(b"resume x\r\n") == b"UNKNOWN_COMMAND\r\n"


def test_tokens_cannot_be_guessed(our_server: OurServer) -> None:
    tokens = set()
    for _ in range(50):
        with Talk(our_server) as talk:
            tokens.add(begin(talk))
    assert len(tokens) == 50
    assert all(token.isalnum() for token in tokens)


def test_who_waits_and_loses_its_session_is_closed(our_server: OurServer) -> None:
    """And what comes behind goes to nobody who is not there."""
    with Talk(our_server) as first, Talk(our_server) as second, Talk(our_server) as other:
        token = begin(first)
        other.ask(b"put 0 0 60 1\r\na\r\n")
        assert first.ask(b"reserve\r\n") == b"RESERVED 1 1\r\na\r\n"
        first.send(b"reserve\r\nuse a\r\n")
        until(other, "current-waiting", 1)
        second.ask(b"capabilities session resume\r\n")
        second.send(b"resume %b\r\nreserve-with-timeout 0\r\n" % token)
        assert second.reply() == b"RESUMED 1 8\r\n---\n- 1\n\r\n"
        assert second.reply() == b"TIMED_OUT\r\n"
        assert first.reply() == b""
        assert other.figure("current-waiting") == 0
        assert other.figure("current-connections") == 2
        assert second.ask(b"delete 1\r\n") == b"DELETED\r\n"


def test_in_one_write_with_what_comes_behind(our_server: OurServer) -> None:
    with Talk(our_server) as first, Talk(our_server) as second:
        first.send(b"capabilities session\r\nsession 9\r\nput 0 0 60 1\r\na\r\nreserve\r\n")
        _, told, _, job = (first.reply() for _ in range(4))
        assert job == b"RESERVED 1 1\r\na\r\n"
        token = told.split()[1]
        second.send(
            b"capabilities resume\r\nresume %b\r\nresume %b\r\ndelete 1\r\n" % (token, token)
        )
        heard = [second.reply() for _ in range(4)][1:]
        assert heard == [b"RESUMED 1 8\r\n---\n- 1\n\r\n"] * 2 + [b"DELETED\r\n"]


def test_a_reset_connection_is_a_lost_one(our_server: OurServer) -> None:
    """As is one whose process was killed, and one that half of a command came over."""
    with Talk(our_server) as other:
        for number, end in enumerate((b"", b"put 0 0 60 100\r\nhalf", b"quit"), 1):
            other.ask(b"put 0 0 60 1\r\na\r\n")
            with Talk(our_server) as talk:
                token = begin(talk)
                talk.ask(b"reserve\r\n")
                talk.send(end)
            until(other, "current-connections", 1)
            assert other.figure("current-jobs-reserved") == 1
            other.ask(b"capabilities resume\r\n")
            assert other.ask(b"resume %b\r\n" % token) == b"RESUMED 1 8\r\n---\n- %d\n\r\n" % number
            assert other.ask(b"delete %d\r\n" % number) == b"DELETED\r\n"


def test_a_session_ends_with_a_restart(start_ours: Start, tmp_path: Path) -> None:
    """By a stop in order or a kill, and whether its connection is there or was lost before."""
    for number, end in enumerate((signal.SIGTERM, signal.SIGKILL) * 2, 1):
        server = start_ours("--data", str(tmp_path))
        with Talk(server) as talk, Talk(server) as other:
            token = begin(talk)
            other.ask(b"put 0 0 60 1\r\na\r\n")
            assert talk.ask(b"reserve\r\n").startswith(b"RESERVED")
            if number > 2:
                talk.close()
                until(other, "current-connections", 1)
            server.process.send_signal(end)
            server.process.wait()
        server = start_ours("--data", str(tmp_path))
        with Talk(server) as talk:
            begin(talk)
            assert talk.ask(b"resume %b\r\n" % token) == b"NOT_FOUND\r\n"
            assert talk.figure("current-jobs-ready") == 1
            assert talk.ask(b"reserve\r\n").startswith(b"RESERVED")
            assert talk.ask(b"delete %d\r\n" % _only_job(talk)) == b"DELETED\r\n"
        server.stop()


def _only_job(talk: Talk) -> int:
    """The id of the one job that there may be."""
    for number in range(1, 100):
        if talk.ask(b"stats-job %d\r\n" % number) != b"NOT_FOUND\r\n":
            return number
    raise AssertionError("there is none")
