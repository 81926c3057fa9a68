"""How long a lost connection is tried again within one call, and with which pauses.

Law: no clock and no socket; the pauses have jitter, so that a thousand clients of a server
that comes back do not come at the same moment.
"""

from __future__ import annotations

from beanrow.errors import ConnectFailedError, ConnectionLostError

__all__ = ["Patience"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Patience:
    """Decides after each failed try of one call, which has until ``end``."""

    __slots__ = ("_end", "_tries")

    def __init__(self, end: float) -> None:
        self._end = end
        self._tries = 0

    def pause(self, error: ConnectionLostError, now: float, *, outage: bool) -> float:
        """Tell how many seconds to wait before the next try; raise the error if it is too late.

        A server that went away (``outage``) is waited for. One that was never there is
        not: the address may be wrong.
        """
        if isinstance(error, ConnectFailedError) and not (self._tries or outage):
            raise error
        import random  # which costs a program that loses no connection 3 ms of its start

        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._tries) * random.uniform(0.5, 1)
        if now + pause >= self._end:
            raise error
        self._tries += 1
        return pause
