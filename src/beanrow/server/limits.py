"""How much a server takes: each limit is off unless it was asked for, and off it costs nothing.

What the protocol itself bounds needs no flag: a line has 224 bytes, a body ``-z``, what is read
ahead of a waiting reserve 64 KiB, and a peer that does not read is not read from.
"""

from __future__ import annotations

from typing import NamedTuple

from beanrow.engine.limited import UNBOUNDED, Room

__all__ = ["NO_LIMITS", "Limits"]

_SWEEPS_A_LIMIT = 4
_LONGEST_SWEEP = 15_000_000_000


class Limits(NamedTuple):
    """Most ``connections``, ``room`` for jobs; nanoseconds ``slow`` and ``idle``; 0 is no limit.

    ``slow`` is what a peer has for the rest of a request it has begun and for taking its
    replies, ``idle`` what it may be silent without waiting for a job or holding one.
    """

    connections: int = 0
    slow: int = 0
    idle: int = 0
    room: Room = UNBOUNDED

    @property
    def watches_time(self) -> bool:
        """Whether connections are closed for the time they take."""
        return bool(self.slow or self.idle)

    @property
    def sweep(self) -> int:
        """Nanoseconds between two looks at all connections: a limit is kept to a quarter."""
        shortest = min(limit for limit in (self.slow, self.idle) if limit)
        return min(shortest // _SWEEPS_A_LIMIT, _LONGEST_SWEEP)


NO_LIMITS = Limits()
