"""Many jobs at once: results in order, errors of their own, bounded memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from beanrow import (
    BadTypeError,
    BadValueError,
    BatchError,
    Client,
    ConnectionLostError,
    JobTooBigError,
    NotFoundError,
)
from beanrow.protocol import commands
from tests.client.scripted import ANY_STATS, ScriptedServer, cut
from tests.servers import OurServer, Server


def test_put_many_gives_the_ids_in_order(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        bodies = [f"job {number}" for number in range(2500)]
        ids = client.put_many(bodies, tube=tube, priority=7, delay=1000, ttr=9)
        assert ids == sorted(set(ids))
        for number in (0, 499, 500, 501, 2499):
            assert client.peek(ids[number]).text == bodies[number]
        stats = client.stats_job(ids[2499])
        assert (stats.tube, stats.pri, stats.delay, stats.ttr) == (tube, 7, 1000, 9)
        assert client.list_tube_used() == "default"
        client.delete_many(ids)
        with pytest.raises(NotFoundError):
            client.stats_tube(tube)  # it is empty


def test_put_many_draws_a_window_at_a_time(server: Server, tube: str) -> None:
    drawn = 0
    ahead: list[int] = []

    def bodies() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(3000):
            drawn += 1
            yield b"x" * 1000

    with Client(server.address) as client:
        ids = client.put_many(bodies(), tube=tube, progress=lambda done: ahead.append(drawn - done))
        assert len(ids) == 3000
        assert max(ahead) <= 1, "more was drawn than the window that is full and one"
        assert len(ahead) > 30
        client.delete_many(ids)


def test_a_million_items_take_little_memory(our_server: OurServer) -> None:
    program = f"""
import resource
from beanrow import Client
with Client("{our_server.address}") as client:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ids = client.put_many(b"x" * 20 for _ in range(300_000))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) < 40 * 1024, "KiB: the ids alone take 12 MiB"


def test_each_item_that_fails_is_told(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        with pytest.raises(BatchError) as told:
            client.put_many(["a", 5, b"y" * 70_000, "b"], tube=tube)  # type: ignore[list-item]
        first, wrong, big, last = told.value.results
        assert isinstance(wrong, BadTypeError)
        assert isinstance(big, JobTooBigError)
        assert (big.size, big.limit) == (70_000, 65_535)
        assert client.peek(first).text == "a"
        assert client.peek(last).text == "b"
        with pytest.raises(BatchError) as told:
            client.delete_many([first, 2**63, "x", last])  # type: ignore[list-item]
        assert [type(one) for one in told.value.results] == [
            type(None),
            NotFoundError,
            BadTypeError,
            type(None),
        ]


def test_bad_settings_are_refused_before_anything_is_drawn(server: Server) -> None:
    with Client(server.address) as client:
        bodies = iter(["a"])
        with pytest.raises(BadValueError):
            client.put_many(bodies, priority=-1)
        with pytest.raises(BadValueError):
            client.put_many(bodies, tube="a b")
        assert list(bodies) == ["a"]


def test_reserve_many(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.watch(tube)
        ids = client.put_many([b"x"] * 250, tube=tube)
        jobs = client.reserve_many(100)
        assert [job.id for job in jobs] == ids[:100]
        assert all(job.holder is not None for job in jobs)
        rest = client.reserve_many(1000, timeout=1)
        assert [job.id for job in rest] == ids[100:]
        assert client.reserve_many(10) == []
        client.delete_many([*jobs, *rest])
        with pytest.raises(BadValueError):
            client.reserve_many(1001)


def test_a_lost_connection_is_the_result_of_what_it_was_lost_under() -> None:
    window = b"put 65536 0 60 1\r\nb\r\n" * 500
    with ScriptedServer([ANY_STATS, (window, cut)]) as server, Client(server.address) as client:
        bodies = iter(["b"] * 2000)
        with pytest.raises(BatchError) as told:
            client.put_many(bodies)
        assert {type(one) for one in told.value.results} == {ConnectionLostError}
        assert {one.outcome for one in told.value.results} == {"unknown"}
        assert len(told.value.results) == 500
        assert len(list(bodies)) == 1499, "one is drawn to see that the window is full"


def test_a_pipeline_has_a_result_for_each(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.use(tube)
        with client.pipeline() as pipe:
            job_id = pipe.add(commands.put(b"hello"))
            missing = pipe.add(commands.stats_tube("no-such-tube"))
            stats = pipe.add(commands.stats_tube(tube))
            with pytest.raises(RuntimeError):
                job_id.result()
        assert client.peek(job_id.result()).text == "hello"
        assert isinstance(missing.error, NotFoundError)
        with pytest.raises(NotFoundError):
            missing.result()
        assert stats.result().current_jobs_ready == 1
        client.delete(job_id.result())


def test_a_pipeline_left_by_an_error_sends_nothing(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        with contextlib.suppress(KeyError), client.pipeline() as pipe:
            pipe.add(commands.put(b"x"))
            raise KeyError
        client.use(tube)
        assert client.peek_ready() is None
