"""A tube that is spread over several partitions: what it costs in order, and in rate.

12,000 jobs with priorities by chance wait in one tube; 32 connections, half at each of two gateways,
reserve and delete them. The rank error of a job is how many more urgent ones still waited when it was
handed out. It is not 0 without a spread either: replies to 32 connections overtake each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.goals import Section

JOBS, PRIORITIES = 12_000, 2**32
WORKERS = 16
"""Connections to each gateway."""
HEARD = 2.0
"""Seconds until every gateway has heard of a spread."""

EXPLANATION = """\
cached: reserve, which asks the partition first whose next job was the most urgent when it last heard
of it. all: reserve-with-timeout 0, which asks every partition each time. Rank error: how many more
urgent jobs still waited when a job was handed out."""


class Order(NamedTuple):
    """How jobs came out."""

    rate: float
    mean: float
    p99: int
    most: int


class Way(NamedTuple):
    """Over how many partitions, and whether each reserve asks all of them."""

    partitions: int
    asks_all: bool


WAYS = [Way(1, False), Way(3, False), Way(3, True), Way(12, False), Way(12, True)]


def section(progress: Callable[[str], None]) -> Section:
    """Measure all ways on one cluster."""
    from beanrow.cluster.address import read_store_address
    from beanrow.cluster.status import spread
    from tests.engines import Cluster
    from tests.servers import GatewayServer

    title = f"  {'partitions':12}{'asks':8}{'jobs/s':>9}{'rank error mean':>17}{'p99':>7}{'max':>7}"
    lines = [*EXPLANATION.splitlines(), "", title]
    with contextlib.ExitStack() as running:
        cluster = running.enter_context(Cluster(shards=3, replicas=1))
        gateways = [running.enter_context(GatewayServer(store=cluster.url)) for _ in range(2)]
        addresses = [gateway.address for gateway in gateways]
        for number, way in enumerate(WAYS):
            asks = "all" if way.asks_all else "cached"
            progress(f"a tube over {way.partitions} partitions, {asks}")
            tube = f"hot-{number}"
            if way.partitions > 1:
                spread(read_store_address(cluster.url), tube, way.partitions)
                time.sleep(HEARD)
            order = asyncio.run(_drain(addresses, tube, asks_all=way.asks_all))
            lines.append(
                f"  {way.partitions:<12}{asks:8}{order.rate:9.0f}{order.mean:17.1f}"
                f"{order.p99:7}{order.most:7}"
            )
    return Section(["Spread of one tube", *lines], [])


async def _drain(addresses: Sequence[str], tube: str, *, asks_all: bool) -> Order:
    priorities = await _fill(addresses[0], tube)
    ids: list[int] = []
    begun = time.perf_counter()
    await asyncio.gather(
        *(_work(one, tube, ids, asks_all=asks_all) for one in addresses for _ in range(WORKERS))
    )
    seconds = time.perf_counter() - begun
    errors = sorted(_rank_errors([(priorities[job_id], job_id) for job_id in ids]))
    return Order(JOBS / seconds, sum(errors) / JOBS, errors[JOBS * 99 // 100], errors[-1])


async def _fill(address: str, tube: str) -> dict[int, int]:
    from beanrow import AsyncClient

    pick = random.Random(1)
    priorities: dict[int, int] = {}
    async with AsyncClient(address) as client:
        await client.use(tube)
        for _ in range(JOBS // 100):
            some = [pick.randrange(PRIORITIES) for _ in range(100)]
            ids = await asyncio.gather(*(client.put("x" * 100, priority=one) for one in some))
            priorities.update(zip(ids, some, strict=True))
    return priorities


async def _work(address: str, tube: str, ids: list[int], *, asks_all: bool) -> None:
    """Reserve and delete until all jobs are out."""
    from beanrow import AsyncClient

    async with AsyncClient(address) as client:
        await client.watch(tube)
        await client.ignore("default")
        while len(ids) < JOBS:
            job = await client.reserve(timeout=0 if asks_all else 1)
            if job is not None:
                ids.append(job.id)
                await client.delete(job)


def _rank_errors(came: Sequence[tuple[int, int]]) -> list[int]:
    """Tell of each job how many that sort before it came after it: a Fenwick tree of those left."""
    rank = {job: place for place, job in enumerate(sorted(came), 1)}
    tree = [place & -place for place in range(len(came) + 1)]  # one of each is left
    errors = []
    for job in came:
        place, before = rank[job] - 1, 0
        while place:
            before += tree[place]
            place &= place - 1
        errors.append(before)
        place = rank[job]
        while place < len(tree):
            tree[place] -= 1
            place += place & -place
    return errors
