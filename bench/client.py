"""The client's part: ours, greenstalk and raw sockets against the real daemon.

Laws:
- A fresh client process and a fresh daemon for each run, both pinned to the same core: across
  cores a round trip is mostly waking the other one up, by luck 30 or 80 µs, and no client shows.
- The clients take turns within a round, and who begins moves on by one with each.
- Bounded: by seconds, and by bytes left in the daemon.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench import contender
from bench.child import result_of
from bench.contender import Running
from bench.figures import Ratio, median, ratio
from bench.machine import BenchError

CLIENTS = ("raw", "greenstalk", "beanrow")
FLOOR, PEER, OURS = CLIENTS
MOST_BYTES_QUEUED = 512 * 2**20
BYTES_PER_JOB = 300
"""What the daemon keeps for a job beside its body, roughly."""
PATIENCE = 60.0

EXPLANATION = """\
One connection, one command at a time, client and daemon on the same core. One op = one put, or
one put + reserve + delete (cycle). client, both = µs of CPU per op, user and system, of the client
alone and with the daemon's. On one core nothing overlaps, so "by CPU" (of both) is what "by rate"
would be on a machine that is otherwise idle, and the figure to trust where it is not.
Above 1.00 the client is the faster; in brackets the lowest and highest round.
raw = Python's own socket calls on requests made beforehand: the floor no client can pass."""

FAKE_EXPLANATION = """\
Own Python cost of put + reserve + delete, 64 B, on a fake socket without a kernel: lowest of many
runs, hardly any noise. The fake's own share (three sends, three reads) is in each figure."""


class Row(NamedTuple):
    operation: str
    body: int

    @property
    def most_calls(self) -> int:
        """Enough for any rate, and few enough for the daemon's memory."""
        return MOST_BYTES_QUEUED // (self.body + BYTES_PER_JOB)


class CallResult(NamedTuple):
    ops: int
    seconds: float
    cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        return self.ops / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of client CPU per operation."""
        return self.cpu / self.ops * 1e6

    @property
    def both_cpu_us(self) -> float:
        """Microseconds of CPU per operation, the daemon's added."""
        return (self.cpu + self.server_cpu) / self.ops * 1e6


class FakeResult(NamedTuple):
    cost_us: float
    fake_us: float


ROWS = (Row("put", 64), Row("cycle", 64), Row("put", 60 * 1024), Row("cycle", 60 * 1024))

Results = Mapping[Row, Mapping[str, Sequence[CallResult]]]
Progress = Callable[[str], None]


def require(clients: Sequence[str]) -> None:
    """Stop, before anything is measured, if a client is not installed."""
    for name in clients:
        if name != FLOOR and importlib.util.find_spec(name) is None:
            raise BenchError(f"{name} is not installed: pip install -e '.[bench]'")


def measure(
    clients: Sequence[str], rounds: int, seconds: float, core: int, progress: Progress
) -> Results:
    """Run every row with every client, round by round."""
    results: dict[Row, dict[str, list[CallResult]]] = {
        row: {client: [] for client in clients} for row in ROWS
    }
    for turn in range(rounds):
        first = turn % len(clients)
        for number, row in enumerate(ROWS, 1):
            progress(f"client: round {turn + 1}/{rounds}, row {number}/{len(ROWS)}")
            for client in (*clients[first:], *clients[:first]):
                results[row][client].append(_run(client, row, seconds, core))
    return results


def measure_fake(clients: Sequence[str], rounds: int, core: int) -> dict[str, FakeResult]:
    """Each client's own cost, the lowest of the rounds; raw sockets have none."""
    lowest: dict[str, FakeResult] = {}
    for _ in range(rounds):
        for client in clients:
            if client == FLOOR:
                continue
            values = _child(["bench.fake_socket", client], core, 0)
            result = FakeResult(float(values["cost_us"]), float(values["fake_us"]))
            lowest[client] = min(result, lowest.get(client, result))
    return lowest


def report(results: Results, fake: Mapping[str, FakeResult]) -> list[str]:
    lines = [
        "CLIENT: against beanstalkd",
        "",
        *EXPLANATION.splitlines(),
        "",
        f"{'':55}    {'/ ' + PEER:<38}{'/ ' + FLOOR}",
        (
            f"{'operation':10}{'body':>7}  {'client':12}{'ops/s':>9}{'client':>8}{'both':>8}   "
            f"{'by CPU':<19}{'by rate':<19}by CPU by rate"
        ),
    ]
    for row, runs in results.items():
        lines += [_line(row, client, runs) for client in runs]
    return [*lines, "", _goal(results), "", *FAKE_EXPLANATION.splitlines(), "", *_fake_lines(fake)]


def _run(client: str, row: Row, seconds: float, core: int) -> CallResult:
    with contender.running(contender.daemon(), core) as server:
        values = _child(_caller(client, row, server, seconds), core, seconds)
    times = (float(values[name]) for name in ("seconds", "cpu", "server_cpu"))
    return CallResult(int(values["ops"]), *times)


def _caller(client: str, row: Row, server: Running, seconds: float) -> list[str]:
    numbers = (row.body, server.port, server.pid, row.most_calls, seconds)
    return ["bench.caller", client, row.operation, *map(str, numbers)]


def _child(module: Sequence[str], core: int, seconds: float) -> dict[str, str]:
    """Run a module of this package in a fresh Python."""
    return result_of([sys.executable, "-m", *module], core, seconds + PATIENCE)


def _line(row: Row, client: str, runs: Mapping[str, Sequence[CallResult]]) -> str:
    own, peer, floor = runs[client], runs[PEER], runs[FLOOR]
    rate, cpu = median(own, lambda run: run.rate), median(own, lambda run: run.cpu_us)
    both = median(own, lambda run: run.both_cpu_us)
    line = f"{row.operation:10}{row.body:>7}  {client:12}{rate:>9,.0f}{cpu:8.2f}{both:8.2f}   "
    line += f"{_by_cpu(own, peer)!s:<19}{_by_rate(own, peer)!s:<19}" if client != PEER else " " * 38
    if client != FLOOR:
        line += f"{_by_cpu(own, floor).middle:5.2f}  {_by_rate(own, floor).middle:5.2f}"
    return line.rstrip()


def _by_cpu(own: Sequence[CallResult], other: Sequence[CallResult]) -> Ratio:
    """Their cost over our own: above 1 our own is the lower."""
    return ratio(other, own, lambda run: run.both_cpu_us)


def _by_rate(own: Sequence[CallResult], other: Sequence[CallResult]) -> Ratio:
    return ratio(own, other, lambda run: run.rate)


def _goal(results: Results) -> str:
    ratios = {row: _by_cpu(runs[OURS], runs[PEER]).middle for row, runs in results.items()}
    worst = min(ratios, key=lambda row: ratios[row])
    return (
        f"{OURS} / {PEER}: lowest by CPU {ratios[worst]:.2f} ({worst.operation}, {worst.body} B);"
        " expected at least 1.00 in every row"
    )


def _fake_lines(fake: Mapping[str, FakeResult]) -> list[str]:
    lines = []
    for client, result in fake.items():
        share = result.cost_us / fake[PEER].cost_us
        lines.append(
            f"{client:12}{result.cost_us:6.2f} µs, of it the fake {result.fake_us:.2f}"
            f"   {share:.2f} of {PEER}'s"
        )
    return [*lines, f"expected of {OURS}: at most 2.50 µs and at most 0.50 of {PEER}'s"]
