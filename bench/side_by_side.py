"""Two servers, the daemon and ours, measured in turns.

Law: the two take turns, and which begins changes from round to round, so that a slow minute of the
machine falls on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench import contender, generator
from bench.contender import Contender
from bench.figures import Ratio, ratio
from bench.generator import Load, LoadResult
from bench.machine import Cores

Point = TypeVar("Point")
Run = TypeVar("Run")

Pair = tuple[Contender, Contender]
"""The daemon, and ours."""
Runs = tuple[Sequence[Run], Sequence[Run]]
"""Those of the daemon, and those of ours, round by round."""

IN_MEMORY: Pair = (contender.daemon(), contender.beanrow())


class Terms(NamedTuple):
    """How it is measured: ``program`` is the load generator, ``seconds`` are of a timed part.

    ``long_rounds`` are the rounds of what takes a minute each.
    """

    program: Path
    rounds: int
    long_rounds: int
    seconds: float
    cores: Cores
    progress: Callable[[str], None]

    def run(self, server: Contender, load: Load) -> LoadResult:
        """Put one load on a fresh server."""
        with contender.running(server, self.cores.server) as running:
            return generator.drive(self.program, load, running, self.cores.load, self.seconds)


def in_turns(
    terms: Terms,
    title: str,
    rounds: int,
    points: Sequence[tuple[Point, Pair]],
    run: Callable[[Contender, Point], Run],
) -> Mapping[Point, Runs[Run]]:
    """Run every point on both of its servers, round by round."""
    results: dict[Point, tuple[list[Run], list[Run]]] = {point: ([], []) for point, _ in points}
    for turn in range(rounds):
        for number, (point, pair) in enumerate(points, 1):
            terms.progress(f"{title}: round {turn + 1}/{rounds}, point {number}/{len(points)}")
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                results[point][side].append(run(pair[side], point))
    return results


def cheaper(runs: Runs[Run], cost: Callable[[Run], float]) -> Ratio:
    """Their cost over ours: above 1 we need less."""
    theirs, ours = runs
    return ratio(theirs, ours, cost)


def faster(runs: Runs[Run], rate: Callable[[Run], float]) -> Ratio:
    """Our rate over theirs: above 1 we do more."""
    theirs, ours = runs
    return ratio(ours, theirs, rate)
