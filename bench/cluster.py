"""Gateways over Redis: what a transition costs them and the engine, and what ack=1 adds.

Laws:
- CPU per transition is the result: gateways, engines and load share the cores of one machine, so
  rates are a floor, and how far more machines carry cannot be seen here, only that the CPU for a
  transition does not grow with them.
- What is compared takes turns in one run. Every process is private and ended by its id.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bench import spread
from bench.goals import Goal, Section, Verdict
from bench.machine import BenchError

EXPLANATION = """\
128 connections put, reserve and delete, each in one of 64 tubes, bodies of 100 bytes, one command in
flight on each. A transition is one command. CPU in microseconds of user and system for each
transition: of the gateways, and of all engine nodes together. Every node keeps an append-only file,
synced each second. What of one connection comes together with that of others is one write: fewer of
them for a gateway and a shard make each transition dearer, so both are also measured with as many
for each."""
CONNECTIONS, TUBES = 128, 64
MEASURED_JOBS = 50_000
WAKES = 200
Progress = Callable[[str], None]


class Run(NamedTuple):
    """One timed window. CPU in microseconds a transition, latencies of put in milliseconds."""

    rate: float
    gateway: float
    engine: float
    p50: float
    p99: float


def sections(seconds: float, progress: Progress) -> Iterator[Section]:
    """Measure, a section at a time; BenchError if an engine is missing or a reply is wrong."""
    try:
        from tests.engines import find_engine
    except ModuleNotFoundError as missing:
        raise BenchError(f"{missing.name} is missing: pip install '.[bench]'") from None
    if find_engine() is None:
        raise BenchError("no redis-server here: make install-engines")
    yield _gateways(seconds, progress)
    yield _shards(seconds, progress)
    yield _acknowledged(seconds, progress)
    yield _wake_up(progress)
    yield _memory(progress)
    yield spread.section(progress)


def _cpu(pids: Sequence[int]) -> float:
    """Seconds of CPU that processes have used so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat") as schedstat:
            total += int(schedstat.read().split()[0])
    return total / 1e9


