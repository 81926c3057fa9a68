"""How often a task may start: a token bucket, in the worker's own time.

What it promises: one worker process starts no more than that. Several workers have a bucket
each, since the protocol has no place for a shared one.
"""

from __future__ import annotations

from beanrow.errors import BadValueError
from beanrow.protocol.values import Duration, seconds, whole_number

__all__ = ["Rate"]


class Rate:
    """At most ``count`` starts in any ``per`` seconds, evenly spaced after a burst of one.

    A job over the rate is held by its slot until its turn comes, its lease kept alive;
    so a task with a rate runs in one slot unless ``at_once`` says otherwise.
    """

    __slots__ = ("_next", "gap")

    def __init__(self, count: int, per: Duration = 1) -> None:
        if not whole_number(count, "count") or not seconds(per, "per"):
            raise BadValueError(f"rate {count} per {per} s would start nothing")
        span = per if isinstance(per, int | float) else per.total_seconds()
        self.gap: float = span / count
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Take the next turn; gives how many seconds it is away."""
        turn = max(self._next, now)
        self._next = turn + self.gap
        return turn - now
