"""How fast a long work goes: no more than so many jobs a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from beanrow.cli.options import checked
from beanrow.errors import BadValueError

__all__ = ["RATE", "Pace"]

_AT_ONCE = 100


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise BadValueError(f"{text} jobs a second is no rate")
    return rate


RATE = click.option("--rate", type=checked("number", _rate), help="At most so many jobs a second.")


class Pace:
    """Tells how many jobs may go at once, and waits until they may."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._next = clock()
        self.at_once: int = _AT_ONCE if rate is None else max(1, min(_AT_ONCE, int(rate / 10)))
        """Jobs in one write: a tenth of a second's, so that the rate is even."""

    def wait(self) -> None:
        """Wait until the next jobs may go."""
        if (left := self._next - self._clock()) > 0:
            self._sleep(left)

    def went(self, jobs: int) -> None:
        """Take note of jobs that went."""
        if self._rate is not None:
            self._next = max(self._next, self._clock() - 1) + jobs / self._rate
