"""A look at a server: what is in it, what is left out, and the rates between two looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from beanrow import AsyncClient, Client
from beanrow.client.pipeline import Pipeline
from beanrow.observe.snapshot import ALL_TUBES, Snapshot, Tubes, take_snapshot, take_snapshot_async
from beanrow.protocol import commands
from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.stats import ServerStats, TubeStats
from tests.servers import Daemon, OurServer, Server


@pytest.fixture(params=["sync", "async"])
def look(request: pytest.FixtureRequest) -> Callable[[str, Tubes], Snapshot]:
    """Take a snapshot with each kind of client."""

    def with_sync(address: str, tubes: Tubes) -> Snapshot:
        with Client(address) as client:
            return take_snapshot(client, tubes)

    async def with_async(address: str, tubes: Tubes) -> Snapshot:
        async with AsyncClient(address) as client:
            return await take_snapshot_async(client, tubes)

    if request.param == "sync":
        return with_sync
    return lambda address, tubes: asyncio.run(with_async(address, tubes))


@pytest.fixture(params=["beanrow", "beanstalkd"])
def quiet(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that only this test knows."""
    with OurServer() if request.param == "beanrow" else Daemon() as running:
        yield running


def test_it_tells_the_server_and_all_tubes(
    quiet: Server, look: Callable[[str, Tubes], Snapshot]
) -> None:
    with Client(quiet.address) as client:
        client.put("a", tube="mail")
        client.put("b", tube="mail", delay=60)
        client.put("c", tube="index")
        seen = look(quiet.address, ALL_TUBES)
    assert list(seen.tubes) == ["default", "index", "mail"]
    assert (seen.tubes["mail"].current_jobs_ready, seen.tubes["mail"].current_jobs_delayed) == (
        1,
        1,
    )
    assert seen.stats.current_jobs_ready == 2
    assert seen.stats.pid == quiet.pid


def test_globs_choose_tubes(quiet: Server, look: Callable[[str, Tubes], Snapshot]) -> None:
    with Client(quiet.address) as client:
        for name in ("mail.de", "mail.fr", "mail.test", "Mail.it", "index"):
            client.put("x", tube=name)
    seen = look(quiet.address, Tubes(include=("mail.*", "ind?x"), exclude=("*.test",)))
    assert list(seen.tubes) == ["index", "mail.de", "mail.fr"]
    assert list(look(quiet.address, Tubes(exclude=("*a*",))).tubes) == ["index"]
    assert look(quiet.address, Tubes(include=("nothing",))).tubes == {}


def test_our_server_tells_how_long_jobs_waited_and_ran(
    quiet: Server, look: Callable[[str, Tubes], Snapshot]
) -> None:
    with Client(quiet.address) as client:
        client.put("x", tube="mail")
        client.watch("mail")
        client.delete(client.reserve())
        seen = look(quiet.address, Tubes(include=("mail",)))
    if isinstance(quiet, Daemon):
        assert (seen.times, seen.words) == ({}, frozenset())
    else:
        assert (seen.times["mail"].waits.number, seen.times["mail"].runs.number) == (1, 1)
        assert seen.words == CAPABILITIES


class Meddled:
    """A client that does something before each burst."""

    def __init__(self, client: Client, before: Callable[[], object]) -> None:
        self._client = client
        self._before = before

    def pipeline(self) -> Pipeline:
        self._before()
        return self._client.pipeline()


def test_a_tube_that_vanishes_meanwhile_is_left_out(quiet: Server) -> None:
    with Client(quiet.address) as other, Client(quiet.address) as client:
        other.use("going")
        tubes = iter(["going", "default"])  # nobody uses it any more at the second burst
        seen = take_snapshot(Meddled(client, lambda: other.use(next(tubes))))  # type: ignore[arg-type]
        assert next(tubes, None) is None
    assert list(seen.tubes) == ["default"]


def test_rates_are_differences(quiet: Server) -> None:
    with Client(quiet.address) as client:
        client.put_many([b"x"] * 5, tube="mail")
        before = take_snapshot(client)
        client.put_many([b"x"] * 30, tube="mail")
        client.put_many([b"x"] * 7, tube="new")
        client.watch("mail")
        client.delete_many(client.reserve_many(20))
        after = take_snapshot(client)
    rates = after.since(before)
    assert rates is not None
    assert rates.seconds == pytest.approx(after.at - before.at)

    def happened(rate: float) -> int:
        return round(rate * rates.seconds)

    assert happened(rates.tubes["mail"].puts) == 30
    assert happened(rates.tubes["mail"].deletes) == 20
    assert happened(rates.tubes["new"].puts) == 7
    assert happened(rates.server.puts) == 37
    assert happened(rates.server.deletes) == 20
    assert rates.server.buries == 0


def fake(at: float, *, pid: int = 1, total: int, tube_total: int) -> Snapshot:
    server = ServerStats(pid=pid, id="a", total_jobs=total)
    return Snapshot(at, server, {"t": TubeStats(name="t", total_jobs=tube_total, cmd_delete=0)})


def test_a_tube_that_came_anew_counts_from_zero() -> None:
    rates = fake(12.0, total=110, tube_total=6).since(fake(10.0, total=100, tube_total=80))
    assert rates is not None
    assert rates.tubes["t"].puts == 3.0
    assert rates.server.puts == 5.0


def test_there_are_no_rates_over_a_restart_or_over_no_time() -> None:
    before = fake(10.0, total=100, tube_total=80)
    assert fake(12.0, pid=2, total=110, tube_total=90).since(before) is None
    assert fake(10.0, total=110, tube_total=90).since(before) is None


def test_many_tubes_are_one_burst(quiet: Server) -> None:
    """5,000 tubes: their names and their figures need no round trip each."""
    with Client(quiet.address) as client:
        with client.pipeline() as pipe:
            for number in range(5000):
                pipe.add(commands.use(f"tube-{number}"))
                pipe.add(commands.put(b"x"))
        begin = time.process_time()
        seen = take_snapshot(client)
        took = time.process_time() - begin
    assert len(seen.tubes) == 5001
    assert took < 5  # 0.2 s where nothing else runs; one round trip each would be far above it
