"""A cluster of three shards: redirections and failovers, and what a ledger outside says of them.

Law of the long ones: with ack=1 and two replicas nothing that was acknowledged is lost and no id is
given out twice, whichever machine dies; the same ledger sees what unsafe settings lose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from beanrow import Client
from beanrow.cluster.layout import LAYOUT
from tests.cluster.ledger import TUBES, Ledger, left_over
from tests.engines import Cluster, Engine
from tests.need import need
from tests.servers import GatewayServer

pytestmark = pytest.mark.long

ENOUGH = 30_000
BEHIND = 12_000_000
"""Bytes that a replica lacks: twice what the system keeps for one connection."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need("redis")
    with Cluster(shards=3, replicas=1) as running:
        yield running


def test_a_queue_over_three_shards(cluster: Cluster, tube: str) -> None:
    """Also through a gateway that knows of one node alone."""
    store = f"redis-cluster://{cluster.nodes[4].address}?ack=1"
    with (
        GatewayServer(store=store) as one,
        GatewayServer(store=f"{cluster.url}?ack=0") as two,
        Client(one.address) as producer,
        Client(two.address) as worker,
    ):
        assert "1 replica: after a failover" in one.told()
        tubes = [f"{tube}-{number}" for number in range(40)]
        assert len({LAYOUT.slots[LAYOUT.of_tube(name)] // 5461 for name in tubes}) == 3
        ids = {producer.put(name, tube=name) for name in tubes}
        for name in tubes:
            worker.watch(name)
        jobs = [worker.reserve(timeout=5) for _ in tubes]
        assert {job.id for job in jobs if job} == ids
        assert producer.stats().current_jobs_reserved == len(ids)
        assert set(tubes) <= set(producer.list_tubes())
        worker.delete_many(ids)
        assert worker.reserve(timeout=0) is None


def move_slot(slot: int, source: Engine, target: Engine, all_nodes: list[Engine]) -> None:
    """Move one slot as the engine's own tools do, key by key, without haste."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 3):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        time.sleep(0.01)
    for node in (target, source, *all_nodes):
        if node.figure("replication", "role") == "master":
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)


def test_a_partition_that_moves(cluster: Cluster, tube: str) -> None:
    """Jobs are put, taken and counted all the while; none is lost and none comes twice."""
    slot = LAYOUT.slots[LAYOUT.of_tube(tube)]
    masters = cluster.masters()
    source = next(node for node in masters if _owner(node, slot) == node.port)
    target = next(node for node in masters if node is not source)
    with GatewayServer(store=cluster.url) as gateway, Client(gateway.address) as client:
        client.use(tube)
        client.watch(tube)
        ids = [client.put(f"job {number}") for number in range(50)]

        async def load() -> list[int]:
            moving = asyncio.create_task(
                asyncio.to_thread(move_slot, slot, source, target, cluster.nodes)
            )
            more = []
            while not moving.done():
                more.append(await asyncio.to_thread(client.put, "while it moves"))
            await moving
            return more

        ids += asyncio.run(load())
        found = []
        while (job := client.reserve(timeout=1)) is not None:
            found.append(job.id)
            client.delete(job)
        assert sorted(found) == sorted(ids)
        assert _owner(target, slot) == target.port


def test_a_partition_that_moves_whole(tube: str) -> None:
    """As Valkey 9 does it: no command has to wait."""
    need("valkey9")
    slot = LAYOUT.slots[LAYOUT.of_tube(tube)]
    with (
        Cluster(shards=2, replicas=0, kind="valkey9") as cluster,
        GatewayServer(store=cluster.url) as gateway,
        Client(gateway.address) as client,
    ):
        source, target = cluster.nodes
        if _owner(source, slot) != source.port:
            source, target = target, source
        client.use(tube)
        client.watch(tube)
        ids = [client.put(b"x" * 100) for _ in range(2000)]
        move = ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        assert source.ask(*move) == b"OK"
        while _owner(target, slot) != target.port:
            ids.append(client.put("while it moves"))
        found = []
        while (job := client.reserve(timeout=1)) is not None:
            found.append(job.id)
            client.delete(job)
        assert sorted(found) == sorted(ids)


def _owner(node: Engine, slot: int) -> int:
    """The port of the node that has a slot, as this node sees it."""
    return next(
        int(master[1])
        for first, last, master, *_ in node.ask("CLUSTER", "SLOTS")
        if first <= slot <= last
    )


# -- the long ones -------------------------------------------------------------------------------


class Stage:
    """A cluster under two gateways and a load."""

    def __init__(self, ack: int, replicas: int, kind: str, size: int) -> None:
        self._ending = contextlib.ExitStack()
        self.cluster = self._ending.enter_context(Cluster(3, replicas, kind))
        store = f"{self.cluster.url}?ack={ack}"
        self.gateways = [self._ending.enter_context(GatewayServer(store=store)) for _ in range(2)]
        self.ledger = Ledger(self.gateways, size)
        self.victim = self.cluster.masters()[1]
        self.fault_at = 0.0

    def run(self, *faults: tuple[int, Callable[[], None]], acked: int = ENOUGH) -> None:
        asyncio.run(self.ledger.run(acked, faults))

    def kill(self) -> None:
        self.fault_at = time.monotonic()
        self.victim.kill()

    def lag_and_kill(self) -> None:
        """One replica hears nothing of the last megabytes before its master dies.

        Of more of them than the system keeps for it: what it finds there when it goes on it has.
        """
        lagging = self.cluster.replicas_of(self.victim)[0]
        lagging.signal(signal.SIGSTOP)
        end = time.monotonic() + 30
        begun = int(self.victim.ask("ROLE")[1])
        while int(self.victim.ask("ROLE")[1]) - begun < BEHIND and time.monotonic() < end:
            time.sleep(0.05)
        self.kill()
        lagging.signal(signal.SIGCONT)

    def pause(self) -> None:
        """The master stands still until long after its failover, then believes to be one still."""
        self.fault_at = time.monotonic()
        self.victim.signal(signal.SIGSTOP)
        time.sleep(6.0)
        self.victim.signal(signal.SIGCONT)

    def close(self) -> None:
        self._ending.close()


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    need("redis")
    with contextlib.ExitStack() as running:

        def make(ack: int = 1, replicas: int = 2, kind: str = "redis", size: int = 100) -> Stage:
            need(kind)
            made = Stage(ack, replicas, kind, size)
            running.callback(made.close)
            return made

        yield make


def judge(made: Stage, record: Callable[[str, object], None]) -> None:
    ledger = made.ledger
    silence = ledger.longest_silence(made.fault_at)
    record(
        "ledger",
        f"{len(ledger.put)} acknowledged puts, {len(ledger.lost)} lost, {len(ledger.reused)} ids "
        f"reused, {len(ledger.undone)} deletes undone, {silence:.1f} s without an "
        "acknowledgement at worst",
    )
    assert len(ledger.put) >= ENOUGH
    assert ledger.lost == set()
    assert ledger.reused == []
    assert ledger.undone == []
    assert silence < 20
    assert asyncio.run(left_over(made.gateways[0])) == 0
    for gateway in made.gateways:
        assert "internal error" not in gateway.told()


@pytest.mark.parametrize("kind", ["redis", "valkey9"])
def test_nothing_is_lost_with_a_master(
    stage: Callable[..., Stage], kind: str, record_property: Callable[[str, object], None]
) -> None:
    made = stage(kind=kind)
    made.run((10_000, made.kill))
    judge(made, record_property)


def test_nothing_is_lost_with_a_master_whose_replica_is_behind(
    stage: Callable[..., Stage], record_property: Callable[[str, object], None]
) -> None:
    made = stage(size=8000)
    made.run((10_000, made.lag_and_kill))
    judge(made, record_property)


def test_nothing_is_lost_with_a_master_that_wakes_after_its_failover(
    stage: Callable[..., Stage], record_property: Callable[[str, object], None]
) -> None:
    made = stage()
    made.run((10_000, made.pause))
    judge(made, record_property)


def test_nothing_is_lost_with_a_gateway(
    stage: Callable[..., Stage], record_property: Callable[[str, object], None]
) -> None:
    """It holds 100 leases of a long ttr besides, which the other delivers again."""
    made = stage()
    with (
        GatewayServer(store=f"{made.cluster.url}?ack=1") as dying,
        Client(dying.address) as holder,
        Client(made.gateways[0].address) as other,
    ):
        ids = {holder.put("held", tube=f"held-{number % 10}", ttr=600) for number in range(100)}
        for number in range(10):
            holder.watch(f"held-{number}")
            other.watch(f"held-{number}")
        held = [holder.reserve(timeout=5) for _ in ids]
        assert {job.id for job in held if job} == ids
        again: list[float] = []

        def kill_gateway() -> None:
            made.fault_at = time.monotonic()
            os.kill(dying.pid, signal.SIGKILL)
            back: set[int] = set()
            while back != ids:
                assert time.monotonic() < made.fault_at + 30, f"{len(back)} of {len(ids)} came back"
                back.update(job.id for job in other.reserve_many(100))
            again.append(time.monotonic() - made.fault_at)
            other.delete_many(ids)

        made.run((10_000, kill_gateway))
        record_property("leases of a dead gateway", f"100 delivered again after {again[0]:.1f} s")
        assert again[0] < 15
    judge(made, record_property)


def test_the_ledger_sees_what_unsafe_settings_lose(
    stage: Callable[..., Stage], record_property: Callable[[str, object], None]
) -> None:
    """With ack=0 a replica that is behind becomes the master, and nobody is told."""
    for _ in range(3):
        made = stage(ack=0, replicas=1, size=30_000)
        made.run((1_000, made.lag_and_kill), acked=4_000)
        record_property("unsafe", f"{len(made.ledger.lost)} of {len(made.ledger.put)} lost")
        if made.ledger.lost:
            return
    pytest.fail("a replica that was a second behind has lost nothing, three times")


assert TUBES % 8 == 0, "longest_silence looks at eighths"
