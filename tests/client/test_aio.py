"""AsyncClient: many tasks on one connection, jobs on connections of their own."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from beanrow import AsyncClient, Client, ClientClosedError, NotFoundError
from beanrow.client.batch import Batches
from tests.servers import OurServer, Server


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


def test_concurrent_puts_get_their_own_ids(server: Server, tube: str) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            ids = await asyncio.gather(*(client.put(f"job {n}", tube=tube) for n in range(1000)))
            bodies = await asyncio.gather(*(client.peek(one) for one in ids))
            assert [job.text for job in bodies] == [f"job {n}" for n in range(1000)]
            await asyncio.gather(*(client.delete(one) for one in ids))

    run(main())


def test_ten_tasks_reserve_at_once_and_finish_their_jobs(server: Server, tube: str) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.watch(tube)
            await client.ignore("default")
            waiting = [asyncio.create_task(client.reserve(timeout=10)) for _ in range(10)]
            ids = [await client.put(str(n), tube=tube) for n in range(10)]
            jobs = await asyncio.gather(*waiting)
            assert sorted(job.id for job in jobs if job is not None) == ids
            for number, job in enumerate(jobs):
                assert job is not None
                await client.touch(job)
                await (client.delete(job) if number % 2 else client.bury(job.id))
            assert await client.reserve(timeout=0) is None
            await client.use(tube)
            assert await client.kick(100) == 5

    run(main())


def test_a_cancelled_reserve_closes_only_its_own_connection(server: Server, tube: str) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.watch(tube)
            await client.put("held", tube=tube)
            held = await client.reserve()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.reserve()
            other = await client.put("next", tube=tube)
            job = await client.reserve(timeout=5)
            assert job is not None
            assert job.id == other, "the cancelled reserve took it"
            await client.delete(held)
            await client.delete(job)

    run(main())


def test_cancelled_commands_give_no_reply_to_others(server: Server, tube: str) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            tasks = [asyncio.create_task(client.put(str(n), tube=tube)) for n in range(300)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            ids = await asyncio.gather(*tasks, return_exceptions=True)
            for number, one in enumerate(ids):
                if isinstance(one, int):
                    assert (await client.peek(one)).text == str(number)
            with pytest.raises(NotFoundError):
                await client.stats_tube("no-such-tube")

    run(main())


def test_a_closed_client_refuses(our_server: OurServer) -> None:
    async def main() -> None:
        client = AsyncClient(our_server.address)
        await client.put("x")
        waiting = asyncio.create_task(client.reserve_job(10**9))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises((ClientClosedError, NotFoundError)):
            await waiting
        with pytest.raises(ClientClosedError):
            await client.put("y")

    run(main())


def test_it_has_the_methods_of_the_client() -> None:
    """The batch methods are the sync client's alone so far."""
    batches = {name for name in vars(Batches) if not name.startswith("_")} - {"reserve"}
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") or name in batches:
            continue
        ours = getattr(AsyncClient, name)
        assert (
            inspect.signature(ours).parameters.keys() == inspect.signature(method).parameters.keys()
        )
        assert ours.__doc__ == method.__doc__


def test_asyncio_is_imported_only_when_used() -> None:
    program = "import sys, beanrow; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
