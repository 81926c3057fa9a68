"""A server that can do nothing for the moment uses no CPU, and wakes when there is something."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.server.talk import Talk, cpu_seconds, until
from tests.servers import OurServer

REST = 0.25
"""Seconds for which a server is watched."""


@pytest.fixture
def talks() -> Iterator[Callable[[OurServer], Talk]]:
    with ExitStack() as open_ones:
        yield lambda server: open_ones.enter_context(Talk(server))


def rests(server: OurServer) -> bool:
    """Whether a server soon stops using CPU. One that spins never does."""
    for _ in range(8):
        before = cpu_seconds(server.pid)
        time.sleep(REST)
        if cpu_seconds(server.pid) - before < REST / 5:
            return True
    return False


def wait_for_a_job(talk: Talk) -> None:
    talk.send(b"reserve\r\n")


def wait_very_long(talk: Talk) -> None:
    """Longer than a system call can wait."""
    talk.ask(b"put 0 4294967295 4294967295 1\r\na\r\n")
    talk.ask(b"reserve-job 1\r\n")
    talk.ask(b"pause-tube default 4294967295\r\n")
    talk.send(b"reserve-with-timeout 2147483647\r\n")


def wait_with_much_behind(talk: Talk) -> None:
    talk.send(b"reserve\r\n" + b"list-tube-used\r\n" * 10_000)


def read_nothing(talk: Talk) -> None:
    talk.ask(b"put 0 0 60 60000\r\n" + b"x" * 60_000 + b"\r\n")
    talk.send(b"peek 1\r\n" * 1000)


def read_nothing_after_the_end(talk: Talk) -> None:
    read_nothing(talk)
    talk.socket.shutdown(socket.SHUT_WR)


def stop_in_the_middle(talk: Talk) -> None:
    talk.send(b"put 0 0 60 100\r\nhalf of it")


@pytest.mark.parametrize(
    "state",
    [
        wait_for_a_job,
        wait_very_long,
        wait_with_much_behind,
        read_nothing,
        read_nothing_after_the_end,
        stop_in_the_middle,
    ],
    ids=lambda state: state.__name__,
)
def test_it_rests(
    our_server: OurServer, talks: Callable[[OurServer], Talk], state: Callable[[Talk], None]
) -> None:
    state(talks(our_server))
    other = talks(our_server)
    assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
    assert rests(our_server)
    assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
    assert our_server.told() == ""


def test_it_rests_without_descriptors(
    our_server: OurServer, talks: Callable[[OurServer], Talk]
) -> None:
    """Others knock, and cannot be let in."""
    first = talks(our_server)
    until(first, "current-connections", 1)
    resource.prlimit(our_server.pid, resource.RLIMIT_NOFILE, (3, 4096))
    for _ in range(5):
        talks(our_server)
    assert first.ask(b"list-tube-used\r\n") == b"USING default\r\n"
    assert rests(our_server)
    assert our_server.told().count("no new connections") == 1


def test_it_accepts_again_though_no_connection_ends(
    our_server: OurServer, talks: Callable[[OurServer], Talk]
) -> None:
    """It has none that could: what was used up, others used and give back."""
    resource.prlimit(our_server.pid, resource.RLIMIT_NOFILE, (3, 4096))
    talk = talks(our_server)
    while "no new connections" not in our_server.told():
        time.sleep(0.005)
    resource.prlimit(our_server.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"


def test_time_passes_as_the_protocol_says(
    our_server: OurServer, talks: Callable[[OurServer], Talk]
) -> None:
    """The one test on the real clock: a delay, a ttr, its last second, a pause, a wait."""
    waiter, holder, other = (talks(our_server) for _ in range(3))
    start = time.monotonic()
    other.send(b"use a\r\nput 0 1 60 1\r\nd\r\nuse b\r\nput 0 0 2 1\r\nt\r\n")
    other.send(b"use c\r\nput 0 0 60 1\r\np\r\npause-tube c 1\r\n")
    assert [other.reply().split()[0] for _ in range(7)] == [
        *(b"USING", b"INSERTED") * 3,
        b"PAUSED",
    ]
    holder.send(b"watch b\r\nignore default\r\nreserve\r\nreserve\r\n")
    waiter.send(b"watch a\r\nreserve\r\n")
    other.send(b"reserve-with-timeout 1\r\n")
    assert [holder.reply()[:8] for _ in range(3)] == [b"WATCHING", b"WATCHING", b"RESERVED"]
    assert holder.reply() == b"DEADLINE_SOON\r\n"
    assert [waiter.reply(), waiter.reply()] == [b"WATCHING 2\r\n", b"RESERVED 1 1\r\nd\r\n"]
    assert other.reply() == b"TIMED_OUT\r\n"
    assert 0.99 < time.monotonic() - start < 2
    assert waiter.ask(b"watch c\r\n") == b"WATCHING 3\r\n"
    assert waiter.ask(b"reserve\r\n") == b"RESERVED 3 1\r\np\r\n"
    assert holder.ask(b"reserve-with-timeout 0\r\n") == b"DEADLINE_SOON\r\n"
    assert holder.ask(b"touch 2\r\n") == b"TOUCHED\r\n"
    assert holder.ask(b"reserve-with-timeout 0\r\n") == b"TIMED_OUT\r\n"
