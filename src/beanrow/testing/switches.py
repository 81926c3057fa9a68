"""What a test moves: the clock of its server, and what goes wrong there."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from beanrow.protocol.values import Duration, seconds
from beanrow.testing.faults import Armed, FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from beanrow.testing.loop import TestLoop

__all__ = ["Clock", "FaultSwitches", "Switch"]


class Clock:
    """The time by which ttrs, delays and pauses pass. It stands still until it is moved.

    A ``reserve`` that waits ends after its timeout in real seconds too: no client hangs because
    the clock stands.
    """

    def __init__(self, loop: TestLoop) -> None:
        self._loop = loop

    def advance(self, time: Duration) -> None:
        """Let this much time pass at once, in seconds or as a timedelta, rounded up to seconds.

        Whatever becomes due has happened when it returns, each thing in its order, and replies to
        those who wait are on their way. BadValueError for a negative time.
        """
        whole = seconds(time, "time")
        self._loop.call(lambda: self._loop.advance(whole))

    def run(self) -> None:
        """Let time pass by itself from now on, as on the wall; ``advance`` comes on top."""
        self._loop.call(self._loop.virtual.run)

    def hold(self) -> None:
        """Let it stand still again."""
        self._loop.call(self._loop.virtual.hold)

    @property
    def now(self) -> float:
        """Seconds since the server began."""
        return self._loop.call(lambda: self._loop.virtual.seconds)


class Switch:
    """A state that was switched on, until ``off()`` or the end of a ``with`` block."""

    def __init__(self, turn: Callable[[bool], None]) -> None:
        self._turn = turn
        turn(True)

    def off(self) -> None:
        """Switch it off; twice is fine."""
        self._turn(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.off()


class FaultSwitches:
    """What goes wrong on purpose.

    ``cut``, ``drop``, ``hang``, ``delay`` and ``slow`` wait for the next ``times`` commands of
    this name, whoever sends them, or of any name; ``put`` and ``reserve`` are meant in all their
    forms. ``out_of_memory`` and ``drain`` last until they are switched off.
    """

    def __init__(self, loop: TestLoop) -> None:
        self._loop = loop

    def cut(self, command: str | None = None, *, times: int = 1) -> None:
        """Carry it out, say half of its reply, and end the connection."""
        self._arm("cut", command, 0.0, times)

    def drop(self, command: str | None = None, *, times: int = 1) -> None:
        """End the connection instead of carrying it out."""
        self._arm("drop", command, 0.0, times)

    def hang(self, command: str | None = None, *, times: int = 1) -> None:
        """Carry it out and say nothing any more on that connection, which stays open."""
        self._arm("hang", command, 0.0, times)

    def delay(self, seconds: float, command: str | None = None, *, times: int = 1) -> None:
        """Carry it out, and say its reply so many real seconds late."""
        self._arm("delay", command, seconds, times)

    def slow(self, seconds: float, command: str | None = None, *, times: int = 1) -> None:
        """Carry it out, and say its reply in 20 pieces, the last after so many real seconds."""
        self._arm("slow", command, seconds, times)

    def _arm(self, kind: FaultKind, command: str | None, seconds: float, times: int) -> None:
        self._loop.call(lambda: self._loop.faults.arm(kind, command, seconds, times))

    def out_of_memory(self) -> Switch:
        """Answer every put OUT_OF_MEMORY, from now on."""

        def turn(on: bool) -> None:
            self._loop.faults.out_of_memory = on

        return Switch(lambda on: self._loop.call(lambda: turn(on)))

    def drain(self) -> Switch:
        """Answer every put DRAINING, from now on, as the daemon does after SIGUSR1."""

        def turn(on: bool) -> None:
            self._loop.queue.draining = on

        return Switch(lambda on: self._loop.call(lambda: turn(on)))

    def disconnect(self) -> int:
        """End all connections now; their jobs are ready again. Gives how many there were."""
        return self._loop.call(self._loop.disconnect)

    @property
    def waiting(self) -> list[Armed]:
        """The faults that have not struck yet, the oldest first."""
        return self._loop.call(lambda: self._loop.faults.waiting)

    def clear(self) -> None:
        """Take back all faults that have not struck, and what was switched on."""

        def clear() -> None:
            self._loop.faults.clear()
            self._loop.queue.draining = False

        self._loop.call(clear)
