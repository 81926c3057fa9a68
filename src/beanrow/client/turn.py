"""Whose turn it is to speak, where threads share a connection.

Laws:
- First come, first served: whoever gives the turn back gives it to the thread that waits
  longest, so that one that speaks without pause keeps nobody out.
- Taking it where it is free is one step of the interpreter, ``del turn.free[0]``. A signal
  cannot come between, and a turn that was taken is given back.
"""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["Turn"]

_LOOK_AGAIN = 0.1
"""Seconds. Only a thread that was interrupted as it gave the turn back wakes nobody."""


class Turn:
    """The right to speak, which one thread has at a time.

    ``free`` holds one item while nobody has it: a third of what a Lock costs, which would
    be a twentieth of a command's Python. ``waiting`` has a lock for each thread that
    waits, the oldest first.
    """

    __slots__ = ("free", "waiting")

    def __init__(self) -> None:
        self.free: list[None] = [None]
        self.waiting: deque[threading.Lock] = deque()

    def take(self) -> bool:
        """Take the turn if nobody has it."""
        try:
            del self.free[0]
        except IndexError:
            return False
        return True

    def take_within(self, seconds: float) -> bool:
        """Take the turn as soon as it is this thread's; False if that takes longer."""
        given, taken = threading.Lock(), False
        given.acquire()
        self.waiting.append(given)
        try:
            while not (taken := self.take()):
                if given.acquire(timeout=max(0.0, min(seconds, _LOOK_AGAIN))):
                    return True
                seconds -= _LOOK_AGAIN
                if seconds <= 0:
                    self._give_up(given, taken)
                    return False
            self.waiting.remove(given)
        except BaseException:
            self._give_up(given, taken)
            raise
        return True

    def _give_up(self, given: threading.Lock, taken: bool) -> None:
        """Wait no longer, and give the turn back if it was taken, or given just now."""
        try:
            self.waiting.remove(given)
        except ValueError:
            taken = True
        if taken:
            self.give()

    def give(self) -> None:
        """Give the turn back, to whoever waits longest."""
        self.free.append(None)
        if self.waiting:
            self.pass_on()

    def pass_on(self) -> None:
        """Give a turn that is free to whoever waits longest."""
        while self.waiting and self.take():
            try:
                given = self.waiting.popleft()
            except IndexError:  # it has given up
                self.free.append(None)
            else:
                given.release()
                return
