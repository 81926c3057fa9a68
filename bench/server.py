"""The server's part: ours and the real daemon under one load generator.

Laws:
- A fresh server for each run, alone on one core; the generator has the other.
- The two take turns, and which begins changes from round to round, so that a slow minute of the
  machine falls on both. Medians over the rounds.
- CPU per command is the figure to trust; a rate is also the generator's and the scheduler's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import contender, generator
from bench.contender import Contender
from bench.figures import Ratio, median, ratio
from bench.generator import Load, LoadResult
from bench.machine import Cores

POINTS = (
    *(
        Load(workload, connections, depth)
        for workload in ("put", "cycle")
        for connections in (1, 50, 1000)
        for depth in (1, 16, 128)
    ),
    Load("cycle", 50, 16, 4096),
    Load("mixed", 50, 1),
    Load("mixed", 50, 16),
    Load("put-random", 50, 16),
)
QUICK_POINTS = (
    Load("put", 50, 1),
    Load("put", 50, 16),
    Load("cycle", 50, 1),
    Load("cycle", 50, 16),
    Load("cycle", 1000, 1),
)
IDLE, GENERATOR_FULL = 0.9, 0.97
GOAL_WORKLOADS = ("put", "cycle")
"""What the expected ratios speak of; the others are here to show where it is harder."""

EXPLANATION = """\
One load generator in C, one thread, on a core of its own; the server alone on the other. conns =
connections; depth = commands in flight on each, the next sent as a reply arrives. One op = one
command answered. put: puts only. put-random: puts with priorities by chance. cycle: put, reserve,
delete. mixed: put, reserve, touch, release, reserve, delete. Every reply is checked.
µs/op = CPU of the server per command (user and system, all threads), the figure to trust.
p99 = of the time from send to reply, in ms: in a closed loop it follows from the rate.
by CPU, by rate: above 1.00 beanrow is the better; in brackets the lowest and highest round.
* the server used under 90 % of its core: the rate tells of the round trip, not of the server.
+ the generator used over 97 % of its core: the server could do more."""

Results = Mapping[Load, tuple[Sequence[LoadResult], Sequence[LoadResult]]]
Progress = Callable[[str], None]


def measure(
    pair: tuple[Contender, Contender],
    points: Sequence[Load],
    rounds: int,
    seconds: float,
    cores: Cores,
    progress: Progress,
) -> Results:
    """Run every point on both servers, round by round; results in the order of the pair."""
    program = generator.build()
    results: dict[Load, tuple[list[LoadResult], list[LoadResult]]] = {
        point: ([], []) for point in points
    }
    for turn in range(rounds):
        for number, point in enumerate(points, 1):
            progress(f"server: round {turn + 1}/{rounds}, point {number}/{len(points)}")
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                run = _run(program, pair[side], point, seconds, cores)
                results[point][side].append(run)
    return results


def report(pair: tuple[Contender, Contender], results: Results) -> list[str]:
    theirs, ours = (one.name for one in pair)
    lines = [
        f"SERVER: {ours} against {theirs}",
        "",
        *EXPLANATION.splitlines(),
        "",
        f"{'':28}{theirs:>26}{ours:>28}   {ours} / {theirs}",
        f"{'workload':11}{'conns':>5}{'depth':>6}{'body':>6}"
        + f"{'ops/s':>11}  {'µs/op':>6}{'p99 ms':>9}" * 2
        + f"   {'by CPU':<19}by rate",
    ]
    lines += [_line(point, *runs) for point, runs in results.items()]
    return lines + _goals(results)


def _run(program: Path, server: Contender, point: Load, seconds: float, cores: Cores) -> LoadResult:
    with contender.running(server, cores.server) as running:
        return generator.drive(program, point, running, cores.load, seconds)


def _line(point: Load, theirs: Sequence[LoadResult], ours: Sequence[LoadResult]) -> str:
    name = f"{point.workload:11}{point.connections:>5}{point.depth:>6}{point.body:>6}"
    by_rate = ratio(ours, theirs, lambda run: run.rate)
    return f"{name}{_side(theirs)}{_side(ours)}   {_by_cpu(theirs, ours)!s:<19}{by_rate}"


def _side(runs: Sequence[LoadResult]) -> str:
    rate, cpu = median(runs, lambda run: run.rate), median(runs, lambda run: run.cpu_us)
    p99 = median(runs, lambda run: run.p99_us) / 1000
    mark = " "
    if median(runs, lambda run: run.generator_busy) > GENERATOR_FULL:
        mark = "+"
    elif median(runs, lambda run: run.server_busy) < IDLE:
        mark = "*"
    return f"{rate:>11,.0f}{mark} {cpu:6.2f}{p99:9.2f}"


def _by_cpu(theirs: Sequence[LoadResult], ours: Sequence[LoadResult]) -> Ratio:
    """Their cost over ours: above 1 we need less."""
    return ratio(theirs, ours, lambda run: run.cpu_us)


def _goals(results: Results) -> list[str]:
    lines = [""]
    for depth, goal in ((1, 0.9), (16, 3.0)):
        ratios = {
            point: _by_cpu(*runs).middle
            for point, runs in results.items()
            if point.depth == depth and point.workload in GOAL_WORKLOADS
        }
        if ratios:
            worst = min(ratios, key=lambda point: ratios[point])
            lines.append(
                f"{depth:>3} in flight, put and cycle: lowest by CPU {ratios[worst]:.2f}"
                f" ({worst.workload}, {worst.connections} connections, {worst.body} B);"
                f" expected at least {goal}"
            )
    return lines
