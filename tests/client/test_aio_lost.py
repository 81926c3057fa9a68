"""What the async client does when its connection breaks, under each command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from beanrow import (
    AsyncClient,
    BadReplyError,
    BeanstalkError,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
    JobLost,
    NotFoundError,
)
from tests.client.loop import full_server, own_tube, run, silent_server, until, with_client
from tests.client.proxy import CuttingProxy
from tests.client.scripted import ScriptedServer, drip
from tests.servers import OurServer, Server, free_port


def test_each_call_is_told_what_is_known_of_it(server: Server, tube: str) -> None:
    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(proxy.address, tube) as client:
                sent = asyncio.create_task(client.delete(2**40))
                waits = [asyncio.create_task(client.delete(2**40 + 1)) for _ in range(3)]
                safe = asyncio.create_task(client.peek_ready())
                await asyncio.sleep(0)
                assert client._lines.main is not None
                client._lines.main.connection_lost(None)  # before the loop wrote the rest
                with pytest.raises(ConnectionLostError, match="may have carried it out") as told:
                    await sent
                assert told.value.outcome == "unknown"
                for wait in waits:
                    with pytest.raises(ConnectionLostError, match="it was not sent") as told:
                        await wait
                    assert told.value.outcome == "never-sent"
                assert await safe is None

    run(test())


def test_the_hook_is_told_of_a_new_main_connection(server: Server, tube: str) -> None:
    told: list[str] = []

    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(
                proxy.address, tube, on_reconnect=lambda: told.append("again")
            ) as client:
                await client.stats()
                assert told == []
                proxy.cut_all()
                await client.stats()
                assert told == ["again"]
                await client.stats()
                assert told == ["again"]

    run(test())


@pytest.mark.parametrize("first", ["delete", "release", "bury", "touch"])
def test_a_command_that_finds_the_connection_dead_says_that_the_job_is_lost(
    server: Server, tube: str, first: str
) -> None:
    lost: list[list[int]] = []

    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(proxy.address, tube, on_jobs_lost=lost.append) as client:
                await client.put("x")
                job = await client.reserve(timeout=5)
                assert job is not None
                proxy.arm(first.encode(), "close-before")
                with pytest.raises(
                    JobLost, match=f"{first} {job.id}.*: job {job.id} is lost"
                ) as told:
                    await getattr(client, first)(job)
                assert (told.value.job_id, told.value.outcome) == (job.id, "unknown")
                for call in (client.delete, client.release, client.bury, client.touch):
                    with pytest.raises(JobLost, match="it was not sent") as told:
                        await call(job)
                    assert told.value.outcome == "never-sent"
                assert isinstance(told.value, ConnectionLostError)
                assert lost == [[job.id]]
                again = await client.reserve(timeout=5)
                assert again is not None
                assert again.id == job.id
                with pytest.raises(JobLost):
                    await client.touch(job)
                await client.delete(again)

    run(test())


def test_all_jobs_of_a_lost_server_are_told(server: Server, tube: str) -> None:
    lost: list[int] = []

    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(proxy.address, tube, on_jobs_lost=lost.extend) as client:
                await client.put_many(["x"] * 5)
                jobs = [await client.reserve() for _ in range(3)] + await client.reserve_many(2)
                finished = jobs.pop()
                await client.delete(finished)
                proxy.cut_all()
                await until(all_told)
                assert set(lost) == {job.id for job in jobs}
                with pytest.raises(NotFoundError):
                    await client.delete(finished)  # not lost: done before
                await client.delete_many(await client.reserve_many(5))

    async def all_told() -> bool:
        return len(lost) == 4

    run(test())
    assert len(lost) == 4, "closing is no loss"


def test_a_server_killed_and_started_again() -> None:
    """Every safe command recovers within its call, every waiting reserve too."""
    port = free_port()

    async def test() -> None:
        server = OurServer("-p", str(port))
        async with own_tube(f"127.0.0.1:{port}", "t", timeout=20) as client:
            await client.put("x")
            job = await client.reserve(timeout=5)
            assert job is not None
            waiting = asyncio.create_task(client.reserve())
            await until(lambda: waits(client))
            await asyncio.to_thread(server.stop)
            asked = asyncio.create_task(client.stats())
            used = asyncio.create_task(client.list_tube_used())
            with pytest.raises(ConnectFailedError) as told:
                await client.put("y")
            assert told.value.outcome == "never-sent"
            with pytest.raises(JobLost):
                await client.touch(job)
            server = await asyncio.to_thread(OurServer, "-p", str(port))
            try:
                assert (await asked).pid == server.pid
                assert await used == "t"
                job_id = await client.put("z")
                assert (await asyncio.wait_for(waiting, 10)).id == job_id
            finally:
                await client.close()
                await asyncio.to_thread(server.stop)

    async def waits(client: AsyncClient) -> bool:
        return (await client.stats()).current_waiting == 1

    run(test())


def test_a_server_that_stays_away_is_told_when_the_time_is_used_up() -> None:
    async def test() -> None:
        server = OurServer()
        async with AsyncClient(server.address, timeout=0.5) as client:
            await asyncio.to_thread(server.stop)
            for call in (client.stats(), client.reserve(), client.reserve(timeout=0)):
                begin = time.monotonic()
                with pytest.raises(ConnectFailedError):
                    await call
                assert 0.1 < time.monotonic() - begin < 1.8

    run(test())


def test_a_peer_that_never_answers_meets_the_deadline() -> None:
    calls: list[tuple[str, Callable[[AsyncClient], Awaitable[object]], str]] = [
        ("stats", lambda client: client.stats(), "unknown"),
        ("delete", lambda client: client.delete(1), "unknown"),
        ("reserve", lambda client: client.reserve(timeout=0), "unknown"),
        ("reserve_job", lambda client: client.reserve_job(1), "unknown"),
        ("put", lambda client: client.put("x"), "never-sent"),  # it asked for the limit
        ("put_many", lambda client: client.put_many(["x"]), "never-sent"),
    ]

    async def test() -> None:
        async with silent_server() as address:
            for name, call, outcome in calls:
                async with AsyncClient(address, timeout=0.2) as client:
                    begin = time.monotonic()
                    with pytest.raises(CommandTimeoutError, match=r"0\.2 s") as told:
                        await call(client)
                    assert 0.19 < time.monotonic() - begin < 1.5, name
                    assert told.value.outcome == outcome, name

    run(test())


def test_a_reserve_has_its_own_time_on_top() -> None:
    async def test() -> None:
        async with silent_server() as address, AsyncClient(address, timeout=0.2) as client:
            begin = time.monotonic()
            with pytest.raises(CommandTimeoutError):
                await client.reserve(timeout=1)
            assert 1.19 < time.monotonic() - begin < 2.5

    run(test())


def test_a_deadline_nearer_than_the_one_before_it_counts(server: Server, tube: str) -> None:
    """A line that waited a minute for its job still notices a silent peer in time."""

    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(proxy.address, tube, timeout=0.3) as client:
                await client.put("x")
                job = await client.reserve(timeout=50)
                assert job is not None
                proxy.hold()
                begin = time.monotonic()
                with pytest.raises(JobLost) as told:
                    await client.touch(job)
                assert time.monotonic() - begin < 1.6
                assert isinstance(told.value.__cause__, CommandTimeoutError)

    run(test())


def test_all_who_wait_behind_a_silent_peer_are_told_at_once() -> None:
    async def test() -> None:
        async with silent_server() as address, AsyncClient(address, timeout=0.2) as client:
            calls = [client.delete(number) for number in range(100)]
            begin = time.monotonic()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - begin < 1.5
            assert {type(one) for one in outcomes} == {CommandTimeoutError}

    run(test())


def test_a_peer_that_cannot_be_reached_meets_the_deadline() -> None:
    async def test(address: str) -> None:
        client = AsyncClient(address, timeout=0.2)
        begin = time.monotonic()
        calls = [client.connect(), client.put("x"), client.stats(), client.reserve()]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - begin < 1.5
        assert [type(one) for one in outcomes] == [ConnectFailedError] * 4
        await client.close()

    with full_server() as address:
        run(test(address))


def test_a_reply_that_drips_does_not_pass() -> None:
    import threading

    enough = threading.Event()

    async def test(client: AsyncClient) -> None:
        with pytest.raises(CommandTimeoutError):
            await client.delete(1)
        enough.set()

    with ScriptedServer([(b"delete 1\r\n", drip(b"DELETED\r\n", 0.1, enough))]) as server:
        with_client(server.address, test, timeout=0.3)


@pytest.mark.parametrize(
    "reply", [b"HELLO\r\n", b"INSERTED x\r\n", b"FOUND 1\r\n", b"\r\n", b"x" * 2000]
)
def test_a_bad_reply_closes_the_line(reply: bytes) -> None:
    async def test(client: AsyncClient) -> None:
        first, second, third = await asyncio.gather(
            client.delete(1), client.delete(2), client.delete(3), return_exceptions=True
        )
        assert type(first) is BadReplyError
        for other in (second, third):
            assert type(other) is ConnectionLostError
        await client.delete(4)

    with ScriptedServer(
        [(b"delete 1\r\ndelete 2\r\ndelete 3\r\n", reply)], [(b"delete 4\r\n", b"DELETED\r\n")]
    ) as server:
        with_client(server.address, test)


def test_a_reply_nobody_asked_for_closes_the_line() -> None:
    async def test(client: AsyncClient) -> None:
        await client.delete(1)
        await client.delete(2)

    with ScriptedServer(
        [(b"delete 1\r\n", b"DELETED\r\nDELETED\r\n")], [(b"delete 2\r\n", b"DELETED\r\n")]
    ) as server:
        with_client(server.address, test)


def test_a_refused_use_closes_the_line() -> None:
    async def test(client: AsyncClient) -> None:
        with pytest.raises(ConnectionLostError, match="use t: OUT_OF_MEMORY"):
            await client.kick(1)
        assert await client.kick(2) == 2

    async def used(client: AsyncClient) -> None:
        await client.use("t")
        assert client._lines.main is not None
        client._lines.main.used = "another"
        await test(client)

    with ScriptedServer(
        [
            (b"use t\r\n", b"USING t\r\n"),
            (b"use t\r\nkick 1\r\n", b"OUT_OF_MEMORY\r\nKICKED 1\r\n"),
        ],
        [(b"use t\r\nkick 2\r\n", b"USING t\r\nKICKED 2\r\n")],
    ) as server:
        with_client(server.address, used)


def test_what_a_server_does_is_below_one_root(server: Server, tube: str) -> None:
    async def test() -> None:
        with CuttingProxy(server.address) as proxy:
            async with own_tube(proxy.address, tube) as client:
                tasks = [asyncio.create_task(client.put(f"{number}")) for number in range(200)]
                for _ in range(4):
                    await asyncio.sleep(0.002)
                    proxy.cut_all()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(one, int | BeanstalkError) for one in outcomes)
                ids = {one for one in outcomes if isinstance(one, int)}
                left = await client.reserve_many(1000)
                assert ids <= {job.id for job in left}
                assert len({job.body for job in left}) == len(left), "nothing is put twice"
                await client.delete_many(left)

    run(test())
