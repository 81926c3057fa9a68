"""A worker of asyncio tasks, in a loop of the test, on each kind of server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from beanrow import App, Bury, Client, Rate, Release, Retry, TimeLimitExceeded, current_job
from beanrow.worker.tasks import TaskWorker
from tests.servers import OurServer
from tests.worker.conftest import PATIENCE, Told, is_gone


@asynccontextmanager
async def working(app: App, tasks: int = 3) -> AsyncIterator[TaskWorker]:
    worker = TaskWorker(app, tasks)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        in_time = await worker.wait(PATIENCE)
        if not in_time:
            worker.give_back()
        await worker.close()
        assert in_time, "the worker did not stop"


async def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come to be so in time"
        await asyncio.sleep(0.01)


def test_each_job_runs_once_and_many_at_a_time(
    app: App, client: Client, tube: str, told: Told
) -> None:
    ran: list[int] = []

    @app.task(tube=tube)
    async def note(n: int) -> None:
        await asyncio.sleep(0.01)
        ran.append(n)

    @app.task(tube=f"{tube}-plain", weight=2)
    def plain(n: int) -> None:
        ran.append(n)
        assert threading.current_thread() is not threading.main_thread()
        assert current_job().tube == f"{tube}-plain"

    note.put_many((n,) for n in range(300))
    plain.put_many((n,) for n in range(300, 400))

    async def work() -> None:
        began = time.monotonic()
        async with working(app, 50):
            await until(lambda: told.count("after") == 400)
        assert time.monotonic() - began < 3

    asyncio.run(work())
    assert sorted(ran) == list(range(400))
    assert told.count("lost") == 0


def test_outcomes_are_those_of_every_worker(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube, retry=Retry(2, delay=0))
    async def choose(how: str, n: int) -> None:
        if how == "release":
            raise Release(delay=60)
        raise Bury("as it asked") if how == "bury" else ValueError("no good")

    release, bury, fail = (choose.put(how, 1) for how in ("release", "bury", "fail"))
    unreadable = client.put("{", tube=tube)

    async def work() -> None:
        async with working(app):
            await until(lambda: told.count("bury") == 3 and told.count("release", release))

    asyncio.run(work())
    assert told.count("bury", bury, "as it asked") == 1
    assert [one[3] for one in told.events if one[:2] == ("failure", fail)] == [1, 2]
    for job_id in (bury, fail, unreadable):
        assert client.stats_job(job_id).state == "buried"


def test_time_limits(app: App, client: Client, tube: str, told: Told) -> None:
    caught: list[BaseException] = []

    @app.task(tube=f"{tube}-soft", time_limit=0.2)
    async def soft(n: int) -> None:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError as error:
            caught.append(error)
            raise

    @app.task(tube=f"{tube}-own", time_limit=20)
    async def own(n: int) -> None:
        raise TimeoutError("its own")

    @app.task(tube=f"{tube}-plain", time_limit=0.2)
    def plain(n: int) -> None:
        try:
            while True:
                time.sleep(0.01)
        except TimeLimitExceeded as error:
            caught.append(error)
            raise

    @app.task(tube=f"{tube}-hard", hard_time_limit=0.3)
    async def hard(n: int) -> None:
        for _ in range(4):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)

    ids = [one.put(1) for one in (soft, own, plain, hard)]

    async def work() -> None:
        async with working(app, 4):
            await until(lambda: told.count("bury") == 4)
            again = soft.put(2)  # all slots go on
            await until(lambda: told.count("bury", again))

    asyncio.run(work())
    assert len(caught) == 3
    why = {one[1]: one[2] for one in told.events if one[0] == "bury"}
    assert [why[job_id].partition(":")[0] for job_id in ids] == [
        "TimeLimitExceeded", "TimeoutError", "TimeLimitExceeded", "TimeLimitExceeded"
    ]  # fmt: skip


def test_a_lost_lease_cancels_and_nothing_is_acknowledged(
    app: App, client: Client, tube: str, told: Told
) -> None:
    ran: list[str] = []

    @app.task(tube=tube)
    async def slow(n: int) -> None:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ran.append("cancelled" if current_job().lease_lost else "?")
            raise

    job_id = slow.put(1)

    async def work() -> None:
        async with working(app, 1) as worker:
            await until(lambda: worker.slots[0].run is not None)
            line = worker.slots[0].line
            assert line is not None
            line._wire.interrupt()  # the network goes
            await until(lambda: told.count("lost", job_id))
            # The slot opens another line, and there it gets the same job again.
            await until(lambda: client.stats_job(job_id).reserves == 2)
            assert worker.slots[0].line is not line
            assert worker.shared.counts.done == 0
            worker.stop()
            worker.give_back()

    asyncio.run(work())
    assert ran[0] == "cancelled"


def test_limits_of_how_many_and_how_often(app: App, client: Client, tube: str, told: Told) -> None:
    now, most, began = [0], [0], []

    @app.task(tube=f"{tube}-two", at_once=2)
    async def two(n: int) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.02)
        now[0] -= 1

    @app.task(tube=f"{tube}-rated", rate=Rate(20))
    async def rated(n: int) -> None:
        began.append(time.monotonic())

    two.put_many((n,) for n in range(20))
    rated.put_many((n,) for n in range(5))

    async def work() -> None:
        async with working(app, 6):
            await until(lambda: told.count("after") == 25)

    asyncio.run(work())
    assert most[0] == 2
    assert began[4] - began[0] > 0.18


@pytest.mark.parametrize("rounds", [15])
def test_stopping_under_load_loses_and_doubles_nothing(
    app: App, client: Client, tube: str, told: Told, rounds: int
) -> None:
    ran: list[int] = []

    @app.task(tube=tube)
    async def note(n: int) -> None:
        ran.append(n)

    ids = note.put_many((n,) for n in range(3000))

    async def work() -> None:
        for _ in range(rounds):
            async with working(app, 4):
                seen = len(ran)
                await until(lambda seen=seen: len(ran) > min(seen + 40, 2999))  # type: ignore[misc]
        async with working(app, 4):
            await until(lambda: len(ran) >= 3000)

    asyncio.run(work())
    assert sorted(ran) == list(range(3000))
    assert all(is_gone(client, job_id) for job_id in ids)
    assert told.count("lost") == 0


def test_bodies_whose_last_bytes_come_in_a_read_of_their_own(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube)
    async def take(body: bytes) -> None: ...

    sizes = range(65_490, 65_536)
    take.put_many((b"x" * size,) for size in sizes)

    async def work() -> None:
        async with working(app, 1):
            await until(lambda: told.count("after") == len(sizes))

    asyncio.run(work())


def test_a_server_that_goes_away_is_waited_for(tube: str, told: Told) -> None:
    ran: list[int] = []
    with OurServer() as first:
        app = App(first.address, middleware=[told])

        @app.task(tube=tube)
        async def note(n: int) -> None:
            ran.append(n)

        async def work() -> None:
            note.put(1)
            async with working(app, 3):
                await until(lambda: told.count("after") == 1)
                first.stop()
                app.close()
                await asyncio.sleep(0.1)  # so that a try or two fails
                with OurServer("-p", str(first.port)):
                    note.put(2)
                    await until(lambda: told.count("after") == 2)
                    app.close()

        asyncio.run(work())
    assert ran == [1, 2]
