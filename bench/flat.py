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
    """What grows, and the command it is measured with."""

    name: str
    workload: str
    fill: str


JOBS_KINDS = (
    Kind("ready jobs, FIFO: put", "put", "put"),
    Kind("ready jobs, FIFO: cycle", "cycle", "put"),
    Kind("ready jobs, random: put", "put-random", "put-random"),
    Kind("ready jobs, random: cycle", "cycle-random", "put-random"),
)
TUBE_KINDS = (Kind("tubes: put", "put", ""), Kind("tubes: cycle", "cycle", ""))


def section(terms: Terms) -> Section:
    points = [(kind, IN_MEMORY) for kind in (*JOBS_KINDS, *TUBE_KINDS)]
    results = in_turns(
        terms, "flat", terms.long_rounds, points, lambda server, kind: _run(terms, server, kind)
    )
    lines = ["FLAT: cost with many over cost with few", "", *EXPLANATION.splitlines(), "", HEAD]
    verdicts = []
    for kind, runs in results.items():
        growth = median(runs[1], lambda run: run.ratio)
        verdict = Verdict(f"flat: {kind.name}", growth, GOAL)
        lines.append(row(kind.name, map(_words, runs), "", verdict))
        verdicts.append(verdict)
    return Section(lines, verdicts)


def _words(runs: Sequence[Growth]) -> str:
    few, many = median(runs, lambda run: run.few), median(runs, lambda run: run.many)
    return f"{few:.2f} -> {many:.2f} {median(runs, lambda run: run.ratio):5.2f}"


def _run(terms: Terms, server: Contender, kind: Kind) -> Growth:
    return _with_jobs(terms, server, kind) if kind.fill else _with_tubes(terms, server, kind)


def _with_jobs(terms: Terms, server: Contender, kind: Kind) -> Growth:
    with contender.running(server, terms.cores.server) as running:
        drive = _driver(terms, running)
        costs = []
        for jobs in (FEW, MANY - MEASURED):
            drive(Load(kind.fill, 1, FILL_DEPTH, most=jobs, warm_up=0, used_queue=True))
            load = Load(kind.workload, CONNECTIONS, DEPTH, most=MEASURED, used_queue=True)
            costs.append(drive(load).cpu_us)
    return Growth(*costs)


def _with_tubes(terms: Terms, server: Contender, kind: Kind) -> Growth:
    costs = []
    for tubes in (1, TUBES):
        with contender.running(server, terms.cores.server) as running:
            _make_tubes(running.port, tubes)
            load = Load(
                kind.workload, CONNECTIONS, DEPTH, most=MEASURED, tubes=tubes, used_queue=True
            )
            costs.append(_driver(terms, running)(load).cpu_us)
    return Growth(*costs)


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
