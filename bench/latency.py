"""The slowest of 100,000 commands, one at a time, on a server that has nothing else to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench import contender
from bench.callers.caller import Order
from bench.callers.latency import SLOW_MS
from bench.child import python, result_of
from bench.figures import median
from bench.goals import Goal, Section, Verdict
from bench.rows import OURS

CLIENTS = ("raw", "greenstalk", "pystalk", OURS)
COMMANDS = 100_000
PATIENCE = 120.0
P999_GOAL = Goal(5.0, at_most=True)
SLOW_GOAL = Goal(COMMANDS / 10_000, at_most=True)
"""A busy machine may stop a process once in a while; what is systematic comes in thousands."""

EXPLANATION = f"""\
{COMMANDS:,} commands, a put, a reserve and a delete in turn, each timed by itself; 64 B, one core,
the daemon otherwise idle. Milliseconds, medians of the rounds but for max and slow, which are the
worst round's: slow = how many took over {SLOW_MS:g} ms. A client that writes a command in two
waits 40 ms each time. raw shows what the machine itself does."""


class Latency(NamedTuple):
    """One run. Milliseconds, and a number of commands."""

    middle: float
    p999: float
    most: float
    slow: int


Results = Mapping[str, Sequence[Latency]]


def measure(rounds: int, core: int, progress: Callable[[str], None]) -> Results:
    """Time the commands of every client, in turn."""
    results: dict[str, list[Latency]] = {client: [] for client in CLIENTS}
    for turn in range(rounds):
        for client in CLIENTS:
            progress(f"latency: round {turn + 1}/{rounds}, {client}")
            results[client].append(_run(client, core))
    return results


def report(results: Results) -> Section:
    lines = [
        "SLOWEST COMMANDS",
        "",
        *EXPLANATION.splitlines(),
        "",
        f"{'':12}{'median':>9}{'p99.9':>9}{'max':>9}{'slow':>6}",
    ]
    for client, runs in results.items():
        middle, p999 = median(runs, lambda run: run.middle), median(runs, lambda run: run.p999)
        most, slow = max(run.most for run in runs), max(run.slow for run in runs)
        lines.append(f"{client:12}{middle:9.3f}{p999:9.3f}{most:9.3f}{slow:6}")
    own = results[OURS]
    p999, slow = median(own, lambda run: run.p999), max(run.slow for run in own)
    verdicts = [
        Verdict(f"{OURS}: p99.9", p999, P999_GOAL, "ms"),
        Verdict(f"{OURS}: commands over {SLOW_MS:g} ms", slow, SLOW_GOAL),
    ]
    return Section([*lines, "", *(one.line for one in verdicts)], verdicts)


def _run(client: str, core: int) -> Latency:
    with contender.running(contender.daemon(), core) as server:
        order = Order(client, "cycle", 64, server.port, server.pid, COMMANDS, 0, 0)
        values = result_of(python("bench.callers.latency", *order), core, PATIENCE)
    return Latency(
        middle=float(values["median_ms"]),
        p999=float(values["p999_ms"]),
        most=float(values["most_ms"]),
        slow=int(values["slow"]),
    )
