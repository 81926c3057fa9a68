"""How long a reply takes when the server has half of what it could do."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contender import Contender
from bench.figures import HEAD, median, ratio, row
from bench.generator import Load, LoadResult
from bench.goals import Goal, Section, Verdict
from bench.side_by_side import IN_MEMORY, Runs, Terms

FULL = (Load("cycle", 50, 1), Load("cycle", 50, 16))
GOAL = Goal(1.0, at_most=True)

EXPLANATION = """\
Full load is what beanstalkd did in the same round: put, reserve, delete on 50 connections, one
command at a time or 16 in flight on each. Both then get half as many commands a second, at even
times; latency counts from the time when a command was due. Milliseconds."""


def section(terms: Terms) -> Section:
    """Find the full load, halve it, measure both servers, and report."""
    lines = ["HALF LOAD: p99 at half of the daemon's full load", "", *EXPLANATION.splitlines(), ""]
    lines.append(HEAD)
    verdicts = []
    for full in FULL:
        rate, runs = _measure(terms, full)
        p99 = ratio(runs[1], runs[0], lambda run: run.p99_us)
        verdict = Verdict(f"half: p99, 50 x {full.depth} in flight", p99.middle, GOAL)
        what = f"50 x {full.depth}, {rate / 1000:.0f}k/s"
        lines.append(row(f"{what}: p99", (_ms(side, "p99_us") for side in runs), str(p99), verdict))
        lines.append(row("  median", (_ms(side, "p50_us") for side in runs), ""))
        lines.append(row("  slowest", (_ms(side, "slowest_us") for side in runs), ""))
        verdicts.append(verdict)
    return Section(lines, verdicts)


def _measure(terms: Terms, full: Load) -> tuple[float, Runs[LoadResult]]:
    runs: tuple[list[LoadResult], list[LoadResult]] = ([], [])
    rates = []
    for turn in range(terms.rounds):
        terms.progress(f"half load: round {turn + 1}/{terms.rounds}, depth {full.depth}")
        rate = terms.run(IN_MEMORY[0], full).rate / 2
        rates.append(rate)
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            runs[side].append(_run(terms, IN_MEMORY[side], full._replace(rate=rate)))
    return median(rates, float), runs


def _run(terms: Terms, server: Contender, load: Load) -> LoadResult:
    return terms.run(server, load)


def _ms(runs: Sequence[LoadResult], field: str) -> str:
    return f"{median(runs, lambda run: float(getattr(run, field))) / 1000:.2f}"
