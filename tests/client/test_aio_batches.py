"""Many jobs at once, and pipelines, on the async client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from beanrow import (
    AsyncClient,
    BatchError,
    ConnectionLostError,
    JobLost,
    JobTooBigError,
    NotFoundError,
)
from beanrow.protocol import commands
from tests.client.loop import own_tube, run, with_client
from tests.client.scripted import ANY_STATS, ScriptedServer, cut
from tests.servers import Server


def test_many(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            told: list[int] = []
            ids = await client.put_many(
                (f"job {number}" for number in range(1200)),
                tube=f"{tube}-b",
                progress=told.append,
            )
            assert told[-1] == 1200
            assert len(told) > 1
            assert (await client.peek(ids[700])).text == "job 700"
            assert (await client.stats_tube(f"{tube}-b")).current_jobs_ready == 1200
            await client.watch(f"{tube}-b")
            jobs = await client.reserve_many(100)
            assert [job.id for job in jobs] == ids[:100]
            assert (await client.stats_tube(f"{tube}-b")).current_jobs_reserved == 100
            await client.touch(jobs[50])
            await client.delete_many([*jobs, *ids[100:]])
            assert await client.reserve_many(10) == []
            assert await client.reserve_many(0) == []

    run(test())


def test_what_failed_is_told_for_each(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            with pytest.raises(BatchError, match="1 of 3 failed") as put:
                await client.put_many([b"a", b"x" * 65536, b"c"])
            first, error, last = put.value.results
            assert isinstance(error, JobTooBigError)
            with pytest.raises(BatchError, match="1 of 3 failed") as deleted:
                await client.delete_many([first, 2**40, last])
            none, error, none_either = deleted.value.results
            assert none is none_either is None
            assert isinstance(error, NotFoundError)

    run(test())


def test_nothing_is_drawn_after_a_lost_connection() -> None:
    drawn: list[int] = []

    def bodies() -> Iterator[bytes]:
        for number in range(10_000):
            drawn.append(number)
            yield b"x"

    async def test(client: AsyncClient) -> None:
        with pytest.raises(BatchError) as told:
            await client.put_many(bodies())
        assert len(told.value.results) == 500
        assert all(isinstance(one, ConnectionLostError) for one in told.value.results)

    with ScriptedServer([ANY_STATS, (b"put 65536 0 60 1\r\nx\r\n" * 500, cut)]) as server:
        with_client(server.address, test)
    assert len(drawn) <= 501


def test_jobs_lost_are_told_one_by_one(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            ids = await client.put_many([b"a", b"b"])
            job = await client.reserve_job(ids[0])
            job.holder._transport.abort()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            with pytest.raises(BatchError) as told:
                await client.delete_many([job, ids[1]])
            lost, none = told.value.results
            assert isinstance(lost, JobLost)
            assert none is None
            assert (await reserve_all(client)) == [ids[0]]

    async def reserve_all(client: AsyncClient) -> list[int]:
        job = await client.reserve(timeout=5)
        assert job is not None
        await client.delete(job)
        return [job.id]

    run(test())


def test_a_pipeline(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            held_id = await client.put("held")
            held = await client.reserve_job(held_id)
            async with client.pipeline() as pipe:
                put = pipe.add(commands.put(b"x"))
                missing = pipe.add(commands.stats_job(2**40))
                reserved = pipe.add(commands.reserve_with_timeout(0))
                deleted = pipe.add(commands.delete(held))
            assert isinstance(missing.error, NotFoundError)
            assert deleted.error is None
            job = reserved.result()
            assert job is not None
            assert job.id == put.result()
            assert (await client.stats_job(job)).tube == tube
            await client.touch(job)
            await client.delete(job)

    run(test())


def test_tubes_of_a_pipeline_hold_within_it(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            async with client.pipeline() as pipe:
                pipe.add(commands.use(f"{tube}-b"))
                pipe.add(commands.watch(f"{tube}-b"))
                pipe.add(commands.put(b"x"))
                reserved = pipe.add(commands.reserve_with_timeout(0))
            job = reserved.result()
            assert job is not None
            assert (await client.stats_job(job)).tube == f"{tube}-b"
            await client.release(job)
            assert await client.list_tube_used() == tube
            assert await client.reserve(timeout=0) is None
            await client.delete(job.id)

    run(test())


def test_a_pipeline_left_by_an_error_sends_nothing() -> None:
    async def fail(client: AsyncClient) -> None:
        async with client.pipeline() as pipe:
            pipe.add(commands.delete(1))
            raise KeyError

    async def test(client: AsyncClient) -> None:
        with pytest.raises(KeyError):
            await fail(client)

    with ScriptedServer([]) as server:
        with_client(server.address, test)
