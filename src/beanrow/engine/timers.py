"""When to look at which session or tube again.

A session has one alarm for all of its held jobs and its wait, a tube one for all of
its delayed jobs and its pause, a key one once its job is gone. An alarm may go off too early, never too late: whoever
is woken looks for itself and sets the next one. So the steady life of a job, reserved
and deleted well before its ttr ends, sets none (a heap entry a job would stay until
its ttr and cost 0.3 µs).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from sys import maxsize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beanrow.engine.keys import Key
    from beanrow.engine.session import Session
    from beanrow.engine.tube import Tube

__all__ = ["NEVER", "SECOND", "Timers"]

NEVER = maxsize
"""Later than any time."""
SECOND = 1_000_000_000
"""A second in the engine's time."""
_STALE_ALLOWED = 64


class Timers:
    """Alarms by time. Those that go off at the same time go off in the order of their setting.

    An alarm that was brought forward or cancelled stays as a stale entry until its time,
    or until the stale entries outnumber the live ones.
    """

    __slots__ = ("_heap", "_serial", "_stale")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Session | Tube | Key]] = []
        self._serial = 0
        self._stale = 0

    def set(self, subject: Session | Tube | Key, when: int) -> None:
        """See that ``subject`` is looked at by ``when``."""
        if when < subject.alarm:
            self.cancel(subject)
            subject.alarm = when
            self._serial += 1
            heappush(self._heap, (when, self._serial, subject))

    def cancel(self, subject: Session | Tube | Key) -> None:
        """Take back the alarm of ``subject``, if it has one."""
        if subject.alarm == NEVER:
            return
        subject.alarm = NEVER
        self._stale += 1
        if self._stale == len(self._heap):  # each would keep a session that is gone
            self._heap.clear()
            self._stale = 0
        elif self._stale > _STALE_ALLOWED and 2 * self._stale > len(self._heap):
            live = {entry[2]: entry for entry in self._heap if entry[2].alarm == entry[0]}
            self._heap[:] = live.values()
            heapify(self._heap)
            self._stale = 0

    def next(self) -> int:
        """Tell when the first alarm goes off; NEVER if none is set. It may be a stale one."""
        return self._heap[0][0] if self._heap else NEVER

    def due(self, now: int) -> Iterator[Session | Tube | Key]:
        """Give each subject whose alarm has gone off; it has none then."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, subject = heappop(heap)
            if subject.alarm == when:
                subject.alarm = NEVER
                yield subject
            else:
                self._stale -= 1
