"""Graphs as inline SVG: where the lines go. The page around them has the words.

Law: a graph is figures only; no name and no text of a queue gets into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from beanrow.dashboard.history import SPANS, Point, rates
from beanrow.dashboard.words import number, rate, seconds
from beanrow.protocol.times import Histogram, bucket_end

__all__ = ["HEIGHT", "WIDTH", "Bar", "Graph", "bars_of", "graphs_of"]

WIDTH, HEIGHT = 600, 120
_SHORTEST = 60
"""Seconds: a history that has just begun is not a dot at the edge."""
_MOST_POINTS = 300
"""More would fall on the same pixel."""


class Line(NamedTuple):
    """One line: the word for it, also its class, the ``points`` of a polyline, and where it ends."""

    word: str
    points: str
    last: str


class Graph(NamedTuple):
    """Lines over the same time, and the words at their axes."""

    title: str
    lines: list[Line]
    top: str
    span: str


class Bar(NamedTuple):
    """A bucket of a histogram: its upper end, how many, and the share of the longest bar."""

    below: float
    number: int
    width: float


def bars_of(times: Histogram) -> list[Bar]:
    """Draw a histogram, from the first bucket that is not empty."""
    top = max(times.counts, default=0)
    first = next((place for place, one in enumerate(times.counts) if one), 0)
    return [
        Bar(bucket_end(place), times.counts[place], times.counts[place] / top * 100)
        for place in range(first, len(times.counts))
    ]


def graphs_of(points: list[Point], span: int, now: float) -> list[Graph]:
    """Draw jobs by state, and rates."""
    known = now - points[0].at if points else 0
    length = min(SPANS[span].length, max(_SHORTEST, known))
    states = [(one.at, *map(float, one.figures[:4])) for one in points]
    moves: list[tuple[float, ...]] = [*rates(points)]
    return [
        _graph("Jobs", ("ready", "reserved", "delayed", "buried"), states, now - length, length),
        _graph("Jobs a second", ("put", "deleted"), moves, now - length, length),
    ]


def _graph(
    title: str,
    words: tuple[str, ...],
    rows: Sequence[tuple[float, ...]],
    begin: float,
    length: float,
) -> Graph:
    told = number if title == "Jobs" else rate
    rows = _thinned([one for one in rows if one[0] >= begin] or rows[-1:])
    if rows:
        rows = [*rows, (begin + length, *rows[-1][1:])]  # what was last seen holds until now
    top = max((value for row in rows for value in row[1:]), default=0) or 1
    lines = []
    for place, word in enumerate(words, 1):
        points = " ".join(
            f"{max(0, (row[0] - begin) / length * WIDTH):.1f},"
            f"{HEIGHT - 1 - row[place] / top * (HEIGHT - 2):.1f}"
            for row in rows
        )
        lines.append(Line(word, points, told(rows[-1][place]) if rows else "-"))
    return Graph(title, lines, told(top), seconds(length))


def _thinned(rows: Sequence[tuple[float, ...]]) -> Sequence[tuple[float, ...]]:
    """Keep the highest of neighbours, so that a peak stays one."""
    if len(rows) <= _MOST_POINTS:
        return rows
    width = -(-len(rows) // _MOST_POINTS)
    return [
        max(rows[first : first + width], key=lambda row: row[1:])
        for first in range(0, len(rows), width)
    ]
