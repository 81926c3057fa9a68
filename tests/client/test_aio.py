"""Every method of the async client against the real daemon and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from beanrow import (
    AsyncClient,
    BadTypeError,
    BadValueError,
    BuriedId,
    BuriedJob,
    Client,
    ClientClosedError,
    ConnectFailedError,
    Job,
    JobTooBigError,
    NotFoundError,
    NotIgnoredError,
    OutOfMemoryError,
)
from tests.client.loop import own_tube, run, with_client
from tests.client.scripted import ANY_STATS, ScriptedServer
from tests.servers import Daemon, OurServer, Server


async def reserved(client: AsyncClient) -> Job:
    job = await client.reserve(timeout=5)
    assert job is not None
    return job


def test_a_job_from_put_to_delete(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            job_id = await client.put("hello", priority=7, ttr=timedelta(minutes=2))
            told = await client.stats_job(job_id)
            assert (told.pri, told.ttr, told.tube, told.state) == (7, 120, tube, "ready")
            job = await reserved(client)
            assert (job.id, job.body, job.text) == (job_id, b"hello", "hello")
            await client.touch(job)
            await client.delete(job)
            assert await client.reserve(timeout=0) is None
            with pytest.raises(NotFoundError, match=f"delete {job_id}: NOT_FOUND"):
                await client.delete(job)

    run(test())


def test_tubes_to_put_into(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            there = await client.put("there", tube=f"{tube}-b")
            here = await client.put("here")
            assert (await client.stats_job(there)).tube == f"{tube}-b"
            assert (await client.stats_job(here)).tube == tube
            assert await client.list_tube_used() == tube
            assert await client.use(f"{tube}-b") == f"{tube}-b"
            assert await client.list_tube_used() == f"{tube}-b"
            seen = await client.peek_ready()
            assert seen is not None
            assert seen.id == there
            await client.delete(there)
            await client.delete(here)

    run(test())


def test_tubes_of_many_tasks_are_not_mixed_up(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            names = [f"{tube}-{number}" for number in range(5)]

            async def put(number: int) -> None:
                name = names[number % 5]
                job_id = await client.put(name, tube=name)
                assert (await client.stats_job(job_id)).tube == name
                await client.delete(job_id)

            await asyncio.gather(*(put(number) for number in range(100)))
            assert await client.list_tube_used() == tube

    run(test())


def test_release_bury_and_kick(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            job_id = await client.put("x")
            job = await reserved(client)
            assert await client.release(job, priority=3, delay=500) is True
            told = await client.stats_job(job)
            assert (told.pri, told.delay, told.state) == (3, 500, "delayed")
            delayed = await client.peek_delayed()
            assert delayed is not None
            assert delayed.id == job_id
            await client.kick_job(job_id)
            job = await reserved(client)
            await client.bury(job, priority=9)
            buried = await client.peek_buried()
            assert buried is not None
            assert (buried.id, buried.holder) == (job_id, None)
            assert (await client.stats_job(job_id)).pri == 9
            assert await client.kick(10) == 1
            assert await client.peek_buried() is None
            assert (await client.peek(job_id)).text == "x"
            await client.delete(job_id)

    run(test())


def test_reserve_by_id(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            job_id = await client.put("x", delay=100)
            job = await client.reserve_job(job_id)
            assert job.body == b"x"
            with pytest.raises(NotFoundError, match="reserved already"):
                await client.reserve_job(job_id)
            await client.delete(job_id)
            with pytest.raises(NotFoundError):
                await client.reserve_job(job_id)

    run(test())


def test_watching(server: Server, tube: str) -> None:
    async def test() -> None:
        async with AsyncClient(server.address) as client:
            assert await client.watch(tube) == 2
            assert await client.list_tubes_watched() == ["default", tube]
            assert await client.ignore("default") == 1
            with pytest.raises(NotIgnoredError):
                await client.ignore(tube)
            assert await client.list_tubes_watched() == [tube]
            await client.put("a", tube=tube)
            first = await reserved(client)
            await client.watch(f"{tube}-b")
            await client.ignore(tube)
            await client.put("b", tube=f"{tube}-b")
            second = await reserved(client)
            assert second.text == "b", "a new reserve watches what is watched now"
            await client.delete(first)
            await client.put("c", tube=tube)
            assert await client.reserve(timeout=0) is None, "and so does an old line"
            await client.delete(second)
            await client.watch(tube)
            await client.delete(await reserved(client))

    run(test())


def test_statistics_and_pauses(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            assert (await client.stats()).pid == server.pid
            await client.pause_tube(tube, 60)
            assert (await client.stats_tube(tube)).pause == 60
            await client.pause_tube(tube, 0)
            assert tube in await client.list_tubes()
            with pytest.raises(NotFoundError, match="no such tube"):
                await client.stats_tube(f"{tube}-missing")

    run(test())


@pytest.mark.parametrize("body", [b"", b"\r\n", bytes(range(256)), b"x" * 65535])
def test_bodies_come_back_as_they_went(server: Server, tube: str, body: bytes) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            await client.put(body)
            job = await reserved(client)
            assert job.body == body
            await client.delete(job)

    run(test())


def test_large_bodies(start_daemon: Callable[..., Daemon]) -> None:
    async def test(client: AsyncClient) -> None:
        bodies = [bytes([number]) * 3_000_000 for number in range(5)]
        ids = await asyncio.gather(*(client.put(body) for body in bodies))
        found = await asyncio.gather(*(client.peek(job_id) for job_id in ids))
        assert [job.body for job in found] == bodies

    with_client(start_daemon("-z", "3000000").address, test)


def test_the_limit_of_the_server_is_told_before_the_body_is_sent(
    start_daemon: Callable[..., Daemon], start_ours: Callable[..., OurServer]
) -> None:
    async def test(client: AsyncClient) -> None:
        asked_before = (await client.stats()).cmd_stats
        for _ in range(2):
            with pytest.raises(JobTooBigError, match=r"101 bytes .* at most 100; .* -z") as told:
                await client.put(b"x" * 101, tube="t")
            assert (told.value.size, told.value.limit) == (101, 100)
        await asyncio.gather(*(client.put(b"x" * 100) for _ in range(20)))
        stats = await client.stats()
        assert (stats.cmd_put, stats.cmd_stats) == (20, asked_before + 2), "it was asked once"

    for server in (start_daemon("-z", "100"), start_ours("-z", "100")):
        with_client(server.address, test)


def test_bad_input_is_refused_before_a_byte_is_sent() -> None:
    async def test(client: AsyncClient) -> None:
        for call in (
            client.use("x\r\ndelete 1"),
            client.put(b"x", tube="a b"),
            client.put(b"x", priority=-1),
            client.put(b"x", delay=-1),
            client.reserve(timeout=-1),
            client.watch(""),
            client.delete(-1),
            client.kick(-1),
        ):
            with pytest.raises(BadValueError):
                await call
        for wrong in (
            client.put(7),  # type: ignore[arg-type]
            client.delete("7"),  # type: ignore[arg-type]
            client.put_many([], tube=7),  # type: ignore[arg-type]
        ):
            with pytest.raises(BadTypeError):
                await wrong

    with ScriptedServer([]) as server:
        with_client(server.address, test)
    for settings in ({"timeout": 0}, {"encoding": "no such one"}, {"address": "a:b:c"}):
        with pytest.raises(BadValueError):
            AsyncClient(**settings)


def test_a_buried_put_is_signalled() -> None:
    signals: list[BuriedJob] = []

    async def test(client: AsyncClient) -> None:
        assert isinstance(await client.put(b"x"), BuriedId)

    async def warned(client: AsyncClient) -> None:
        with pytest.warns(BuriedJob, match="BURIED 7"):
            await client.put(b"x")

    script = [ANY_STATS, (b"put 65536 0 60 1\r\nx\r\n", b"BURIED 7\r\n")]
    with ScriptedServer(script) as server:
        with_client(server.address, test, on_buried_job=signals.append)
    assert [signal.job_id for signal in signals] == [7]
    with ScriptedServer(script) as server:
        with_client(server.address, warned)


def test_a_command_refused_for_lack_of_memory_is_sent_again_if_the_hook_says_so() -> None:
    told: list[str] = []

    async def hook(error: OutOfMemoryError) -> bool:
        told.append(error.command)
        return len(told) < 3

    async def test(client: AsyncClient) -> None:
        await client.delete(7)
        with pytest.raises(OutOfMemoryError):
            await client.kick(1)

    script = [
        (b"delete 7\r\n", b"OUT_OF_MEMORY\r\n"),
        (b"delete 7\r\n", b"OUT_OF_MEMORY\r\n"),
        (b"delete 7\r\n", b"DELETED\r\n"),
        (b"kick 1\r\n", b"OUT_OF_MEMORY\r\n"),
    ]
    with ScriptedServer(script) as server:
        with_client(server.address, test, on_out_of_memory=hook)
    assert told == ["delete 7", "delete 7", "kick 1"]


def test_a_closed_client_says_so(server: Server) -> None:
    async def test() -> None:
        client = AsyncClient(server.address)
        await client.connect()
        await client.connect()
        await client.close()
        await client.close()
        for call in (client.stats(), client.put("x"), client.reserve(), client.delete(1)):
            with pytest.raises(ClientClosedError, match=f"{server.address} was closed"):
                await call
        with pytest.raises(ClientClosedError):
            await client.connect()
        leaving = AsyncClient(server.address)
        await leaving.connect()
        await leaving.quit()
        with pytest.raises(ClientClosedError):
            await leaving.stats()
        await AsyncClient(server.address).quit()  # never connected: nothing to say

    run(test())


def test_quit_says_so() -> None:
    async def test(client: AsyncClient) -> None:
        await client.quit()

    with ScriptedServer([(b"quit\r\n", b"")]) as server:
        with_client(server.address, test)


def test_closing_gives_the_jobs_back(server: Server, tube: str) -> None:
    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            await client.put("x")
            await reserved(client)

    run(test())
    with Client(server.address) as other:
        other.watch(tube)
        job = other.reserve(timeout=5)
        assert job is not None
        other.delete(job)


def test_nobody_answers() -> None:
    async def test() -> None:
        client = AsyncClient("127.0.0.1:1")
        for call in (client.connect(), client.put("x"), client.stats(), client.reserve()):
            with pytest.raises(ConnectFailedError, match="is a server running there") as told:
                await call
            assert told.value.outcome == "never-sent"
        await client.close()

    run(test())


def test_over_a_unix_socket(start_ours: Callable[..., OurServer], tmp_path: object) -> None:
    async def test(client: AsyncClient) -> None:
        job_id = await client.put("x")
        assert (await reserved(client)).id == job_id

    with_client(start_ours("-l", f"unix:{tmp_path}/s").address, test)


def test_an_embedded_server() -> None:
    async def test(client: AsyncClient) -> None:
        job_id = await client.put("x")
        assert (await reserved(client)).id == job_id

    with_client("embedded:", test)


def test_the_trace(server: Server, tube: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: AsyncClient) -> None:
        assert await client.use(tube) == tube

    with caplog.at_level("DEBUG", "beanrow.wire"):
        with_client(server.address, test, trace=True)
    assert [record.getMessage().partition(" ")[2] for record in caplog.records] == [
        f"> use {tube}",
        f"< USING {tube}",
    ]
