"""A tube that is spread over several partitions is one tube all the same, only its order is looser."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from beanrow import Client
from beanrow.cluster.address import read_store_address
from beanrow.cluster.layout import LAYOUT
from beanrow.cluster.status import spread
from beanrow.errors import BadValueError
from tests.cluster.waiter import await_waiter
from tests.engines import Engine
from tests.need import need
from tests.server.talk import Talk
from tests.servers import GatewayServer

TUBE = "clicks"
COUNT = 4


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    need("redis")
    with Engine() as engine:
        spread(read_store_address(engine.url), TUBE, COUNT)
        yield engine.url


@pytest.fixture(scope="module")
def gateways(store: str) -> Iterator[tuple[GatewayServer, GatewayServer]]:
    with GatewayServer(store=store) as one, GatewayServer(store=store) as other:
        yield one, other


@pytest.fixture
def clients(gateways: tuple[GatewayServer, GatewayServer]) -> Iterator[tuple[Client, Client]]:
    with Client(gateways[0].address) as one, Client(gateways[1].address) as other:
        for client in (one, other):
            client.use(TUBE)
            client.watch(TUBE)
            client.ignore("default")
        yield one, other


def test_jobs_lie_in_its_partitions_and_all_come_out(clients: tuple[Client, Client]) -> None:
    pick = random.Random(3)
    wanted = {}
    for number in range(200):
        priority = pick.randrange(1000)
        wanted[clients[number % 2].put("x", priority=priority)] = priority
    assert {LAYOUT.of_job(job_id) for job_id in wanted} == set(LAYOUT.spread(TUBE, COUNT))
    assert clients[0].stats_tube(TUBE).current_jobs_ready == 200
    got: list[int] = []
    while len(got) < 200:
        job = clients[len(got) % 2].reserve(timeout=5)
        assert job is not None
        got.append(job.id)
        clients[(len(got) - 1) % 2].delete(job)
    assert set(got) == set(wanted)
    assert clients[1].reserve(timeout=0) is None
    ranks = sorted(wanted.values())
    behind = [abs(ranks.index(wanted[job_id]) - place) for place, job_id in enumerate(got)]
    assert sum(behind) / 200 < 20, "no order is left"


def test_a_job_wakes_who_waits(
    gateways: tuple[GatewayServer, GatewayServer], clients: tuple[Client, Client]
) -> None:
    with Talk(gateways[0]) as waiting:
        waiting.ask(b"watch %b\r\n" % TUBE.encode())
        waiting.ask(b"ignore default\r\n")
        waits = []
        for _ in range(2 * COUNT):
            waiting.send(b"reserve\r\n")
            await_waiter(gateways[0], TUBE)
            begun = time.monotonic()
            job_id = clients[1].put("x")
            assert waiting.reply() == b"RESERVED %d 1\r\nx\r\n" % job_id
            waits.append(time.monotonic() - begun)
            waiting.ask(b"delete %d\r\n" % job_id)
        assert sorted(waits)[COUNT] < 0.5, waits


def test_what_is_done_to_the_tube_is_done_to_all_of_it(clients: tuple[Client, Client]) -> None:
    one, other = clients
    ids = [one.put("x" * number, priority=number) for number in range(10)]
    delayed = [one.put("d", delay=1000) for _ in range(6)]
    stats = other.stats_tube(TUBE)
    assert (stats.current_jobs_ready, stats.current_jobs_delayed) == (10, 6)
    listed = other.list_jobs(TUBE, "ready", limit=1000)
    assert [job.id for job in listed] == sorted(ids)
    one.pause_tube(TUBE, 100)
    assert other.reserve(timeout=0) is None
    assert other.stats_tube(TUBE).pause == 100
    other.pause_tube(TUBE, 0)
    for _ in ids:
        job = other.reserve(timeout=5)
        assert job is not None
        other.bury(job)
    assert one.peek_buried() is not None
    assert one.kick(3) == 3
    assert one.kick(100) == 7  # buried ones only, as long as there are any
    assert one.kick(100) == len(delayed)
    assert one.stats_tube(TUBE).current_jobs_ready == 16
    assert one.truncate(TUBE) == 16
    assert one.stats_tube(TUBE).current_jobs_ready == 0


def test_a_tube_with_jobs_elsewhere_is_not_drawn_together(
    store: str, clients: tuple[Client, Client]
) -> None:
    ids = [clients[0].put("x") for _ in range(COUNT)]
    with pytest.raises(BadValueError, match="has jobs where none would be looked for"):
        spread(read_store_address(store), TUBE, 1)
    clients[0].delete_many(ids)
