"""A queue of a million jobs: how fast it fills and drains, what it weighs, how long it answers.

One run tells all of it: fill; put, reserve and delete on top; drain to the last job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench import contender, generator
from bench.contender import Contender
from bench.figures import HEAD, median, ratio, row
from bench.generator import Load, LoadResult
from bench.goals import Goal, Section, Verdict
from bench.process import resident_bytes
from bench.side_by_side import IN_MEMORY, Runs, Terms, cheaper, faster, in_turns

JOBS = 1_000_000
CONNECTIONS, DEPTH = 50, 16
LONGEST = 300.0
"""Seconds that a fill or a drain may take before it is cut short."""
TOP_SECONDS = 1.5
GIVING_BACK_SECONDS = 2.0
"""What a server is given for it once it is empty."""


class Kind(NamedTuple):
    """By what priorities the jobs leave, and what is expected."""

    name: str
    fill: str
    top: str
    fill_goal: Goal
    drain_goal: Goal | None
    memory_goal: Goal
    p99_goal: Goal | None


KINDS = (
    Kind(
        "FIFO",
        "put",
        "cycle",
        fill_goal=Goal(3.0),
        drain_goal=None,
        memory_goal=Goal(1.3, at_most=True, floor=1.5),
        p99_goal=Goal(10.0, at_most=True, floor=10.0),
    ),
    Kind(
        "random",
        "put-random",
        "cycle-random",
        fill_goal=Goal(1.5),
        drain_goal=Goal(1.0),
        memory_goal=Goal(1.7, at_most=True),
        p99_goal=None,
    ),
)
GIVEN_BACK = Goal(0.8)
"""Share of what the jobs took. What stays is the allocator's, and the next jobs take it."""


class MillionRun(NamedTuple):
    """One life of a server. Memory in bytes, beyond what the empty server had."""

    fill: LoadResult
    top: LoadResult
    drain: LoadResult
    full: int
    drained: int

    @property
    def per_job(self) -> float:
        return self.full / JOBS

    @property
    def given_back(self) -> float:
        return 1 - self.drained / self.full


PARTS: dict[str, Callable[[MillionRun], LoadResult]] = {
    "fill": lambda run: run.fill,
    "on top": lambda run: run.top,
    "drain": lambda run: run.drain,
}

EXPLANATION = f"""\
{JOBS:,} jobs of 64 bytes, {CONNECTIONS} connections, {DEPTH} commands in flight on each. FIFO: all
of one priority; random: out of 100,000. fill: puts only; on top: put, reserve, delete on the full
queue; drain: reserve and delete until it is empty. ops/s of commands."""


def sections(terms: Terms, rows: Sequence[str]) -> list[Section]:
    """Measure once; report the rows ``fill``, ``memory`` and ``deep`` that are asked for."""
    points = [(kind, IN_MEMORY) for kind in KINDS]
    results = in_turns(
        terms,
        "a million",
        terms.long_rounds,
        points,
        lambda server, kind: _run(terms, server, kind),
    )
    reports: dict[str, Callable[[Kind, Runs[MillionRun]], Section]] = {
        "fill": _fill,
        "memory": _memory,
        "deep": _deep,
    }
    titles = {
        "fill": "FILL: a million jobs in and out again",
        "memory": "MEMORY: of a queued job, and given back",
        "deep": "DEEP: p99 in ms at 16 in flight on a queue of a million",
    }
    sections = []
    for name in rows:
        parts = [reports[name](kind, runs) for kind, runs in results.items()]
        lines = [titles[name], "", *EXPLANATION.splitlines(), "", HEAD]
        lines += [line for part in parts for line in part.lines]
        sections.append(Section(lines, [one for part in parts for one in part.verdicts]))
    return sections


def _run(terms: Terms, server: Contender, kind: Kind) -> MillionRun:
    lanes = CONNECTIONS * DEPTH
    fill = Load(kind.fill, CONNECTIONS, DEPTH, most=JOBS - 2 * lanes, warm_up=0)
    top = Load(kind.top, CONNECTIONS, DEPTH, used_queue=True)
    drain = Load("drain", CONNECTIONS, DEPTH, most=100 * JOBS, warm_up=0, used_queue=True)
    with contender.running(server, terms.cores.server) as running:

        def drive(load: Load, seconds: float) -> LoadResult:
            return generator.drive(terms.program, load, running, terms.cores.load, seconds)

        empty = resident_bytes(running.pid)
        filled = drive(fill, LONGEST)
        full = resident_bytes(running.pid)
        on_top = drive(top, TOP_SECONDS)
        drained = drive(drain, LONGEST)
        time.sleep(GIVING_BACK_SECONDS)
        left = resident_bytes(running.pid)
    return MillionRun(filled, on_top, drained, full - empty, left - empty)


def _fill(kind: Kind, runs: Runs[MillionRun]) -> Section:
    lines, verdicts = [], []
    goals = {"fill": kind.fill_goal, "drain": kind.drain_goal}
    for what, part in PARTS.items():
        goal = goals.get(what)
        part_runs = (list(map(part, runs[0])), list(map(part, runs[1])))
        by_cpu = cheaper(part_runs, lambda run: run.cpu_us)
        by_rate = faster(part_runs, lambda run: run.rate)
        ratio = f"{by_cpu} by CPU, {by_rate} by rate"
        verdict = None
        if goal is not None:
            verdict = Verdict(f"fill: {kind.name}, {what}, by CPU", by_cpu.middle, goal)
            verdicts.append(verdict)
        lines.append(row(f"{kind.name}, {what}", map(_speed, part_runs), ratio, verdict))
    return Section(lines, verdicts)


def _speed(runs: Sequence[LoadResult]) -> str:
    rate, cpu = median(runs, lambda run: run.rate), median(runs, lambda run: run.cpu_us)
    return f"{rate:,.0f}/s {cpu:5.2f} µs"


def _memory(kind: Kind, runs: Runs[MillionRun]) -> Section:
    each = ratio(runs[1], runs[0], lambda run: run.per_job)
    weight = Verdict(f"memory: {kind.name}, of a job", each.middle, kind.memory_goal)
    back = [median(side, lambda run: run.given_back) for side in runs]
    share = Verdict(f"memory: {kind.name}, given back", back[1], GIVEN_BACK)
    sizes = [f"{median(side, lambda run: run.per_job):,.0f} B" for side in runs]
    shares = [f"{one:.0%}" for one in back]
    lines = [
        row(f"{kind.name}, of a job", sizes, str(each), weight),
        row(f"{kind.name}, given back", shares, "", share),
    ]
    return Section(lines, [weight, share])


def _deep(kind: Kind, runs: Runs[MillionRun]) -> Section:
    lines, verdicts = [], []
    for what, part in PARTS.items():
        figures = [median(list(map(part, side)), _p99_ms) for side in runs]
        verdict = None
        if kind.p99_goal is not None:
            verdict = Verdict(f"deep: {kind.name}, p99, {what}", figures[1], kind.p99_goal, "ms")
            verdicts.append(verdict)
        words = (f"{one:.2f}" for one in figures)
        lines.append(row(f"{kind.name}, {what}", words, "", verdict))
    return Section(lines, verdicts)


def _p99_ms(run: LoadResult) -> float:
    return run.p99_us / 1000
