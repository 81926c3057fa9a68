"""A client's own Python cost: put, reserve and delete over a socket without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.child import python, result_of
from bench.goals import Goal, Section, Verdict
from bench.rows import OURS

PEER = "greenstalk"
CLIENTS = (PEER, "pystalk", OURS)
COST_GOAL, SHARE_GOAL = Goal(2.5, at_most=True), Goal(0.5, at_most=True)
PATIENCE = 60.0

EXPLANATION = """\
Own Python cost of put + reserve + delete, 64 B, on a fake socket without a kernel: lowest of many
runs, hardly any noise. The fake's own share (three sends, three reads) is in each figure."""


class Cost(NamedTuple):
    """Microseconds of CPU per cycle, and the fake's share of them."""

    whole: float
    fake: float


def measure(rounds: int, core: int, progress: Callable[[str], None]) -> Mapping[str, Cost]:
    """Each client's own cost, the lowest of the rounds."""
    lowest: dict[str, Cost] = {}
    for turn in range(rounds):
        for client in CLIENTS:
            progress(f"own cost: round {turn + 1}/{rounds}, {client}")
            values = result_of(python("bench.callers.fake_socket", client), core, PATIENCE)
            cost = Cost(float(values["cost_us"]), float(values["fake_us"]))
            lowest[client] = min(cost, lowest.get(client, cost))
    return lowest


def report(costs: Mapping[str, Cost]) -> Section:
    lines = ["OWN COST", "", *EXPLANATION.splitlines(), ""]
    for client, cost in costs.items():
        share = cost.whole / costs[PEER].whole
        lines.append(
            f"{client:12}{cost.whole:6.2f} µs, of it the fake {cost.fake:.2f}"
            f"   {share:.2f} of {PEER}'s"
        )
    own = costs[OURS].whole
    verdicts = [
        Verdict(f"{OURS}: own cost", own, COST_GOAL, "µs"),
        Verdict(f"{OURS}: own cost / {PEER}'s", own / costs[PEER].whole, SHARE_GOAL),
    ]
    return Section([*lines, "", *(one.line for one in verdicts)], verdicts)
