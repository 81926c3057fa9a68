"""A client in a forked process: it never speaks over a connection of its parent's.

Children end by os._exit with a number that tells what they found; what they print is theirs alone.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable

import pytest

from beanrow import AsyncClient, Client, ClientClosedError, JobLost
from tests.client.loop import own_tube, run
from tests.servers import Server

FINE = 7


def in_child(act: Callable[[], object]) -> int:
    """Do something in a forked process, and give its exit code."""
    child = os.fork()
    if not child:
        try:
            act()
        except BaseException:  # noqa: BLE001  (of a child, nothing may reach pytest)
            traceback.print_exc()
            os._exit(1)
        os._exit(FINE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_opens_connections_of_its_own(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.use(tube)
        client.watch(tube)
        client.put("held")
        job = client.reserve(timeout=5)
        assert job is not None

        def use_it() -> None:
            for number in range(50):
                job_id = client.put(f"child {number}")
                assert client.peek(job_id).text == f"child {number}"
            assert client.list_tubes_watched() == ["default", tube]
            assert client.reserve(timeout=0) is not None

        child = threading.Thread(target=lambda: codes.append(in_child(use_it)))
        codes: list[int] = []
        child.start()
        for number in range(200):  # while the child speaks, too
            assert client.peek(client.put(f"{number}")).text == f"{number}"
        child.join()
        assert codes == [FINE]
        client.touch(job)
        client.delete(job)
        client.drain_tube(tube)


def test_the_jobs_of_the_parent_are_lost_to_the_child(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.put_many(["a", "b"], tube=tube)
        client.watch(tube)
        job, other = client.reserve_many(2)

        def act_on_them() -> None:
            for act in (client.delete, client.release, client.bury, client.touch):
                for one in (job, job.id):
                    with pytest.raises(JobLost, match="that this one was forked from") as told:
                        act(one)
                    assert told.value.outcome == "never-sent"
            client.close()

        assert in_child(act_on_them) == FINE
        assert client.stats_job(job).state == "reserved"
        client.delete_many([job, other])


def test_a_fork_while_other_threads_wait(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.watch(tube)
        client.ignore("default")
        found: list[str] = []

        def wait() -> None:
            job = client.reserve(timeout=20)
            assert job is not None
            found.append(job.text)
            client.delete(job)

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        with Client(server.address) as other:
            while other.stats_tube(tube).current_waiting < 4:
                time.sleep(0.001)
            assert in_child(lambda: client.put("child", tube=tube)) == FINE
            assert in_child(client.close) == FINE
            other.put_many(["x"] * 3, tube=tube)
        for thread in threads:
            thread.join()
        assert sorted(found) == ["child", "x", "x", "x"]


def test_a_child_leaves_the_embedded_server_alone() -> None:
    with Client("embedded:") as client:
        job_id = client.put("x")

        def use_it() -> None:
            assert client.peek(job_id).text == "x"
            client.close()

        assert in_child(use_it) == FINE
        assert client.peek(job_id).text == "x"


def test_an_async_client_refuses_in_the_child(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            await client.put("x")
            job = await client.reserve(timeout=5)
            assert job is not None
            waiting = asyncio.create_task(client.reserve())
            await asyncio.sleep(0.05)

            def use_it() -> None:
                asyncio.set_event_loop(None)

                async def try_it() -> None:
                    for call in (client.put("y"), client.delete(job), client.reserve()):
                        with pytest.raises(ClientClosedError, match="forked from"):
                            await call
                    await client.close()
                    async with AsyncClient(server.address) as own:
                        await own.put("from the child", tube=tube)

                asyncio.events._set_running_loop(None)
                asyncio.run(try_it())

            assert in_child(use_it) == FINE
            await client.touch(job)
            second = await asyncio.wait_for(waiting, 10)
            assert second.text == "from the child"
            await client.delete(job)
            await client.delete(second)

    run(test())
