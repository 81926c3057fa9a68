"""Whether a command costs the same however much is in the queue."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench import contender, generator
from bench.contender import HOST, Contender, Running
from bench.figures import HEAD, median, row
from bench.generator import Load, LoadResult
from bench.goals import Goal, Section, Verdict
from bench.machine import BenchError
from bench.side_by_side import IN_MEMORY, Terms, in_turns

CONNECTIONS, DEPTH, FILL_DEPTH = 50, 16, 128
FEW, MANY = 1_000, 1_000_000
TUBES = 10_000
MEASURED = 100_000
"""Commands of each measurement."""
LONGEST = 300.0
GOAL = Goal(1.5, at_most=True)

EXPLANATION = f"""\
CPU of the server per command on {CONNECTIONS} connections, {DEPTH} in flight: with {FEW:,} ready jobs and
with {MANY:,}; with one tube and with {TUBES:,} tubes of a job each, where every connection uses and
watches one of its own. put: puts only; cycle: put, reserve, delete. The figure is the cost with
many over the cost with few; random: priorities out of 100,000."""


class Growth(NamedTuple):
    """Microseconds of CPU per command with few and with many."""

    few: float
    many: float

    @property
    def ratio(self) -> float:
        return self.many / self.few


class Kind(NamedTuple):
    """What grows, what it is filled with, and the workloads it is measured with."""

    name: str
    fill: str
    workloads: tuple[str, str]


KINDS = (
    Kind("ready jobs, FIFO", "put", ("cycle", "put")),
    Kind("ready jobs, random", "put-random", ("cycle-random", "put-random")),
    Kind("tubes", "", ("cycle", "put")),
)
Growths = tuple[Growth, Growth]
"""Of the two workloads of a kind."""


def section(terms: Terms) -> Section:
    points = [(kind, IN_MEMORY) for kind in KINDS]
    results = in_turns(
        terms, "flat", terms.long_rounds, points, lambda server, kind: _run(terms, server, kind)
    )
    lines = ["FLAT: cost with many over cost with few", "", *EXPLANATION.splitlines(), "", HEAD]
    verdicts = []
    for kind, runs in results.items():
        for number, workload in enumerate(kind.workloads):
            what = f"{kind.name}: {workload.partition('-')[0]}"
            sides = [[growths[number] for growths in side] for side in runs]
            growth = median(sides[1], lambda run: run.ratio)
            verdict = Verdict(f"flat: {what}", growth, GOAL)
            lines.append(row(what, map(_words, sides), "", verdict))
            verdicts.append(verdict)
    return Section(lines, verdicts)


def _words(runs: Sequence[Growth]) -> str:
    few, many = median(runs, lambda run: run.few), median(runs, lambda run: run.many)
    return f"{few:.2f} -> {many:.2f} {median(runs, lambda run: run.ratio):5.2f}"


def _run(terms: Terms, server: Contender, kind: Kind) -> Growths:
    few, many = (_with_jobs if kind.fill else _with_tubes)(terms, server, kind)
    return Growth(few[0], many[0]), Growth(few[1], many[1])


def _with_jobs(terms: Terms, server: Contender, kind: Kind) -> list[list[float]]:
    with contender.running(server, terms.cores.server) as running:
        drive = _driver(terms, running)
        costs = []
        for jobs in (FEW, MANY - MEASURED):
            drive(Load(kind.fill, 1, FILL_DEPTH, most=jobs, warm_up=0, used_queue=True))
            costs.append([drive(load).cpu_us for load in _loads(kind)])
    return costs


def _with_tubes(terms: Terms, server: Contender, kind: Kind) -> list[list[float]]:
    costs = []
    for tubes in (1, TUBES):
        with contender.running(server, terms.cores.server) as running:
            _make_tubes(running.port, tubes)
            loads = [load._replace(tubes=tubes) for load in _loads(kind)]
            costs.append([_driver(terms, running)(load).cpu_us for load in loads])
    return costs


def _loads(kind: Kind) -> list[Load]:
    return [
        Load(workload, CONNECTIONS, DEPTH, most=MEASURED, used_queue=True)
        for workload in kind.workloads
    ]


def _driver(terms: Terms, running: Running) -> Callable[[Load], LoadResult]:
    return lambda load: generator.drive(terms.program, load, running, terms.cores.load, LONGEST)


def _make_tubes(port: int, tubes: int) -> None:
    """Put one job into each: a tube lives as long as something is in it."""
    body = b"x" * 64
    with (
        socket.create_connection((HOST, port), LONGEST) as connection,
        connection.makefile("rb") as replies,
    ):
        for tube in range(tubes):
            connection.sendall(b"use t%d\r\nput 65536 0 3600 64\r\n%b\r\n" % (tube, body))
            if not (replies.readline() and replies.readline().startswith(b"INSERTED")):
                raise BenchError(f"no INSERTED for a job in tube t{tube}")
