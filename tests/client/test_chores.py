"""Emptying tubes, kicking what is buried, moving jobs: sync and async, on the daemon and ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from beanrow import (
    AsyncClient,
    BadValueError,
    Client,
    ConnectionLostError,
    DrainingError,
    Job,
    NotFoundError,
)
from tests.client.scripted import Script, ScriptedServer, cut
from tests.servers import Server

Do = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, server: Server) -> Iterator[Do]:
    """Calls a method of a client, of either kind, that lives as long as the test."""
    if request.param == "sync":
        with Client(server.address) as client:
            yield lambda name, *args, **named: getattr(client, name)(*args, **named)
        return
    with asyncio.Runner() as runner:

        async def opened() -> AsyncClient:
            return AsyncClient(server.address)

        awaited = runner.run(opened())

        async def call(name: str, *args: Any, **named: Any) -> Any:
            answer: Awaitable[Any] = getattr(awaited, name)(*args, **named)
            return await answer

        yield lambda name, *args, **named: runner.run(call(name, *args, **named))
        runner.run(awaited.close())


def fill(client: Client, tube: str, *, ready: int, delayed: int, buried: int) -> None:
    """Put jobs of each state into a tube."""
    client.watch(tube)
    for _ in range(buried):
        client.bury(client.reserve_job(client.put("buried", tube=tube)))
    client.put_many(["delayed"] * delayed, tube=tube, delay=1000)
    client.put_many(["ready"] * ready, tube=tube)


# -- drain_tube -------------------------------------------------------------------


def test_a_tube_is_emptied(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        fill(other, tube, ready=250, delayed=7, buried=5)
        kept = other.put("reserved", tube=tube)
        other.reserve_job(kept)
        elsewhere = other.put("elsewhere", tube=f"{tube}-b")
        told: list[int] = []
        assert do("drain_tube", tube, progress=told.append) == 262
        assert told == sorted(told)
        assert told[-1] == 262
        left = other.stats_tube(tube)
        assert left.current_jobs_ready + left.current_jobs_delayed + left.current_jobs_buried == 0
        assert left.current_jobs_reserved == 1
        assert other.peek(elsewhere).text == "elsewhere"
        assert do("list_tube_used") == "default"
        assert do("list_tubes_watched") == ["default"]
        other.delete(elsewhere)
        other.delete(kept)


def test_a_paused_tube_is_emptied_too(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        fill(other, tube, ready=5, delayed=1, buried=1)
        other.pause_tube(tube, 1000)
        assert do("drain_tube", tube) == 7


def test_a_tube_that_is_not_there_is_empty(do: Do) -> None:
    assert do("drain_tube", "no-such-tube") == 0
    assert do("kick_all", "no-such-tube") == 0
    with pytest.raises(BadValueError):
        do("drain_tube", "a b")


def test_draining_ends_beside_a_producer_that_does_not(do: Do, server: Server, tube: str) -> None:
    enough = threading.Event()

    def produce() -> None:
        with Client(server.address) as producer:
            while not enough.is_set():
                producer.put_many(["x"] * 50, tube=tube)

    with Client(server.address) as other:
        other.put_many(["x"] * 500, tube=tube)
        producer = threading.Thread(target=produce)
        producer.start()
        try:
            assert do("drain_tube", tube) >= 500
        finally:
            enough.set()
            producer.join()
        while jobs := other.drain_tube(tube):
            assert jobs > 0


# -- kick_all ---------------------------------------------------------------------


@pytest.mark.parametrize("delayed", [0, 3])
def test_what_is_buried_is_kicked_and_nothing_else(
    do: Do, server: Server, tube: str, delayed: int
) -> None:
    with Client(server.address) as other:
        fill(other, tube, ready=2, delayed=delayed, buried=6)
        assert do("kick_all", tube) == 6
        stats = other.stats_tube(tube)
        assert (stats.current_jobs_ready, stats.current_jobs_buried) == (8, 0)
        assert stats.current_jobs_delayed == delayed
        assert do("kick_all", tube) == 0
        assert other.stats_tube(tube).current_jobs_delayed == delayed
        do("use", tube)
        assert do("kick_all") == 0
        other.drain_tube(tube)


# -- move -------------------------------------------------------------------------


def test_a_job_is_moved_with_what_belongs_to_it(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        old = other.put("body", tube=tube, priority=7, ttr=77)
        new = do("move", old, f"{tube}-b")
        assert new != old
        stats = other.stats_job(new)
        assert (stats.tube, stats.pri, stats.ttr) == (f"{tube}-b", 7, 77)
        assert stats.state == "ready"
        assert other.peek(new).text == "body"
        with pytest.raises(NotFoundError):
            other.peek(old)
        other.delete(new)


def test_a_delayed_job_keeps_the_rest_of_its_delay(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        new = do("move", other.put("x", tube=tube, delay=1000), f"{tube}-b")
        assert 990 <= other.stats_job(new).delay <= 1000
        other.delete(new)


def test_a_buried_job_is_ready_where_it_goes(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        old = other.put("x", tube=tube)
        other.bury(other.reserve_job(old))
        new = do("move", old, f"{tube}-b")
        assert other.stats_job(new).state == "ready"
        other.delete(new)


def test_a_held_job_is_moved_by_whoever_holds_it(do: Do, server: Server, tube: str) -> None:
    with Client(server.address) as other:
        for by_id in (False, True):
            other.put("x", tube=tube)
            do("watch", tube)
            job: Job = do("reserve", 5)
            with pytest.raises(NotFoundError):
                other.move(job.id, tube)
            new = do("move", job.id if by_id else job, f"{tube}-b")
            assert other.peek(new).text == "x"
            with pytest.raises(NotFoundError):
                other.peek(job.id)
            other.delete(new)


def test_a_job_that_cannot_be_stored_is_put_back_as_it_was() -> None:
    stats = b"---\nid: 7\ntube: a\nstate: buried\npri: 9\ntime-left: 0\nttr: 60\n"
    script: Script = [
        (b"use b\r\n", b"USING b\r\n"),
        (
            b"stats-job 7\r\nreserve-job 7\r\n",
            b"OK %d\r\n%b\r\nRESERVED 7 1\r\nx\r\n" % (len(stats), stats),
        ),
        (b"put 9 0 60 1\r\nx\r\n", b"DRAINING\r\n"),
        (b"bury 7 9\r\n", b"BURIED\r\n"),
    ]
    with (
        ScriptedServer(script) as server,
        Client(server.address) as client,
        pytest.raises(DrainingError),
    ):
        client.move(7, "b")


def test_a_job_that_may_be_in_both_tubes_is_told() -> None:
    stats = b"---\nid: 7\ntube: a\nstate: ready\npri: 9\ntime-left: 0\nttr: 60\n"
    script: Script = [
        (b"use b\r\n", b"USING b\r\n"),
        (
            b"stats-job 7\r\nreserve-job 7\r\n",
            b"OK %d\r\n%b\r\nRESERVED 7 1\r\nx\r\n" % (len(stats), stats),
        ),
        (b"put 9 0 60 1\r\nx\r\n", b"INSERTED 8\r\n"),
        (b"delete 7\r\n", cut),
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLostError) as told:
            client.move(7, "b")
        assert "in tube 'b' as 8" in told.value.__notes__[0]
