"""What can go wrong on purpose: faults that wait for a command, and states that last.

Law: a fault strikes the next command that it is for, on whichever connection, and as often as it
was asked to.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from beanrow.errors import BadValueError
from beanrow.protocol import requests

__all__ = ["COMMANDS", "KINDS", "LATE", "Armed", "FaultKind", "Faults"]

MOST_SECONDS = 3600
MOST_TIMES = 1000

FaultKind = Literal["cut", "drop", "hang", "delay", "slow"]
"""``cut``: it is carried out, half of the reply comes, and then the end of the connection.
``drop``: the connection ends, and it is not carried out. ``hang``: it is carried out, and nothing
is said on that connection any more. ``delay``: its reply comes late. ``slow``: its reply comes
piece by piece."""
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
LATE: tuple[FaultKind, ...] = ("delay", "slow")
"""Those that take time."""

_PUTS = (requests.Put, requests.PutInTube, requests.PutUnique)
COMMANDS: dict[str, tuple[type, ...]] = {
    "put": (*_PUTS, requests.PutTooBig, requests.PutUnterminated),
    "use": (requests.Use,),
    "reserve": (requests.Reserve, requests.ReserveWithTimeout),
    "reserve-job": (requests.ReserveJob,),
    "delete": (requests.Delete,),
    "release": (requests.Release,),
    "bury": (requests.Bury,),
    "touch": (requests.Touch,),
    "watch": (requests.Watch,),
    "ignore": (requests.Ignore,),
    "peek": (requests.Peek,),
    "peek-ready": (requests.PeekReady,),
    "peek-delayed": (requests.PeekDelayed,),
    "peek-buried": (requests.PeekBuried,),
    "kick": (requests.Kick,),
    "kick-job": (requests.KickJob,),
    "stats": (requests.Stats,),
    "stats-job": (requests.StatsJob,),
    "stats-tube": (requests.StatsTube,),
    "list-tubes": (requests.ListTubes,),
    "list-tube-used": (requests.ListTubeUsed,),
    "list-tubes-watched": (requests.ListTubesWatched,),
    "pause-tube": (requests.PauseTube,),
}
"""What a fault may wait for. ``put`` is also a put of our extensions, ``reserve`` also
``reserve-with-timeout``: which of them is said is the client's affair."""


class Armed(NamedTuple):
    """A fault that waits for a command, or for any if that is None.

    ``seconds`` are real ones: how late the reply is, or how long it takes to come.
    """

    kind: FaultKind
    command: str | None
    seconds: float


class Faults:
    """The faults that wait, the oldest first, and whether puts are refused for want of memory."""

    __slots__ = ("_armed", "out_of_memory")

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self.out_of_memory: bool = False

    def arm(self, kind: FaultKind, command: str | None, seconds: float, times: int) -> None:
        """Have a fault wait for the next ``times`` of these commands; BadValueError if none is."""
        if kind not in KINDS:
            raise BadValueError(f"fault {kind!r} is none of {', '.join(KINDS)}")
        if command is not None and command not in COMMANDS:
            raise BadValueError(f"command {command!r} is none of {', '.join(COMMANDS)}")
        if not 0 <= seconds <= MOST_SECONDS:
            raise BadValueError(f"fault: {seconds} is not in 0..{MOST_SECONDS} seconds")
        if not 1 <= times <= MOST_TIMES:
            raise BadValueError(f"times {times} is not in 1..{MOST_TIMES}")
        self._armed += [Armed(kind, command, seconds)] * times

    def take(self, request: requests.Request) -> Armed | None:
        """Give the fault that strikes this request, which then waits no more."""
        for place, fault in enumerate(self._armed):
            if fault.command is None or isinstance(request, COMMANDS[fault.command]):
                return self._armed.pop(place)
        return None

    def refuses(self, request: requests.Request) -> bool:
        """Tell whether it is a put for which there is no memory."""
        return self.out_of_memory and isinstance(request, _PUTS)

    @property
    def waiting(self) -> list[Armed]:
        """Those that have not struck."""
        return list(self._armed)

    def clear(self) -> None:
        """Take back all that has not struck."""
        self._armed.clear()
        self.out_of_memory = False
