"""What was, for the graphs: figures over the last ten minutes, and over the last day.

Laws:
- Memory is bounded by the points, however many tubes there are: with more of them a point stands
  for more time.
- What does not change costs nothing: a stretch of equal figures is its two ends.
- A tube that vanishes is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from beanrow.observe.snapshot import Snapshot
from beanrow.protocol.stats import ServerStats, TubeStats

__all__ = ["SPANS", "Figures", "History", "Point", "Span", "rates"]


class Figures(NamedTuple):
    """Of a tube or a server: jobs by state, and what was ever put and deleted."""

    ready: int
    reserved: int
    delayed: int
    buried: int
    puts: int
    deletes: int


class Point(NamedTuple):
    """Figures at a time, in monotonic seconds."""

    at: float
    figures: Figures


class Span(NamedTuple):
    """How long is remembered, and in which steps; both in seconds."""

    name: str
    length: int
    step: int


SPANS = (Span("10 minutes", 600, 2), Span("24 hours", 86_400, 240))
_MOST_POINTS = 150_000
"""Of all tubes in one span: about 40 MB when all of them change all the time."""
_FEWEST = 30


class _Series:
    """The points of one thing in one span."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[Point] = deque()

    def add(self, point: Point, step: float, length: float) -> None:
        points = self._points
        if points:
            last = points[-1]
            if point.at - last.at < step:
                return
            if len(points) > 1 and last.figures == point.figures == points[-2].figures:
                points[-1] = point
                return
        points.append(point)
        while len(points) > 2 and points[1].at < point.at - length:
            points.popleft()

    def points(self) -> list[Point]:
        return list(self._points)


class History:
    """The figures of a server and of its tubes."""

    def __init__(self) -> None:
        self._server = [_Series() for _ in SPANS]
        self._tubes: dict[str, list[_Series]] = {}

    def add(self, seen: Snapshot) -> None:
        """Take what was seen."""
        whole = Point(seen.at, _figures(seen.stats))
        for series, span in zip(self._server, SPANS, strict=True):
            series.add(whole, span.step, span.length)
        steps = [_step(span, len(seen.tubes)) for span in SPANS]
        for name, tube in seen.tubes.items():
            known = self._tubes.get(name)
            if known is None:
                known = self._tubes[name] = [_Series() for _ in SPANS]
            point = Point(seen.at, _figures(tube))
            for series, span, step in zip(known, SPANS, steps, strict=True):
                series.add(point, step, span.length)
        for name in self._tubes.keys() - seen.tubes.keys():
            del self._tubes[name]

    def of_server(self, span: int) -> list[Point]:
        """Give the points of the server, of a span by its place in ``SPANS``."""
        return self._server[span].points()

    def of_tube(self, tube: str, span: int) -> list[Point]:
        """Give the points of a tube; none if it is not known."""
        known = self._tubes.get(tube)
        return [] if known is None else known[span].points()


def _figures(stats: ServerStats | TubeStats) -> Figures:
    return Figures(
        stats.current_jobs_ready,
        stats.current_jobs_reserved,
        stats.current_jobs_delayed,
        stats.current_jobs_buried,
        stats.total_jobs,
        stats.cmd_delete,
    )


def _step(span: Span, tubes: int) -> float:
    """Tell the seconds between two points of a tube."""
    points = min(span.length / span.step, max(_FEWEST, _MOST_POINTS / max(1, tubes)))
    return span.length / points


def rates(points: Iterable[Point]) -> list[tuple[float, float, float]]:
    """Tell puts and deletes a second, at the end of each stretch."""
    told = []
    before: Point | None = None
    for point in points:
        if before is not None:
            seconds = point.at - before.at
            new, old = point.figures, before.figures
            # A counter that went back is one of another life.
            puts = max(0, new.puts - old.puts) / seconds
            deletes = max(0, new.deletes - old.deletes) / seconds
            told.append((point.at, puts, deletes))
        before = point
    return told
