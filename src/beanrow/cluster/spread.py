"""Tubes that are spread over several partitions: where a put goes, and where a reserve asks first.

Laws:
- What is remembered of the first jobs of a tube's partitions only says where to ask first. Nobody is
  told that there is no job before every partition has said so, or has noted this gateway as waiting.
- Order is kept within a partition alone; over all it is as good as what is remembered.
"""

from __future__ import annotations

import itertools

from beanrow.cluster.layout import Layout

__all__ = ["Spread"]

_UNKNOWN = -1
"""Before every priority: who knows nothing of a partition asks there first."""


class Spread:
    """Where tubes are. ``words`` counts what has been heard of ready jobs."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._over: dict[str, list[int]] = {}
        self._first: dict[tuple[str, int], int | None] = {}
        self._turn = itertools.count()
        self.words: int = 0

    def set(self, counts: dict[str, int]) -> None:
        """Hear over how many partitions which tubes are spread."""
        self._over = {tube: self._layout.spread(tube, count) for tube, count in counts.items()}
        self._first.clear()

    def __contains__(self, tube: str) -> bool:
        return tube in self._over

    def places(self, tube: str) -> list[int]:
        """Give the partitions that a tube may have jobs in, its own first."""
        return self._over.get(tube) or [self._layout.of_tube(tube)]

    def for_put(self, tube: str) -> int:
        """Give the partition that the next job of a tube goes into."""
        places = self._over.get(tube)
        if places is None:
            return self._layout.of_tube(tube)
        return places[next(self._turn) % len(places)]

    def best(self, tube: str) -> int | None:
        """Give the partition to ask for a job; None if all are known to have none."""
        best, least = None, None
        for partition in self._over[tube]:
            first = self._first.get((tube, partition), _UNKNOWN)
            if first is not None and (least is None or first < least):
                best, least = partition, first
        return best

    def learn(self, tube: str, partition: int, priority: int) -> None:
        """Note the first job of a partition."""
        self._first[tube, partition] = priority

    def learn_nothing(self, tube: str, partition: int, words: int) -> None:
        """Note that a partition has no job and this gateway waits there; not if word came since."""
        if words == self.words:
            self._first[tube, partition] = None

    def hear(self, tube: str, partition: int) -> None:
        """Hear that a job is ready."""
        self.words += 1
        self._first.pop((tube, partition), None)

    def doubt(self) -> None:
        """Forget what is remembered: word may have been lost."""
        self._first.clear()
