"""What a program pays that imports a client: milliseconds, and memory.

Laws:
- A fresh interpreter each time, in turn with a bare one. A first run of each is not counted: it
  writes the .pyc files that an installed package has, even where the environment says not to.
- Each tells its own CPU since it began and its own resident memory. What the parent could ask of
  the kernel, the peak of a child, counts the parent's pages from before the child's exec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench.child import result_of
from bench.figures import median
from bench.goals import Goal, Section, Verdict
from bench.rows import OURS

BARE = "bare"
STATEMENTS = {
    BARE: "",
    "greenstalk": "import greenstalk",
    "pystalk": "import pystalk",
    "aiostalk": "import aiostalk",
    OURS: f"import {OURS}",
    f"{OURS}, async": f"from {OURS} import AsyncClient",
}
PROGRAM = """\
import sys, time
sys.dont_write_bytecode = False
began = time.perf_counter()
{statement}
took = time.perf_counter() - began
cpu = time.process_time()
import resource
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[1])
print(f"cpu={{cpu}} took={{took}} memory={{pages * resource.getpagesize()}}")
"""
TIME_GOAL, MEMORY_GOAL = Goal(20.0, at_most=True), Goal(4.0, at_most=True)
PATIENCE = 20.0

EXPLANATION = """\
What an import adds to a bare interpreter: CPU of the whole process and its resident memory, less
those of one that imports nothing; and the wall clock around the statement. Medians."""


class Cost(NamedTuple):
    """One interpreter: milliseconds and MiB."""

    cpu: float
    took: float
    memory: float


Results = Mapping[str, Sequence[Cost]]


def measure(rounds: int, core: int, progress: Callable[[str], None]) -> Results:
    """Start interpreters in turn, each with another import."""
    for statement in STATEMENTS.values():
        _run(statement, core)
    results: dict[str, list[Cost]] = {name: [] for name in STATEMENTS}
    for turn in range(rounds):
        progress(f"imports: round {turn + 1}/{rounds}")
        for name, statement in STATEMENTS.items():
            results[name].append(_run(statement, core))
    return results


def report(results: Results) -> Section:
    bare = _medians(results[BARE])
    lines = [
        "IMPORT",
        "",
        *EXPLANATION.splitlines(),
        "",
        f"{'':16}{'CPU ms':>8}{'wall ms':>9}{'MiB':>7}",
        f"{BARE:16}{bare.cpu:8.1f}{'':9}{bare.memory:7.1f}   its own, not over itself",
    ]
    added = {
        name: Cost(cost.cpu - bare.cpu, cost.took, cost.memory - bare.memory)
        for name, runs in results.items()
        if name != BARE
        for cost in [_medians(runs)]
    }
    for name, cost in added.items():
        lines.append(f"{name:16}{cost.cpu:8.1f}{cost.took:9.1f}{cost.memory:7.1f}")
    own = added[OURS]
    verdicts = [
        Verdict(f"import {OURS}: CPU", own.cpu, TIME_GOAL, "ms"),
        Verdict(f"import {OURS}: memory", own.memory, MEMORY_GOAL, "MiB"),
    ]
    return Section([*lines, "", *(one.line for one in verdicts)], verdicts)


def _medians(runs: Sequence[Cost]) -> Cost:
    return Cost(
        median(runs, lambda run: run.cpu),
        median(runs, lambda run: run.took),
        median(runs, lambda run: run.memory),
    )


def _run(statement: str, core: int) -> Cost:
    program = PROGRAM.format(statement=statement)
    values = result_of([sys.executable, "-c", program], core, PATIENCE)
    cpu, took = float(values["cpu"]) * 1000, float(values["took"]) * 1000
    return Cost(cpu, took, int(values["memory"]) / 2**20)
