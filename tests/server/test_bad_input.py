"""What a server must survive: it answers, stays small, and serves the others meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.server.talk import Talk, cpu_seconds, memory, until
from tests.servers import OurServer

MIB = 1 << 20


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", b"UNKNOWN_COMMAND"),
        (b"PUT 0 0 1 1", b"UNKNOWN_COMMAND"),
        (b"put", b"UNKNOWN_COMMAND"),
        (b"put 0 0 1", b"BAD_FORMAT"),
        (b"put -1 0 1 1", b"BAD_FORMAT"),
        (b"put 0 0 1 4294967296", b"BAD_FORMAT"),
        (b"delete x", b"BAD_FORMAT"),
        (b"delete\t1", b"UNKNOWN_COMMAND"),
        (b"reserve-with-timeout -1", b"BAD_FORMAT"),
        (b"use " + b"x" * 201, b"BAD_FORMAT"),
        (b"use -x", b"BAD_FORMAT"),
        (b"use a\0b", b"BAD_FORMAT"),
        (b"use \xff", b"BAD_FORMAT"),
        (b"statsx", b"BAD_FORMAT"),
        (b"x" * 5000, b"BAD_FORMAT"),
    ],
)
def test_a_malformed_line_is_answered_and_the_next_one_read(
    our_server: OurServer, line: bytes, reply: bytes
) -> None:
    with Talk(our_server) as talk:
        assert talk.ask(line + b"\r\n") == reply + b"\r\n"
        assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"


def test_a_line_that_never_ends_takes_no_memory(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        before = memory(our_server.pid)
        for _ in range(32):
            talk.send(b"x" * MIB)
            assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        assert memory(our_server.pid) - before < 8 * MIB
        assert talk.ask(b"\r\n") == b"BAD_FORMAT\r\n"


def test_a_body_over_the_limit_is_thrown_away_as_it_comes(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        before = memory(our_server.pid)
        talk.send(b"put 0 0 60 %d\r\n" % (64 * MIB))
        for _ in range(64):
            talk.send(b"x" * MIB)
        assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        assert memory(our_server.pid) - before < 8 * MIB
        assert talk.ask(b"\r\n") == b"JOB_TOO_BIG\r\n"
        assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"


def test_a_body_that_is_never_finished_is_no_job(our_server: OurServer) -> None:
    with Talk(our_server) as other:
        with Talk(our_server) as talk:
            talk.send(b"put 0 0 60 1000\r\nhalf of it")
            assert other.figure("current-jobs-ready") == 0
        until(other, "current-connections", 1)
        assert other.figure("total-jobs") == 0


def test_ten_thousand_commands_in_one_packet_let_others_through(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        talk.send(b"put 0 0 60 5\r\nhello\r\n" * 10_000)
        assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        seen = other.figure("total-jobs")
        assert [talk.reply() for _ in range(10_000)] == [
            b"INSERTED %d\r\n" % number for number in range(1, 10_001)
        ]
        assert seen < 10_000, "the other connection waited for all of them"


def test_one_byte_a_packet(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        for byte in b"put 0 0 60 5\r\nhello\r\nreserve\r\n":
            talk.send(bytes([byte]))
        assert talk.reply() == b"INSERTED 1\r\n"
        assert talk.reply() == b"RESERVED 1 5\r\nhello\r\n"


def test_a_large_body_takes_time_and_memory_by_its_size(
    start_ours: Callable[..., OurServer],
) -> None:
    server = start_ours("-z", str(64 * MIB))
    spent: dict[int, float] = {}
    with Talk(server) as talk:
        for size in (10 * MIB, *[50 * MIB] * 3):  # the best of three: others work here too
            body = b"b" * size
            before = cpu_seconds(server.pid)
            assert talk.ask(b"put 0 0 60 %d\r\n%b\r\n" % (size, body)).startswith(b"INSERTED")
            reply = talk.ask(b"reserve\r\n")
            assert reply.endswith(body + b"\r\n")
            assert talk.ask(b"delete %d\r\n" % int(reply.split(b" ")[1])) == b"DELETED\r\n"
            spent[size] = min(cpu_seconds(server.pid) - before, spent.get(size, 60))
        # Five times the size: quadratic work would be 25 times the time.
        assert spent[50 * MIB] < 15 * max(spent[10 * MIB], 0.01)
        assert memory(server.pid) < 250 * MIB


def test_others_are_served_while_a_large_body_drips(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours("-z", str(64 * MIB))
    with Talk(server) as talk, Talk(server) as other:
        talk.send(b"put 0 0 60 %d\r\n" % (20 * MIB))
        for _ in range(20):
            talk.send(b"x" * MIB)
            start = time.monotonic()
            assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
            assert time.monotonic() - start < 2
        assert talk.ask(b"\r\n") == b"INSERTED 1\r\n"


def test_a_peer_that_does_not_read_is_not_served_on(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        other.ask(b"put 0 0 60 60000\r\n" + b"x" * 60_000 + b"\r\n")
        before = memory(our_server.pid)
        talk.socket.settimeout(0.2)
        asked = 0
        try:
            while asked < 100_000:  # 6 GB of replies, were they all made
                talk.send(b"peek 1\r\n" * 100)
                asked += 100
        except TimeoutError:
            pass
        assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        assert memory(our_server.pid) - before < 32 * MIB
        talk.socket.settimeout(10)
        for _ in range(100):
            assert talk.reply().startswith(b"FOUND 1 60000\r\n")


def test_a_thousand_connections(our_server: OurServer) -> None:
    talks = [Talk(our_server) for _ in range(1000)]
    try:
        for talk in talks:
            talk.send(b"put 0 0 60 1\r\na\r\n")
        assert sorted(int(talk.reply().split(b" ")[1]) for talk in talks) == [*range(1, 1001)]
        assert talks[0].figure("current-connections") == 1000
    finally:
        for talk in talks:
            talk.close()


def test_a_browser_is_sent_away(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        talk.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nput 0 0 60 4\r\nevil\r\n")
        assert talk.reply() == b""
        assert other.figure("total-jobs") == 0
