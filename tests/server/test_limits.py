"""Each limit: what is refused, in which words, and that the others are served on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from beanrow.engine.limited import JOB_OVERHEAD, LimitedEngine, Room
from beanrow.protocol import replies
from beanrow.protocol.requests import Delete, Put, Use
from tests.server.talk import Talk, until
from tests.servers import OurServer

Start = Callable[..., OurServer]
BODY = b"x" * 600
PUT = b"put 0 0 60 600\r\n" + BODY + b"\r\n"


@pytest.fixture
def talks() -> Iterator[Callable[[OurServer], Talk]]:
    with ExitStack() as opened:
        yield lambda server: opened.enter_context(Talk(server))


def put(talk: Talk) -> bytes:
    return talk.ask(PUT).split()[0]


# -- of jobs ----------------------------------------------------------------------


def test_memory_is_bounded_and_comes_back(start_ours: Start) -> None:
    server = start_ours("--max-memory", str(3 * (600 + JOB_OVERHEAD)))
    with Talk(server) as talk, Talk(server) as other:
        assert [put(talk) for _ in range(4)] == [b"INSERTED"] * 3 + [b"OUT_OF_MEMORY"]
        assert other.ask(b"put 0 0 60 0\r\n\r\n") == b"OUT_OF_MEMORY\r\n"  # the job itself weighs
        assert other.figure("total-jobs") == 3
        assert other.figure("current-producers") == 2
        assert other.ask(b"reserve\r\n") == b"RESERVED 1 600\r\n" + BODY + b"\r\n"
        assert other.ask(b"release 1 0 0\r\n") == b"RELEASED\r\n"  # what is in may stay in
        assert other.ask(b"delete 1\r\n") == b"DELETED\r\n"
        assert talk.ask(PUT) == b"INSERTED 4\r\n"  # a refused put takes no id
        assert put(talk) == b"OUT_OF_MEMORY"


def test_jobs_of_a_tube_are_bounded(start_ours: Start) -> None:
    with Talk(start_ours("--max-tube-jobs", "2")) as talk:
        assert [put(talk) for _ in range(3)] == [b"INSERTED"] * 2 + [b"OUT_OF_MEMORY"]
        talk.ask(b"use other\r\n")
        assert put(talk) == b"INSERTED"
        talk.ask(b"use default\r\n")
        talk.ask(b"reserve\r\n")
        assert put(talk) == b"OUT_OF_MEMORY"  # a reserved job is a job of the tube
        talk.ask(b"delete 1\r\n")
        assert put(talk) == b"INSERTED"


def test_bytes_of_a_tube_are_bounded(start_ours: Start) -> None:
    with Talk(start_ours("--max-tube-bytes", "1300")) as talk:
        assert [put(talk) for _ in range(3)] == [b"INSERTED"] * 2 + [b"OUT_OF_MEMORY"]
        assert talk.ask(b"put 0 0 60 100\r\n" + b"y" * 100 + b"\r\n") == b"INSERTED 3\r\n"
        talk.ask(b"use other\r\n")
        assert put(talk) == b"INSERTED"
        talk.ask(b"delete 1\r\n")
        talk.ask(b"use default\r\n")
        assert put(talk) == b"INSERTED"


def test_draining_is_told_before_a_limit(start_ours: Start) -> None:
    server = start_ours("--max-tube-jobs", "1")
    with Talk(server) as talk:
        put(talk)
        os.kill(server.pid, signal.SIGUSR1)
        while b"draining: true" not in talk.ask(b"stats\r\n"):
            pass
        assert talk.ask(PUT) == b"DRAINING\r\n"


def test_what_is_counted_is_what_is_there() -> None:
    """Empty bodies, tubes that vanish, and a job that leaves in any state."""
    engine = LimitedEngine(0, room=Room(memory=10**6, tube_bytes=1000))
    session = engine.open()
    for number, size in enumerate((0, 7, 0, 300), 1):
        engine.execute(session, Use(f"tube{size}"), 0)
        assert (
            engine.execute(session, Put(0, number % 2, 60, b"x" * size), 0)
            == b"INSERTED %d\r\n" % number
        )
    assert engine.memory == 307 + 4 * JOB_OVERHEAD
    for number in range(1, 5):
        assert engine.execute(session, Delete(number), 0) == replies.DELETED
    assert engine.memory == 0
    assert all(tube.bytes == 0 for tube in engine.tubes.values())


# -- of connections ---------------------------------------------------------------


def test_connections_are_bounded(start_ours: Start, talks: Callable[[OurServer], Talk]) -> None:
    server = start_ours("--max-connections", "3", "--log", "json")
    served = [talks(server) for _ in range(3)]
    assert [talk.ask(b"list-tube-used\r\n") for talk in served] == [b"USING default\r\n"] * 3
    for _ in range(4):
        refused = talks(server)
        assert refused.reply() == b"OUT_OF_MEMORY\r\n"
        assert refused.reply() == b""
    assert [talk.ask(b"list-tube-used\r\n") for talk in served] == [b"USING default\r\n"] * 3
    (told,) = map(json.loads, server.told().splitlines())  # one line, however many came
    assert told["event"] == "connections-refused"
    assert "--max-connections" in told["message"]
    served[0].close()
    until(served[1], "current-connections", 2)
    assert talks(server).ask(b"list-tube-used\r\n") == b"USING default\r\n"


def drip_a_body(talk: Talk) -> None:
    talk.send(b"put 0 0 60 1000\r\n")


def drip_a_body_over_the_limit(talk: Talk) -> None:
    talk.send(b"put 0 0 60 1000000\r\n")


def drip_a_line(talk: Talk) -> None:
    talk.send(b"delete ")


def drip_a_line_without_end(talk: Talk) -> None:
    talk.send(b"x" * 500)


SLOW = [drip_a_body, drip_a_body_over_the_limit, drip_a_line, drip_a_line_without_end]


def test_who_is_slow_is_closed_and_nobody_else(
    start_ours: Start, talks: Callable[[OurServer], Talk]
) -> None:
    """Also who has been served well before, and who never reads what it asked for."""
    server = start_ours("--slow-timeout", "1")
    waiting, holding, silent = talks(server), talks(server), talks(server)
    silent.ask(b"put 0 0 60 60000\r\n" + b"x" * 60_000 + b"\r\n")
    holding.ask(b"reserve-job 1\r\n")
    waiting.send(b"reserve\r\ndelete ")  # half a request behind it: nobody could carry it out
    slow = []
    for begin in SLOW:
        slow.append(talks(server))
        assert slow[-1].ask(b"list-tube-used\r\n") == b"USING default\r\n"
        begin(slow[-1])
    reader = talks(server)
    reader.send(b"peek 1\r\n" * 1000)
    began = time.monotonic()
    gone: set[int] = set()
    while len(gone) < len(slow):
        assert time.monotonic() - began < 10
        assert silent.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        for number, talk in enumerate(slow):
            try:
                talk.send(b"1")
            except OSError:
                gone.add(number)
        time.sleep(0.02)
    assert time.monotonic() - began > 0.9
    until(silent, "current-connections", 3)
    holding.ask(b"delete 1\r\n")
    holding.ask(b"put 0 0 60 1\r\na\r\n")
    assert waiting.reply() == b"RESERVED 2 1\r\na\r\n"
    waiting.send(b"2\r\n")
    assert waiting.reply() == b"DELETED\r\n"
    assert server.told().count("slow for too long (--slow-timeout)") == len(slow) + 1


def test_a_long_body_may_take_long_if_it_comes(start_ours: Start) -> None:
    server = start_ours("--slow-timeout", "1", "-z", "10000000")
    with Talk(server) as talk:
        talk.send(b"put 0 0 60 900000\r\n")
        for _ in range(9):
            talk.send(b"x" * 100_000)
            time.sleep(0.2)
        assert talk.ask(b"\r\n") == b"INSERTED 1\r\n"


def test_who_is_idle_is_closed_and_nobody_else(
    start_ours: Start, talks: Callable[[OurServer], Talk]
) -> None:
    server = start_ours("--idle-timeout", "1")
    busy, waiting, holding, idle, fresh = (talks(server) for _ in range(5))
    busy.ask(PUT)
    holding.ask(b"reserve-job 1\r\n")
    waiting.send(b"reserve\r\n")
    idle.ask(b"list-tube-used\r\n")
    while busy.figure("current-connections") > 3:
        time.sleep(0.02)
    assert idle.reply() == b""
    assert fresh.reply() == b""
    assert holding.ask(b"delete 1\r\n") == b"DELETED\r\n"
    busy.ask(PUT)
    assert waiting.reply().startswith(b"RESERVED 2")
    assert server.told().count("idle for too long (--idle-timeout)") == 2


# -- drain and the end ------------------------------------------------------------


def test_sigusr2_ends_drain_mode(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        os.kill(our_server.pid, signal.SIGUSR1)
        while b"draining: true" not in talk.ask(b"stats\r\n"):
            pass
        assert talk.ask(PUT) == b"DRAINING\r\n"
        os.kill(our_server.pid, signal.SIGUSR2)
        while b"draining: false" not in talk.ask(b"stats\r\n"):
            pass
        assert put(talk) == b"INSERTED"


@pytest.mark.parametrize("reads", [True, False])
def test_the_end_sends_what_is_half_sent(start_ours: Start, reads: bool) -> None:
    """To who reads on; who does not is waited for a second only."""
    server = start_ours("-z", "20000000")
    size = 12_000_000
    with Talk(server) as talk, Talk(server) as other:
        other.ask(b"put 0 0 60 %d\r\n" % size + b"y" * size + b"\r\n")
        talk.send(b"peek 1\r\n")
        until(other, "cmd-peek", 1)
        os.kill(server.pid, signal.SIGTERM)
        assert other.reply() == b""  # it has begun to end
        if reads:
            assert len(talk.reply()) == size + len(b"FOUND 1 12000000\r\n\r\n")
            assert talk.reply() == b""
        assert server.process.wait(10) == 0
