"""From runs to figures: medians, ratios, and lines of a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from bench.goals import Verdict

Run = TypeVar("Run")

HEAD = f"{'':26}{'beanstalkd':>20}{'beanrow':>20}   {'ratio':<20}goal"


class Ratio(NamedTuple):
    """The median of the ratios of neighbouring runs, and the lowest and highest of them.

    Runs that stood side by side saw the same machine; a ratio of medians would compare a quiet
    minute of the one with a busy minute of the other.
    """

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:5.2f} ({self.low:.2f}-{self.high:.2f})"


def median(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    return statistics.median(figure(run) for run in runs)


def ratio(ours: Sequence[Run], theirs: Sequence[Run], figure: Callable[[Run], float]) -> Ratio:
    """Ours over theirs, run by run in the order of the rounds."""
    ratios = [figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def row(what: str, figures: Iterable[str], ratio: str, verdict: Verdict | None = None) -> str:
    """A line under HEAD: a figure of each, how they compare, and what was expected."""
    theirs, ours = figures
    goal = "" if verdict is None else verdict.short
    return f"{what:26}{theirs:>20}{ours:>20}   {ratio:<20}{goal}".rstrip()