@contextlib.contextmanager
def _load(
    ports: Sequence[int], seconds: float, connections: int
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.gateway_load", ",".join(map(str, ports))]
    command += [str(connections), str(TUBES), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _measure(
    store: str,
    engines: Sequence[int],
    gateways: int,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Run:
    """Load fresh gateways over a store whose nodes are the processes ``engines``."""
    from tests.servers import GatewayServer

    with contextlib.ExitStack() as running:
        serving = [running.enter_context(GatewayServer(store=store)) for _ in range(gateways)]
        load = running.enter_context(_load([one.port for one in serving], seconds, connections))
        pids = [one.pid for one in serving]
        assert load.stdout is not None
        if load.stdout.readline() != "begin\n":
            raise BenchError("the load of the gateways did not start")
        before = _cpu(pids), _cpu(engines)
        line = load.stdout.readline()
        after = _cpu(pids), _cpu(engines)
        if not line:
            raise BenchError("the load of the gateways ended: see above")
        told = json.loads(line)
        gateway, engine = (
            (late - early) / told["ops"] * 1e6 for early, late in zip(before, after, strict=True)
        )
        rate = told["ops"] / told["seconds"]
        return Run(rate, gateway, engine, told["p50_ms"], told["p99_ms"])


HEADINGS = f"  {'':34}{'trans/s':>9}{'gateway':>9}{'engine':>9}{'put p50':>10}{'p99 ms':>8}"


def _row(title: str, run: Run) -> str:
    return f"  {title:34}{run.rate:9.0f}{run.gateway:9.1f}{run.engine:9.1f}{run.p50:10.1f}{run.p99:8.1f}"


def _gateways(seconds: float, progress: Progress) -> Section:
    from tests.engines import Cluster

    with Cluster(shards=3, replicas=1) as cluster:
        pids = [node.pid for node in cluster.nodes]
        runs = []
        for count in (1, 2):
            progress(f"{count} gateways over 3 shards")
            runs.append(_measure(cluster.url, pids, count, seconds))
        progress("2 gateways, twice the connections")
        runs.append(_measure(cluster.url, pids, 2, seconds, 2 * CONNECTIONS))
    one, two, double = runs
    verdicts = [
        Verdict("whole gateway", one.rate, Goal(20_000), "transitions/s"),
        Verdict("gateway CPU", one.gateway, Goal(30, at_most=True), "us a transition"),
        Verdict("gateway CPU, 2 gateways over 1", two.gateway / one.gateway, Goal(1.15, True)),
    ]
    rows = [
        _row("1 gateway, 3 shards + 3 replicas", one),
        _row("2 gateways", two),
        _row("2 gateways, 256 connections", double),
    ]
    return _section("Gateways", [HEADINGS, *rows], verdicts)


def _shards(seconds: float, progress: Progress) -> Section:
    from tests.engines import Cluster, Engine

    runs = []
    with Engine() as engine:
        progress("1 shard")
        runs.append(_measure(engine.url, [engine.pid], 1, seconds))
    for shards in (2, 3):
        progress(f"{shards} shards")
        with Cluster(shards, replicas=0) as cluster:
            pids = [node.pid for node in cluster.nodes]
            runs.append(_measure(cluster.url, pids, 1, seconds))
            if shards == 3:
                progress("3 shards, three times the connections")
                runs.append(_measure(cluster.url, pids, 1, seconds, 3 * CONNECTIONS))
    verdicts = [
        Verdict("engine CPU, 1 shard", runs[0].engine, Goal(20, at_most=True), "us a transition"),
        Verdict("engine CPU, 3 shards over 1", runs[2].engine / runs[0].engine, Goal(1.15, True)),
        Verdict(
            "the same, as much for each shard", runs[3].engine / runs[0].engine, Goal(1.15, True)
        ),
    ]
    titles = ("1 shard, no replicas", "2 shards", "3 shards", "3 shards, 384 connections")
    rows = [_row(title, run) for title, run in zip(titles, runs, strict=True)]
    return _section("Shards", [HEADINGS, *rows], verdicts)


def _acknowledged(seconds: float, progress: Progress) -> Section:
    """Take turns, twice: one machine's minutes differ by more than what is measured."""
    from tests.engines import Cluster

    runs: dict[int, list[Run]] = {0: [], 1: []}
    with Cluster(shards=3, replicas=1) as cluster:
        pids = [node.pid for node in cluster.nodes]
        for ack in (0, 1, 1, 0):
            progress(f"ack={ack}")
            runs[ack].append(_measure(f"{cluster.url}?ack={ack}", pids, 1, seconds))
    rates = {ack: sum(run.rate for run in of_ack) / 2 for ack, of_ack in runs.items()}
    cost = (1 - rates[1] / rates[0]) * 100
    rows = [_row(f"ack={ack}", run) for ack, of_ack in runs.items() for run in of_ack]
    verdict = Verdict("ack=1 costs of the rate", cost, Goal(25, at_most=True), "%")
    return _section("Acknowledged by a replica", [HEADINGS, *rows], [verdict])


def _wake_up(progress: Progress) -> Section:
    """From a put at one gateway to the job at a reserve that waits at another."""
    from beanrow import Client
    from tests.engines import Engine
    from tests.server.talk import Talk
    from tests.servers import GatewayServer

    progress("wake-up across gateways")
    waits = []
    with (
        Engine() as engine,
        GatewayServer(store=engine.url) as one,
        GatewayServer(store=engine.url) as other,
        Talk(one) as waiting,
        Client(other.address) as client,
    ):
        client.use("wake")
        waiting.ask(b"watch wake\r\n")
        for _ in range(WAKES):
            waiting.send(b"reserve\r\n")
            time.sleep(0.005)  # it waits by then, at the latest
            begun = time.perf_counter()
            job_id = client.put("x")
            waiting.reply()
            waits.append((time.perf_counter() - begun) * 1e3)
            waiting.ask(b"delete %d\r\n" % job_id)
    waits.sort()
    p50, p99 = waits[WAKES // 2], waits[WAKES * 99 // 100]
    verdicts = [
        Verdict("wake-up across gateways, p50", p50, Goal(2, at_most=True), "ms"),
        Verdict("wake-up across gateways, p99", p99, Goal(10, at_most=True), "ms"),
    ]
    return _section("Wake-up", [f"  {WAKES} jobs: p50 {p50:.2f} ms, p99 {p99:.2f} ms"], verdicts)


def _memory(progress: Progress) -> Section:
    from beanrow import Client
    from tests.engines import Engine
    from tests.servers import GatewayServer

    progress("memory of a job")
    with Engine() as engine, GatewayServer(store=engine.url) as gateway:
        before = int(engine.figure("memory", "used_memory"))
        with Client(gateway.address) as client:
            client.put_many("x" * 100 for _ in range(MEASURED_JOBS))
        after = int(engine.figure("memory", "used_memory"))
    size = (after - before) / MEASURED_JOBS
    verdict = Verdict("memory of a 100-byte job", size, Goal(420, at_most=True), "bytes")
    return _section("Memory", [f"  {MEASURED_JOBS} jobs: {size:.0f} bytes each"], [verdict])


def _section(title: str, lines: list[str], verdicts: list[Verdict]) -> Section:
    return Section([title, *lines, *(f"  {one.line}" for one in verdicts)], verdicts)
