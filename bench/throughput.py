"""How fast clients work: ours and its peers in every row, against the daemon or our own server.

Laws:
- Fresh processes and a fresh server for each run, pinned: client and server to the same core, as
  across cores one command at a time is mostly waking the other one up, by luck 30 or 80 µs, and no
  client shows; to a core each where many commands are on their way and the two sides overlap.
- The contestants take turns within a round, and who begins moves on by one with each.
- Bounded: by seconds, and by bytes left in the server.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench import contender
from bench.callers.caller import Order
from bench.child import python, results_of
from bench.figures import Ratio, median, ratio
from bench.goals import Section, Verdict
from bench.machine import Cores
from bench.rows import OURS, Contestant, Row

PATIENCE = 60.0
START_SECONDS = 2.5
"""What several processes are given to start and warm up, before they begin together."""

EXPLANATION = f"""\
One op = one job put, deleted, or taken through all that the row names. client, both = µs of CPU
per op, user and system, of the client alone and with the server's. faults = page faults per op.
"{OURS} / it" is above 1.00 where {OURS} is the faster; in brackets the lowest and highest round.
One core: client and server share it, nothing overlaps, so "by CPU" (of both) is what "by rate"
would be on a machine that is otherwise idle, and the figure to trust where it is not. The goal is
judged by CPU there, and by rate where client and server have a core each.
raw = Python's own socket calls on requests made beforehand: the floor that no client passes one by
one. greenstalk and pystalk have nothing but the loop; aiostalk's connection cannot be shared
without a lock. Its heap: in a fresh process each reply may cost an mmap, and does not once a large
object was freed; each state is brought about on purpose."""

HEADINGS = (
    f"  {'':28}{'ops/s':>9}{'client':>8}{'both':>8}{'faults':>8}   "
    f"{OURS + ' / it: by CPU':<24}{'by rate':<20}goal"
)
Progress = Callable[[str], None]


class CallResult(NamedTuple):
    """One run; of several processes, all of them. CPU in seconds."""

    ops: int
    seconds: float
    cpu: float
    server_cpu: float
    faults: int

    @property
    def rate(self) -> float:
        return self.ops / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of client CPU per operation."""
        return self.cpu / self.ops * 1e6

    @property
    def both_cpu_us(self) -> float:
        """Microseconds of CPU per operation, the server's added."""
        return (self.cpu + self.server_cpu) / self.ops * 1e6


Runs = Mapping[Contestant, Sequence[CallResult]]
Results = Mapping[Row, Runs]


def measure(
    rows: Sequence[Row], rounds: int, seconds: float, cores: Cores, progress: Progress
) -> Results:
    """Run every row with every contestant, round by round."""
    results: dict[Row, dict[Contestant, list[CallResult]]] = {
        row: {contestant: [] for contestant in row.contestants} for row in rows
    }
    for turn in range(rounds):
        for number, row in enumerate(rows, 1):
            progress(f"client: round {turn + 1}/{rounds}, row {number}/{len(rows)}")
            for again in range(row.turns):
                first = (turn * row.turns + again) % len(row.contestants)
                for contestant in (*row.contestants[first:], *row.contestants[:first]):
                    results[row][contestant].append(_run(row, contestant, seconds, cores))
    return results


def report(results: Results) -> Section:
    lines = ["CLIENT: against beanstalkd", "", *EXPLANATION.splitlines()]
    verdicts: list[Verdict] = []
    for row, runs in results.items():
        section = _row_report(row, runs)
        lines += section.lines
        verdicts += section.verdicts
    return Section(lines, verdicts)


def _run(row: Row, contestant: Contestant, seconds: float, cores: Cores) -> CallResult:
    server = contender.beanrow() if row.our_server else contender.daemon()
    with contender.running(server, cores.server if row.two_cores else cores.load) as running:
        begin = time.perf_counter() + START_SECONDS if row.processes > 1 else 0.0
        order = Order(
            contestant.client,
            contestant.operation,
            row.body,
            running.port,
            running.pid,
            row.most_ops,
            seconds,
            begin,
        )
        command = python(f"bench.callers.{contestant.program}", *order)
        values = results_of([command] * row.processes, cores.load, seconds + PATIENCE)
    return CallResult(
        ops=sum(int(one["ops"]) for one in values),
        seconds=max(float(one["seconds"]) for one in values),
        cpu=sum(float(one["cpu"]) for one in values),
        server_cpu=statistics.mean(float(one["server_cpu"]) for one in values),  # one server
        faults=sum(int(one["faults"]) for one in values),
    )


def _row_report(row: Row, runs: Runs) -> Section:
    place = "a core each" if row.two_cores else "one core"
    title = f"{row.title}; {place}{'; our server' if row.our_server else ''}"
    own = runs[row.contestants[-1]]
    lines = ["", title, HEADINGS]
    verdicts: list[Verdict] = []
    for contestant in row.contestants:
        line = f"  {contestant.label:28}{_figures(runs[contestant])}"
        if contestant is not row.contestants[-1]:
            by_cpu, by_rate = _by_cpu(own, runs[contestant]), _by_rate(own, runs[contestant])
            line += f"   {by_cpu!s:<24}{by_rate!s:<20}"
            if contestant.goal is not None:
                judged = (by_rate if row.two_cores else by_cpu).middle
                verdict = Verdict(f"{title}: {OURS} / {contestant.label}", judged, contestant.goal)
                verdicts.append(verdict)
                line += verdict.short
        elif row.client_us is not None:
            cost = median(own, lambda run: run.cpu_us)
            verdict = Verdict(f"{title}: client CPU per op", cost, row.client_us, "µs")
            verdicts.append(verdict)
            line += f"   client µs {verdict.short}"
        lines.append(line.rstrip())
    return Section(lines, verdicts)


def _figures(runs: Sequence[CallResult]) -> str:
    rate, client = median(runs, lambda run: run.rate), median(runs, lambda run: run.cpu_us)
    both = median(runs, lambda run: run.both_cpu_us)
    faults = median(runs, lambda run: run.faults / run.ops)
    return f"{rate:>9,.0f}{client:8.2f}{both:8.2f}{faults:8.2f}"


def _by_cpu(own: Sequence[CallResult], other: Sequence[CallResult]) -> Ratio:
    """Their cost over our own: above 1 our own is the lower."""
    return ratio(other, own, lambda run: run.both_cpu_us)


def _by_rate(own: Sequence[CallResult], other: Sequence[CallResult]) -> Ratio:
    return ratio(own, other, lambda run: run.rate)
