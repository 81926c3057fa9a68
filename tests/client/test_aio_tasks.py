"""Many tasks on one async client: each gets its own reply, whoever gives up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from beanrow import AsyncClient, ClientClosedError, Job, NotFoundError
from tests.client.loop import full_server, own_tube, run, silent_server, until, with_client
from tests.servers import Daemon, OurServer, Server


async def connections(client: AsyncClient) -> int:
    return (await client.stats()).current_connections


@pytest.mark.parametrize("count", [5, 1000])
def test_concurrent_puts_return_their_own_ids(server: Server, tube: str, count: int) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            ids = await asyncio.gather(*(client.put(f"body {n}") for n in range(count)))
            assert len(set(ids)) == count
            jobs = await asyncio.gather(*(client.peek(job_id) for job_id in ids))
            assert [job.text for job in jobs] == [f"body {n}" for n in range(count)]
            await client.delete_many(ids)

    run(test())


def test_one_connection_serves_them_all(fresh_daemon: Daemon) -> None:
    async def test(client: AsyncClient) -> None:
        await asyncio.gather(*(client.put(f"{n}", tube=f"t{n % 3}") for n in range(500)))
        stats = await client.stats()
        assert (stats.total_connections, stats.current_jobs_ready) == (
            2,
            500,
        )  # one was the fixture

    with_client(fresh_daemon.address, test)


def test_cancelled_at_every_turn_of_the_loop(server: Server, tube: str) -> None:
    """Each call is cancelled after 0, 1, 2 ... turns, until it was faster."""

    async def one(client: AsyncClient, job_id: int, call: Callable[[], Awaitable[object]]) -> None:
        for turns in range(200):
            task = asyncio.ensure_future(call())
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.peek(job_id)).text == "kept"
            assert (await client.stats_job(job_id)).id == job_id
        assert await asyncio.wait_for(task, 5) is not NotImplemented

    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            kept = await client.put("kept", delay=1000)
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: client.put("x"),
                lambda: client.put("x", tube=f"{tube}-b"),
                lambda: client.use(tube),
                lambda: client.watch(f"{tube}-b"),
                lambda: client.ignore(f"{tube}-b"),
                client.peek_ready,
                lambda: client.kick(0),
                client.stats,
                client.list_tubes_watched,
                lambda: client.reserve(timeout=0),
                lambda: client.put_many(["x"] * 3),
                lambda: client.reserve_many(3),
            ]
            for call in calls:
                await one(client, kept, call)
            await client.delete(kept)

    run(test())


def test_connecting_can_be_cancelled_at_every_turn(server: Server) -> None:
    async def test() -> None:
        for turns in range(60):
            client = AsyncClient(server.address)
            task = asyncio.create_task(client.stats())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert (await client.stats()).pid == server.pid
            await client.close()

    run(test())


@pytest.mark.parametrize("seed", range(4))
def test_no_reply_goes_to_the_wrong_caller(server: Server, tube: str, seed: int) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            done = await asyncio.gather(
                *(worker(client, random.Random(f"{seed} {n}"), f"{n}") for n in range(60))
            )
            assert sum(done) > 200
            left = set()
            while jobs := await client.reserve_many(500):
                left.update(jobs)
            await client.delete_many(left)

    async def worker(client: AsyncClient, chance: random.Random, name: str) -> int:
        ids: dict[int, str] = {}
        done = 0
        for number in range(25):
            try:
                async with asyncio.timeout(chance.choice([0, 0.0005, 0.002, 0.01, 5])):
                    await step(client, chance, f"{name} {number}", ids)
                    done += 1
            except TimeoutError:
                pass
        return done

    async def step(
        client: AsyncClient, chance: random.Random, body: str, ids: dict[int, str]
    ) -> None:
        known = chance.choice(list(ids)) if ids else 0
        what = chance.randrange(6) if known else 0
        if what == 0:
            ids[await client.put(body, delay=chance.choice([0, 1000]), tube=tube)] = body
        elif what == 1:
            assert (await client.peek(known)).text == ids[known]
        elif what == 2:
            assert (await client.stats_job(known)).id == known
        elif what == 3:
            name = f"{tube}-{body.replace(' ', '-')}"
            assert await client.use(name) == name
        elif what == 4:
            with pytest.raises(NotFoundError, match=f"peek {2**40 + known}: "):
                await client.peek(2**40 + known)
        else:
            try:
                job = await client.reserve_job(known)
            except NotFoundError:
                return  # held by a line that was given up and is not closed yet
            assert (job.id, job.text) == (known, ids[known])
            await client.release(job, delay=1000)

    run(test())


def test_jobs_are_never_lost_to_a_cancelled_reserve(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            ids = set(await client.put_many(["x"] * 300))
            found: list[int] = []

            async def take(chance: random.Random) -> None:
                for _ in range(40):
                    try:
                        async with asyncio.timeout(chance.random() * 0.004):
                            job = await client.reserve()
                    except TimeoutError:
                        continue
                    found.append(job.id)
                    await client.delete(job)

            await asyncio.gather(*(take(random.Random(n)) for n in range(10)))
            await until(lambda: none_reserved(client))
            rest = await client.reserve_many(300)
            assert sorted(found + [job.id for job in rest]) == sorted(ids)
            await client.delete_many(rest)

    async def none_reserved(client: AsyncClient) -> bool:
        return (await client.stats_tube(tube)).current_jobs_reserved == 0

    run(test())


def test_ten_tasks_wait_at_once_and_the_others_go_on(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            waiting = [asyncio.create_task(client.reserve()) for _ in range(10)]
            await until(lambda: all_wait(client))
            ids = await asyncio.gather(*(client.put(f"{n}") for n in range(10)))
            jobs = await asyncio.gather(*waiting)
            assert sorted(job.id for job in jobs) == sorted(ids)
            assert len({job.holder for job in jobs}) == 10, "each job on a line of its own"
            await asyncio.gather(*(client.touch(job) for job in jobs))
            await asyncio.gather(*(client.delete(job) for job in jobs))

    async def all_wait(client: AsyncClient) -> bool:
        return (await client.stats_tube(tube)).current_waiting == 10

    run(test())


def test_a_cancelled_reserve_closes_its_own_connection_only(fresh_daemon: Daemon) -> None:
    async def test(client: AsyncClient) -> None:
        waiting = [asyncio.create_task(client.reserve()) for _ in range(3)]
        await until(lambda: waits(client, 3))
        assert await connections(client) == 4
        waiting[1].cancel()
        await until(lambda: waits(client, 2))
        assert await connections(client) == 3
        await client.put("a")
        await client.put("b")
        first, second = await asyncio.gather(waiting[0], waiting[2])
        await client.delete(first)
        await client.delete(second)

    async def waits(client: AsyncClient, count: int) -> bool:
        return (await client.stats()).current_waiting == count

    with_client(fresh_daemon.address, test)


def test_a_line_goes_back_when_its_job_is_finished(fresh_daemon: Daemon) -> None:
    async def reserved(client: AsyncClient) -> Job:
        job = await client.reserve(timeout=5)
        assert job is not None
        return job

    async def test(client: AsyncClient) -> None:
        await client.put_many(["x"] * 6)
        job = await reserved(client)
        line = job.holder
        await client.touch(job)
        assert job.holder is line
        await client.release(job, delay=1000)
        assert job.holder is None
        job = await reserved(client)
        assert job.holder is line
        await client.bury(job)
        job = await reserved(client)
        assert job.holder is line
        await client.delete(job.id)  # by its id alone
        assert await connections(client) == 2
        first, second = await reserved(client), await reserved(client)
        assert first.holder is line is not second.holder
        assert await connections(client) == 3
        deleting = asyncio.create_task(client.delete(first))
        await asyncio.sleep(0)
        deleting.cancel()
        await until(lambda: gone(client, first))
        assert first.holder is None, "also if nobody waited for the reply"
        await client.delete(second)

    async def gone(client: AsyncClient, job: Job) -> bool:
        try:
            await client.stats_job(job)
        except NotFoundError:
            return True
        return False

    with_client(fresh_daemon.address, test)


def test_a_job_whose_ttr_ran_out_frees_its_line(our_server: OurServer, tube: str) -> None:
    """Not on the daemon, which misses some expiries of a silent holder."""

    async def test() -> None:
        async with own_tube(our_server.address, tube) as client:
            await client.put("x", ttr=1)
            job = await client.reserve(timeout=5)
            assert job is not None
            again = await client.reserve(timeout=5)  # from another line, when the ttr is over
            assert again is not None
            assert again.id == job.id
            with pytest.raises(NotFoundError, match="does not hold it"):
                await client.touch(job)
            assert job.holder is None
            await client.delete(again)

    run(test())


def test_many_connections_are_kept_while_they_are_used(fresh_daemon: Daemon) -> None:
    """100 tasks that come and go together open no more than 100 lines, however often."""

    async def cycle(client: AsyncClient) -> None:
        for _ in range(3):
            await client.put("x")
            job = await client.reserve(timeout=5)
            assert job is not None
            await client.delete(job)

    async def test(client: AsyncClient) -> None:
        await asyncio.gather(*(cycle(client) for _ in range(100)))
        assert (await client.stats()).total_connections <= 102  # and the fixture's

    with_client(fresh_daemon.address, test)


def test_few_connections_are_kept_that_nobody_uses(
    fresh_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beanrow.client.async_lines._REVIEW", 0.05)

    async def test(client: AsyncClient) -> None:
        await client.put_many(["x"] * 40)
        jobs = await asyncio.gather(*(client.reserve(timeout=5) for _ in range(40)))
        assert await connections(client) == 41
        await asyncio.gather(*(client.delete(job) for job in jobs if job is not None))
        await until(lambda: kept(client))

    async def kept(client: AsyncClient) -> bool:
        return await connections(client) == 33

    with_client(fresh_daemon.address, test)


@pytest.mark.parametrize("here_again", [False, True])
def test_the_connection_of_a_job_that_was_let_run_out_is_used_again(
    our_server: OurServer, tube: str, monkeypatch: pytest.MonkeyPatch, here_again: bool
) -> None:
    """Or else each job that a program forgets would keep a connection for ever."""
    monkeypatch.setattr("beanrow.client.async_lines._REVIEW", 0.05)

    async def test() -> None:
        async with own_tube(our_server.address, tube) as client:
            await client.put_many(["x"] * 40, ttr=1)
            await asyncio.gather(*(client.reserve(timeout=5) for _ in range(40)))
            assert len(client._lines._idle) == 0
            again: list[int] = []  # how many at a time: each time on a line
            while here_again and sum(again) < 40:
                again.append(len(await client.reserve_many(40, timeout=5)))
            await until(lambda: the_others_rest(client, len(again)))

    async def the_others_rest(client: AsyncClient, busy: int) -> bool:
        lines = client._lines._lines
        return len([line for line in lines if line.jobs]) == busy and len(lines) <= 33 + busy

    run(test())


def test_closing_ends_every_pending_call() -> None:
    async def test() -> None:
        async with silent_server() as address:
            client = AsyncClient(address)
            await client.connect()
            calls = [
                asyncio.create_task(call)
                for call in (client.stats(), client.delete(7), client.put("x"), client.reserve())
            ]
            await asyncio.sleep(0.05)
            await client.close()
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
            assert [type(one) for one in outcomes] == [ClientClosedError] * 4

    run(test())


def test_closing_ends_an_opening_that_hangs() -> None:
    async def test(address: str) -> None:
        client = AsyncClient(address, timeout=30)
        calls = [asyncio.create_task(call) for call in (client.stats(), client.reserve())]
        await asyncio.sleep(0.01)
        assert not any(call.done() for call in calls)
        await client.close()
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert [type(one) for one in outcomes] == [ClientClosedError] * 2

    with full_server() as address:
        run(test(address))
