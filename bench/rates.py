"""How many commands a second, and what each costs: in memory, durable, and synced now and then.

CPU per command is the figure to trust; a rate is also the generator's and the scheduler's. Where a
reply waits for the disk CPU says nothing, and the rate is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench import contender
from bench.figures import median
from bench.generator import Load, LoadResult
from bench.goals import Goal, Section, Verdict
from bench.side_by_side import IN_MEMORY, Pair, Terms, cheaper, faster, in_turns

DURABLE: Pair = (
    contender.daemon("-f", "0", keeps=True),
    contender.beanrow("--fsync", "always", keeps=True),
)
SYNCED: Pair = (
    contender.daemon("-f", "50", keeps=True),
    contender.beanrow("--fsync", "50", keeps=True),
)


class Point(NamedTuple):
    """A load, and what is expected; ``by_rate`` where a reply waits for the disk."""

    load: Load
    goal: Goal | None = None
    quick: bool = False
    by_rate: bool = False


class Table(NamedTuple):
    """Points on one pair of servers."""

    name: str
    title: str
    pair: Pair
    points: tuple[Point, ...]

    def quick(self) -> Table:
        return self._replace(points=tuple(point for point in self.points if point.quick))


ONE_AT_A_TIME = Goal(1.0, floor=0.75)
MANY_CONNECTIONS = Goal(1.1, floor=0.9)
SIXTEEN = Goal(4.0, floor=3.0)
HUNDRED = Goal(5.0)

MEMORY_TABLE = Table(
    "rates",
    "RATES: in memory",
    IN_MEMORY,
    (
        Point(Load("put", 1, 1)),
        Point(Load("put", 1, 16)),
        Point(Load("put", 50, 1), ONE_AT_A_TIME, quick=True),
        Point(Load("put", 50, 16), SIXTEEN, quick=True),
        Point(Load("put", 50, 128), HUNDRED, quick=True),
        Point(Load("put", 1000, 1), MANY_CONNECTIONS),
        Point(Load("put", 1000, 16)),
        Point(Load("put-random", 50, 16)),
        Point(Load("cycle", 1, 1)),
        Point(Load("cycle", 1, 16)),
        Point(Load("cycle", 50, 1), ONE_AT_A_TIME, quick=True),
        Point(Load("cycle", 50, 16), SIXTEEN, quick=True),
        Point(Load("cycle", 50, 128), HUNDRED, quick=True),
        Point(Load("cycle", 1000, 1), MANY_CONNECTIONS, quick=True),
        Point(Load("cycle", 1000, 16)),
        Point(Load("cycle", 50, 16, 4096)),
        Point(Load("pair", 50, 1), ONE_AT_A_TIME, quick=True),
        Point(Load("mixed", 50, 1)),
        Point(Load("mixed", 50, 16)),
    ),
)
DURABLE_TABLE = Table(
    "durable",
    "DURABLE: synced before each reply; beanstalkd -b -f 0, beanrow -b --fsync always",
    DURABLE,
    (
        Point(Load("put", 1, 1), Goal(0.8), quick=True, by_rate=True),
        Point(Load("put", 50, 1), Goal(3.0, floor=2.0), quick=True, by_rate=True),
        Point(Load("put", 50, 16), Goal(20.0, floor=10.0), quick=True, by_rate=True),
        Point(Load("cycle", 1, 1), Goal(0.8), by_rate=True),
        Point(Load("cycle", 50, 1), Goal(3.0, floor=2.0), by_rate=True),
        Point(Load("cycle", 50, 16), Goal(20.0, floor=10.0), by_rate=True),
    ),
)
SYNCED_TABLE = Table(
    "synced",
    "SYNCED: every 50 ms; beanstalkd -b -f 50, its default, beanrow -b --fsync 50",
    SYNCED,
    (
        Point(Load("put", 50, 1), Goal(0.9), quick=True),
        Point(Load("put", 50, 16), Goal(3.0), quick=True),
        Point(Load("cycle", 50, 1), Goal(0.9)),
        Point(Load("cycle", 50, 16), Goal(3.0)),
    ),
)

IDLE, GENERATOR_FULL = 0.9, 0.97

EXPLANATION = """\
conns = connections; depth = commands in flight on each, the next sent as a reply arrives. One op =
one command answered. put: puts only. put-random: puts with priorities by chance. cycle: put,
reserve, delete. pair: half of the connections put, half wait in reserve and delete. mixed: put,
reserve, touch, release, reserve, delete.
µs/op = CPU of the server per command (user and system, all threads), the figure to trust.
p99 = of the time from send to reply, in ms: in a closed loop it follows from the rate.
by CPU, by rate: above 1.00 beanrow is the better; in brackets the lowest and highest round. The
goal is judged by CPU, and where each reply waits for the disk by rate.
* the server used under 90 % of its core: the rate tells of the round trip, not of the server.
+ the generator used over 97 % of its core: the server could do more."""


def section(terms: Terms, table: Table) -> Section:
    """Measure all points of a table, and report."""
    loads = [(point.load, table.pair) for point in table.points]
    results = in_turns(terms, table.name, terms.rounds, loads, terms.run)
    theirs, ours = (one.name for one in table.pair)
    lines = [
        table.title,
        "",
        *EXPLANATION.splitlines(),
        "",
        f"{'':28}{theirs:>26}{ours:>28}   {ours} / {theirs}",
        f"{'workload':11}{'conns':>5}{'depth':>6}{'body':>6}"
        + f"{'ops/s':>11}  {'µs/op':>6}{'p99 ms':>9}" * 2
        + f"   {'by CPU':<19}{'by rate':<19}goal",
    ]
    verdicts = []
    for point in table.points:
        runs = results[point.load]
        by_cpu, by_rate = cheaper(runs, _cost), faster(runs, _rate)
        line = f"{_name(point.load)}{_side(runs[0])}{_side(runs[1])}   {by_cpu!s:<19}"
        if point.goal is None:
            lines.append(f"{line}{by_rate}")
            continue
        figure = (by_rate if point.by_rate else by_cpu).middle
        verdict = Verdict(_what(table, point), figure, point.goal)
        lines.append(f"{line}{by_rate!s:<19}{verdict.short}")
        verdicts.append(verdict)
    return Section(lines, verdicts)


def _what(table: Table, point: Point) -> str:
    load, how = point.load, "by rate" if point.by_rate else "by CPU"
    return f"{table.name}: {load.workload}, {load.connections} x {load.depth} in flight, {how}"


def _cost(run: LoadResult) -> float:
    return run.cpu_us


def _rate(run: LoadResult) -> float:
    return run.rate


def _name(load: Load) -> str:
    return f"{load.workload:11}{load.connections:>5}{load.depth:>6}{load.body:>6}"


def _side(runs: Sequence[LoadResult]) -> str:
    rate, cpu = median(runs, _rate), median(runs, _cost)
    p99 = median(runs, lambda run: run.p99_us) / 1000
    mark = " "
    if median(runs, lambda run: run.generator_busy) > GENERATOR_FULL:
        mark = "+"
    elif median(runs, lambda run: run.server_busy) < IDLE:
        mark = "*"
    return f"{rate:>11,.0f}{mark} {cpu:6.2f}{p99:9.2f}"
