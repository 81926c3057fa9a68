"""The time of a test server: it stands still until somebody moves it.

Law: it only moves forward.
"""

from __future__ import annotations

import time

from beanrow.engine.timers import SECOND

__all__ = ["VirtualTime"]


class VirtualTime:
    """Nanoseconds that begin at those of the wall clock; they pass by ``advance`` alone.

    Between ``run`` and ``hold`` they pass by themselves too, as fast as those on the wall.
    """

    __slots__ = ("_at", "_since", "started")

    def __init__(self) -> None:
        self._at = time.time_ns()
        self.started: int = self._at
        self._since: int | None = None  # the monotonic time at which it was _at, while it runs

    def now(self) -> int:
        """Tell what time it is."""
        return self._at if self._since is None else self._at + time.monotonic_ns() - self._since

    @property
    def runs(self) -> bool:
        """Whether time passes by itself."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return (self.now() - self.started) / SECOND

    def move_to(self, when: int) -> None:
        """Have it be ``when`` at least."""
        ahead = when - self.now()
        if ahead > 0:
            self._at += ahead

    def run(self) -> None:
        """Let time pass by itself."""
        if self._since is None:
            self._since = time.monotonic_ns()

    def begin_anew(self) -> None:
        """Stand still, and count the seconds from here."""
        self.hold()
        self.started = self._at

    def hold(self) -> None:
        """Let it stand still."""
        self._at, self._since = self.now(), None
