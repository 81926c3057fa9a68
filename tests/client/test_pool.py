"""Several servers as one, sync and async: real daemons and servers of ours, some of them killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from beanrow import (
    AsyncPool,
    BadValueError,
    Client,
    ClientClosedError,
    ConnectFailedError,
    ConnectionLostError,
    DrainingError,
    JobLost,
    NotFoundError,
    NotIgnoredError,
    Pool,
    PoolId,
)
from tests.client.scripted import ANY_STATS, Script, ScriptedServer, cut
from tests.client.ways import Kind, Way, opened
from tests.servers import Daemon, OurServer, Server, free_port

Start = Callable[..., Server]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def servers(
    start_ours: Callable[..., OurServer], start_daemon: Callable[..., Daemon]
) -> list[Server]:
    return [start_ours(), start_daemon(), start_ours()]


@contextmanager
def pool_of(kind: Kind, *servers: Server | str, **settings: Any) -> Iterator[Way]:
    addresses = [one if isinstance(one, str) else one.address for one in servers]
    with opened(
        kind, lambda: Pool(addresses, **settings), lambda: AsyncPool(addresses, **settings)
    ) as way:
        yield way


def put_at(server: Server, body: str, **settings: Any) -> int:
    with Client(server.address) as client:
        return client.put(body, **settings)


def stats(server: Server) -> Any:
    with Client(server.address) as client:
        return client.stats()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)  # what is waited for is in another process


def all_wait(servers: list[Server], count: int = 1) -> Callable[[], bool]:
    return lambda: all(stats(server).current_waiting == count for server in servers)


# -- putting ----------------------------------------------------------------------


def test_jobs_of_a_tube_are_in_one_place_and_keys_spread_them(
    kind: Kind, servers: list[Server]
) -> None:
    with pool_of(kind, *servers) as pool:
        ids = [pool("put", f"{number}", tube="emails") for number in range(5)]
        assert len({job_id.server for job_id in ids}) == 1
        assert all(isinstance(job_id, PoolId) for job_id in ids)
        spread = [pool("put", "x", tube="t", key=f"{number}") for number in range(60)]
        assert {job_id.server for job_id in spread} == {server.address for server in servers}
        again = [pool("put", "x", tube="t", key=f"{number}") for number in range(60)]
        assert [one.server for one in spread] == [one.server for one in again]
        assert pool("peek", ids[3]).text == "3"
        assert pool("stats_job", ids[3]).tube == "emails"


def test_the_used_tube_is_the_pools(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        assert pool("use", "emails") == "emails"
        assert pool("stats_job", pool("put", "x")).tube == "emails"
        with pytest.raises(BadValueError):
            pool("use", "a b")
        with pytest.raises(BadValueError):
            pool("put", "x", tube="a b")


def test_a_put_goes_to_the_next_server_if_one_is_away(kind: Kind, servers: list[Server]) -> None:
    told: list[str] = []
    with pool_of(kind, *servers, on_server_away=lambda name, _: told.append(name)) as pool:
        first = pool("put", "x", tube="t")
        next(one for one in servers if one.address == first.server).stop()
        time.sleep(0.05)  # a connection used less than 10 ms ago is not looked at
        ids = [pool("put", f"{number}", tube="t") for number in range(10)]
        assert len({job_id.server for job_id in ids}) == 1
        assert ids[0].server != first.server
        assert told == [first.server]


def test_a_put_goes_to_the_next_server_if_one_drains(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        first = pool("put", "x", tube="t")
        server = next(one for one in servers if one.address == first.server)
        os.kill(server.pid, signal.SIGUSR1)
        until(lambda: bool(stats(server).draining))
        assert pool("put", "y", tube="t").server != first.server
        assert pool("peek", first).text == "x", "it is not away"
        for other in servers:
            os.kill(other.pid, signal.SIGUSR1)
            until(lambda other=other: bool(stats(other).draining))  # type: ignore[misc]
        with pytest.raises(DrainingError):
            pool("put", "z", tube="t")


def test_a_put_that_may_be_stored_goes_nowhere_else(kind: Kind) -> None:
    script: Script = [ANY_STATS, (b"put 65536 0 60 1\r\nx\r\n", cut)]
    with (
        ScriptedServer(script) as one,
        OurServer() as other,
        pool_of(kind, one.address, other) as pool,
    ):
        key = next(
            f"{number}"
            for number in range(100)
            if pool.one._servers.ranked(f"{number}")[0] == one.address
        )
        with pytest.raises(ConnectionLostError) as told:
            pool("put", "x", key=key)
        assert told.value.outcome == "unknown"
        assert stats(other).cmd_put == 0


def test_no_server_at_all(kind: Kind) -> None:
    addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    with pool_of(kind, *addresses, timeout=1) as pool:
        with pytest.raises(ConnectFailedError) as told:
            pool("put", "x")
        assert told.value.outcome == "never-sent"
        for timeout in (0, 5, None):
            began = time.monotonic()
            with pytest.raises(ConnectFailedError, match="none of the servers answers"):
                pool("reserve", timeout)
            assert time.monotonic() - began < 4


# -- reserving --------------------------------------------------------------------


def test_ready_jobs_of_all_servers_are_found(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        for server in servers:
            for number in range(4):
                put_at(server, f"{number}")
        seen: dict[str, list[str]] = {}
        while (job := pool("reserve", 0)) is not None:
            seen.setdefault(job.id.server, []).append(job.text)
            pool("delete", job)
        assert seen == {server.address: ["0", "1", "2", "3"] for server in servers}


def test_a_reserve_waits_on_all_servers_at_once(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        for server in servers:
            waiting = pool.start("reserve", 20)
            until(all_wait(servers))
            counts = [stats(one).cmd_reserve_with_timeout for one in servers]
            time.sleep(0.2)
            assert [stats(one).cmd_reserve_with_timeout for one in servers] == counts, "no polling"
            job_id = put_at(server, "x")
            job = waiting.result(10)
            assert (job.id, job.id.server, job.text) == (job_id, server.address, "x")
            until(all_wait(servers, 0))
            pool("touch", job)
            pool("delete", job)
        assert [stats(server).current_jobs_reserved for server in servers] == [0, 0, 0]


def test_jobs_that_come_at_the_same_moment_go_back_at_once(
    kind: Kind, servers: list[Server]
) -> None:
    with pool_of(kind, *servers) as pool:
        for _ in range(20):
            waiting = pool.start("reserve", 20)
            until(all_wait(servers))
            clients = [Client(server.address) for server in servers]
            for client in clients:
                client.connect()
            for client in clients:
                client.put("x")
            job = waiting.result(10)
            until(lambda: sum(stats(server).current_jobs_reserved for server in servers) == 1)
            assert sum(stats(server).current_jobs_ready for server in servers) == 2
            pool("delete", job)
            for client in clients:
                client.close()
            while (job := pool("reserve", 0)) is not None:
                pool("delete", job)


def test_none_is_ready(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        assert pool("reserve", 0) is None
        began = time.monotonic()
        assert pool("reserve", 1) is None
        assert 0.9 < time.monotonic() - began < 4


def test_watched_tubes_are_the_pools(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        assert pool("watch", "emails") == 2
        assert pool("ignore", "default") == 1
        with pytest.raises(NotIgnoredError):
            pool("ignore", "emails")
        for server in servers:
            put_at(server, "no")
            put_at(server, "yes", tube="emails")
        for _ in servers:
            job = pool("reserve", 5)
            assert job.text == "yes"
            pool("delete", job)
        assert pool("reserve", 0) is None
        pool("watch", "default")
        assert pool("reserve", 0).text == "no"


def test_held_jobs_are_finished_where_they_are(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        for server in servers:
            for _ in range(3):
                put_at(server, "x")
        jobs = [pool("reserve", 5) for _ in range(9)]
        assert {job.id.server for job in jobs} == {server.address for server in servers}
        waiting = pool.start("reserve", 20)
        until(all_wait(servers))
        for job in jobs:
            pool("touch", job)
            pool("release", job, delay=1000)
            assert pool("stats_job", job.id).state == "delayed"
            pool("kick_job", job)
            waiting_job = waiting.result(5)
            pool("bury", waiting_job)
            waiting = pool.start("reserve", 20)
            pool("delete", job.id)
        waiting.cancel()
        for server in servers:
            put_at(server, "end")


def test_a_bare_id_names_no_server(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        for method in ("delete", "peek", "touch"):
            with pytest.raises(BadValueError, match="names no server"):
                pool(method, 1)
        with pytest.raises(BadValueError, match="not one of this pool"):
            pool("delete", PoolId(1, "elsewhere:1"))
        with pytest.raises(NotFoundError):
            pool("delete", PoolId(1, servers[0].address))


# -- servers that go and come -----------------------------------------------------


def test_a_waiting_reserve_outlives_a_server(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        waiting = pool.start("reserve", 30)
        until(all_wait(servers))
        servers[0].stop()
        put_at(servers[1], "x")
        job = waiting.result(10)
        assert job.id.server == servers[1].address
        pool("delete", job)


def test_a_server_that_comes_back_is_used_again_also_by_who_waits(kind: Kind) -> None:
    port = free_port()
    told: list[str] = []
    with (
        OurServer() as other,
        pool_of(
            kind,
            other,
            f"127.0.0.1:{port}",
            on_server_away=lambda name, _: told.append(f"away {name}"),
            on_server_back=lambda name: told.append(f"back {name}"),
        ) as pool,
    ):
        waiting = pool.start("reserve", 30)
        until(lambda: told == [f"away 127.0.0.1:{port}"])
        with OurServer("-p", str(port)) as late:
            until(all_wait([other, late]))
            assert told[-1] == f"back 127.0.0.1:{port}"
            put_at(late, "x")
            job: Any = waiting.result(10)
            assert job.id.server == late.address
            pool("delete", job)


def test_jobs_of_a_server_that_went_are_lost(kind: Kind, servers: list[Server]) -> None:
    lost: list[PoolId] = []
    with pool_of(kind, *servers, on_jobs_lost=lost.extend) as pool:
        put_at(servers[0], "x")
        job = pool("reserve", 5)
        servers[0].stop()
        with pytest.raises(JobLost):
            pool("delete", job)
        until(lambda: bool(lost))
        assert [(one, one.server) for one in lost] == [(job.id, servers[0].address)]


def test_jobs_that_were_let_run_out_keep_no_connections(
    kind: Kind, start_ours: Callable[..., OurServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loop of the async way stands still between two calls, and so do its timers.
    monkeypatch.setattr("beanrow.client.async_lines._REVIEW", 0.001)
    monkeypatch.setattr("beanrow.client.waits._REVIEW", 0.001)
    server = start_ours()
    with pool_of(kind, server) as pool, Client(server.address) as client:
        for _ in range(2):
            client.put_many(["x"] * 40, ttr=1)
            for _ in range(40):
                assert pool("reserve", 5) is not None
            until(lambda: client.stats().current_jobs_ready == 40)
            client.drain_tube("default")
        assert client.stats().total_connections < 60


def test_closing_ends_a_wait(kind: Kind, servers: list[Server]) -> None:
    with pool_of(kind, *servers) as pool:
        waiting = pool.start("reserve", 30)
        until(all_wait(servers))
        pool("close")
        with pytest.raises(ClientClosedError):
            waiting.result(5)
        for call in (("put", "x"), ("reserve", 0), ("delete", PoolId(1, servers[0].address))):
            with pytest.raises(ClientClosedError):
                pool(*call)
        until(lambda: all(stats(server).current_connections == 1 for server in servers))


def test_a_cancelled_reserve_leaves_nothing_behind(servers: list[Server]) -> None:
    with pool_of("async", *servers) as pool:
        waiting = pool.start("reserve", 30)
        until(all_wait(servers))
        waiting.cancel()
        until(all_wait(servers, 0))
        put_at(servers[2], "x")
        job = pool("reserve", 5)
        assert job.text == "x"
        pool("delete", job)
        with pytest.raises(TimeoutError):
            pool.start("reserve", 30).result(0.05)


def test_a_pool_in_a_forked_process_refuses(servers: list[Server]) -> None:
    with Pool([server.address for server in servers]) as pool:
        put_at(servers[0], "x")
        job = pool.reserve(timeout=5)
        assert job is not None
        child = os.fork()
        if not child:
            try:
                pool.reserve(timeout=0)
            except ClientClosedError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        pool.delete(job)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(BadValueError, match="embedded:"):
        Pool(["embedded:", "localhost"])
    with pytest.raises(BadValueError, match="timeout"):
        Pool(["localhost"], timeout=0)
