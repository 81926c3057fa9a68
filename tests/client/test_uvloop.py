"""The async client on uvloop, which web servers bring: its transports are classes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from beanrow import AsyncClient, ConnectionLostError, JobLost
from tests.client.loop import run
from tests.servers import OurServer, Server


def test_many_tasks_on_one_connection(server: Server, tube: str) -> None:
    async def test() -> None:
        async with AsyncClient(server.address) as client:
            await client.watch(tube)
            ids = await asyncio.gather(*(client.put(f"job {n}", tube=tube) for n in range(200)))
            jobs = await client.reserve_many(200)
            assert sorted(job.id for job in jobs) == sorted(ids)
            await client.delete_many(jobs)
            large = bytes(60_000)
            await client.put(large, tube=tube)
            job = await client.reserve(timeout=5)
            assert job is not None
            assert job.body == large
            await client.delete(job)

    run(test(), uvloop.new_event_loop)


def test_a_reserve_that_is_given_up_loses_nothing(server: Server, tube: str) -> None:
    async def test() -> None:
        async with AsyncClient(server.address) as client:
            await client.watch(tube)
            waiting = asyncio.create_task(client.reserve())
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await client.put("x", tube=tube)
            job = await client.reserve(timeout=5)
            assert job is not None
            await client.delete(job)

    run(test(), uvloop.new_event_loop)


def test_a_lost_connection_is_told(start_ours: Callable[..., OurServer]) -> None:
    async def test() -> None:
        server = start_ours()
        async with AsyncClient(server.address, timeout=2) as client:
            await client.put("x")
            job = await client.reserve(timeout=5)
            assert job is not None
            server.process.kill()
            with pytest.raises((JobLost, ConnectionLostError)):
                await client.delete(job)

    run(test(), uvloop.new_event_loop)
