"""A job finished and the next one taken in one write: sync and async, on the daemon and ours."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from beanrow import (
    AsyncClient,
    BatchError,
    Client,
    DeadlineSoon,
    Job,
    JobLost,
    NotFoundError,
    OutOfMemoryError,
)
from tests.client.scripted import Script, ScriptedServer, cut
from tests.client.ways import Kind, Way, opened
from tests.servers import Server


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def way(kind: Kind, server: Server, tube: str) -> Iterator[Way]:
    with opened(
        kind, lambda: Client(server.address), lambda: AsyncClient(server.address)
    ) as client:
        client("watch", tube)
        client("ignore", "default")
        client("use", tube)
        yield client


def test_one_job_after_the_other(way: Way) -> None:
    ids = way("put_many", [f"{number}" for number in range(50)])
    job, seen = way("reserve", 5), []
    while job is not None:
        seen.append(job.text)
        assert job.holder is not None
        job = way("delete_and_reserve", job, 0)
    assert seen == [f"{number}" for number in range(50)]
    with pytest.raises(NotFoundError):
        way("peek", ids[-1])


def test_it_waits_for_the_next_job(way: Way, server: Server, tube: str) -> None:
    way("put", "first")
    waiting = way.start("delete_and_reserve", way("reserve", 5))
    with Client(server.address) as other:
        end = time.monotonic() + 10
        while other.stats_tube(tube).current_waiting == 0:
            assert time.monotonic() < end
        other.put("second", tube=tube)
    job = waiting.result(10)
    assert job.text == "second"
    assert way("delete_and_reserve", job, 1) is None


def test_by_id_and_beside_other_jobs(way: Way) -> None:
    way("put_many", ["a", "b", "c"])
    first, second = way("reserve", 5), way("reserve", 5)
    third = way("delete_and_reserve", first.id, 5)
    assert third.text == "c"
    assert way("delete_and_reserve", third, 0) is None
    way("touch", second)
    assert way("delete_and_reserve", second, 0.5) is None


def test_a_job_that_was_not_held_any_more(way: Way, server: Server) -> None:
    way("put_many", ["a", "b"])
    job: Job = way("reserve", 5)
    stale = Job(job.id, job.body, holder=job.holder)
    following = way("delete_and_reserve", job, 5)
    stale.holder = following.holder
    way("put", "c")
    with pytest.raises(BatchError) as told:
        way("delete_and_reserve", stale, 5)
    refused, reserved = told.value.results
    assert isinstance(refused, NotFoundError)
    assert reserved.text == "c"
    for one in (following, reserved):
        way("delete", one)


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        (b"DELETED\r\nDEADLINE_SOON\r\n", type(None), DeadlineSoon),
        (b"DELETED\r\nOUT_OF_MEMORY\r\n", type(None), OutOfMemoryError),
        (b"NOT_FOUND\r\nTIMED_OUT\r\n", NotFoundError, type(None)),
        (b"NOT_FOUND\r\nRESERVED 8 1\r\ny\r\n", NotFoundError, Job),
        (b"OUT_OF_MEMORY\r\nOUT_OF_MEMORY\r\n", OutOfMemoryError, OutOfMemoryError),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_both_results_are_told(
    kind: Kind, said: bytes, first: type, second: type, pieces: int
) -> None:
    cut_at = len(said) if pieces == 1 else said.index(b"\r\n") + 2

    def say(peer: socket.socket) -> None:
        peer.sendall(said[:cut_at])
        time.sleep(0.02 * (pieces - 1))  # else both come in one read
        peer.sendall(said[cut_at:])

    script: Script = [
        (b"reserve-with-timeout 0\r\n", b"RESERVED 7 1\r\nx\r\n"),
        (b"delete 7\r\nreserve-with-timeout 0\r\n", say),
    ]
    with (
        ScriptedServer(script) as server,
        opened(kind, lambda: Client(server.address), lambda: AsyncClient(server.address)) as way,
    ):
        job = way("reserve", 0)
        with pytest.raises(BatchError) as told:
            way("delete_and_reserve", job, 0)
        assert [type(one) for one in told.value.results] == [first, second]
        way("close")


def test_a_connection_that_breaks_loses_the_job(kind: Kind) -> None:
    script: Script = [
        (b"reserve-with-timeout 0\r\n", b"RESERVED 7 1\r\nx\r\n"),
        (b"delete 7\r\nreserve-with-timeout 5\r\n", cut),
    ]
    with (
        ScriptedServer(script) as server,
        opened(kind, lambda: Client(server.address), lambda: AsyncClient(server.address)) as way,
    ):
        job = way("reserve", 0)
        with pytest.raises(JobLost) as told:
            way("delete_and_reserve", job, 5)
        assert (told.value.job_id, told.value.outcome) == (7, "unknown")
        way("close")
