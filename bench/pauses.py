"""The longest that a server stands still: a million jobs, a journal, and much garbage in it."""

from __future__ import annotations

from typing import NamedTuple

from bench import contender, generator
from bench.contender import Contender
from bench.figures import HEAD, row
from bench.generator import Load
from bench.goals import Goal, Section, Verdict
from bench.side_by_side import Pair, Terms, in_turns

PAIR: Pair = (
    contender.daemon("-f", "50", keeps=True),
    contender.beanrow("--fsync", "50", keeps=True),
)
JOBS, GARBAGE = 1_000_000, 500_000
RATE = 20_000
SECONDS, LONGEST = 10.0, 300.0
GOAL = Goal(20.0, at_most=True)

EXPLANATION = f"""\
With a journal synced every 50 ms: {JOBS + GARBAGE:,} jobs of 64 bytes are put with priorities by
chance, {GARBAGE:,} of them taken again, so that each file is full of holes; then {RATE:,} commands a
second, put, reserve, delete, for {SECONDS:g} s, while old files are cleared. All that time another
connection asks once a millisecond; the longest it waited is a pause. Time in which the machine had
the process wait for its core is taken off. Milliseconds, of the worst round."""


class Pauses(NamedTuple):
    """The longest pause in each part, in milliseconds."""

    fill: float
    drain: float
    steady: float


def section(terms: Terms) -> Section:
    results = in_turns(
        terms,
        "pauses",
        terms.long_rounds,
        [("pauses", PAIR)],
        lambda server, _: _run(terms, server),
    )
    (runs,) = results.values()
    lines = [
        "PAUSE: the longest, with a million jobs and compaction",
        "",
        *EXPLANATION.splitlines(),
        "",
        HEAD,
    ]
    verdicts = []
    for part in Pauses._fields:
        worst = [max(float(getattr(run, part)) for run in side) for side in runs]
        verdict = Verdict(f"pause: longest, {part}", worst[1], GOAL, "ms")
        lines.append(row(part, (f"{one:.1f}" for one in worst), "", verdict))
        verdicts.append(verdict)
    return Section(lines, verdicts)


def _run(terms: Terms, server: Contender) -> Pauses:
    fill = Load("put-random", 50, 16, most=JOBS + GARBAGE, warm_up=0, pauses=True)
    drain = Load("drain", 50, 16, most=2 * GARBAGE, warm_up=0, used_queue=True, pauses=True)
    steady = Load("cycle-random", 50, 1, rate=RATE, used_queue=True, pauses=True)
    with contender.running(server, terms.cores.server) as running:
        results = [
            generator.drive(terms.program, load, running, terms.cores.load, seconds)
            for load, seconds in ((fill, LONGEST), (drain, LONGEST), (steady, SECONDS))
        ]
    return Pauses(*(result.pause_us / 1000 for result in results))
