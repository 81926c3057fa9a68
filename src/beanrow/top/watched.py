"""What is known of a server that is looked at again and again: rates, trends, recent waits.

Law: what has vanished is forgotten, so memory is that of the tubes there are.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from beanrow.observe.snapshot import Rates, Snapshot, TubeRates
from beanrow.protocol.stats import TubeStats
from beanrow.protocol.times import TubeTimes

__all__ = ["TREND", "TubeRow", "Watched"]

TREND = 32
"""Looks that a trend has."""
_RECENT = 10
"""Looks over which waits are told: fewer jobs would make a jumpy figure."""
_QUIET = TubeRates(0.0, 0.0)


class TubeRow(NamedTuple):
    """A tube now. ``rates`` a second, ``trend`` the jobs deleted a second in the last looks.

    ``wait`` and ``run`` are seconds that 95 of 100 of the last jobs stayed below, None if unknown.
    """

    name: str
    stats: TubeStats
    rates: TubeRates
    trend: tuple[float, ...]
    wait: float | None
    run: float | None

    @property
    def is_paused(self) -> bool:
        """Tell whether it hands out nothing."""
        return self.stats.pause_time_left > 0 or self.stats.pause > 0


class Watched:
    """The looks at one server, of which the last few count."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.rates: Rates | None = None
        self._trends: dict[str, deque[float]] = {}
        self._times: deque[dict[str, TubeTimes]] = deque(maxlen=_RECENT)

    def add(self, snapshot: Snapshot) -> None:
        """Take another look."""
        before, self.snapshot = self.snapshot, snapshot
        self.rates = None if before is None else snapshot.since(before)
        if before is not None and self.rates is None:
            self._times.clear()  # another life: its counts begin anew
        self._times.append(snapshot.times)
        known = self._trends
        self._trends = {name: known.get(name, deque(maxlen=TREND)) for name in snapshot.tubes}
        if self.rates is not None:
            for name, rates in self.rates.tubes.items():
                self._trends[name].append(rates.deletes)

    def rows(self) -> list[TubeRow]:
        """Give all tubes, by name."""
        if self.snapshot is None:
            return []
        rates = {} if self.rates is None else self.rates.tubes
        return [
            TubeRow(
                name,
                stats,
                rates.get(name, _QUIET),
                tuple(self._trends[name]),
                *self._recent(name),
            )
            for name, stats in self.snapshot.tubes.items()
        ]

    def _recent(self, name: str) -> tuple[float | None, float | None]:
        """Tell what 95 of 100 of the last jobs waited and ran; of all there were, at first."""
        assert self.snapshot is not None
        now = self.snapshot.times.get(name)
        if now is None:
            return None, None
        then = self._times[0].get(name) if len(self._times) > 1 else None
        if then is None:
            return now.waits.quantile(0.95), now.runs.quantile(0.95)
        return (
            now.waits.since(then.waits).quantile(0.95),
            now.runs.since(then.runs).quantile(0.95),
        )
