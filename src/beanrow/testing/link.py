"""A connection of a test server: it fails the way networks and servers do when it is told to.

Laws:
- Each request has one reply, in order: a fault counts replies to find the one that it strikes.
- What stands behind a late reply waits with it.
- A reserve with a timeout ends after so many real seconds too: while the clock stands still
  nothing else would end it, and its client would take the server for dead.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from beanrow.engine.session import Session
from beanrow.protocol import replies, requests
from beanrow.server.connection import Execute
from beanrow.server.link import Link, Socket
from beanrow.testing.faults import Armed

if TYPE_CHECKING:
    from beanrow.server.loop import Loop
    from beanrow.testing.loop import TestLoop

__all__ = ["FaultyLink"]

_PIECES = 20
"""Into which a slow reply is cut."""


class FaultyLink(Link):
    """A connection and its socket, with the faults of its loop."""

    __slots__ = ("_behind", "_fault", "_late", "_mute", "_place", "_test_loop", "_waits")

    def __init__(self, loop: Loop, sock: Socket, peer: str, _execute: Execute | None) -> None:
        self._test_loop = cast("TestLoop", loop)  # which makes these and no others
        self._fault: Armed | None = None  # struck, and its reply is still to come
        self._place = 0  # of that reply, counted from the next one that is said
        self._late: deque[bytes] = deque()  # pieces of one reply that comes late
        self._behind: list[bytes] = []  # what is to be said after it
        self._mute = False
        self._waits = 0  # so many so far: the end of one must not end a later one
        super().__init__(loop, sock, peer, self._carry_out)

    def _carry_out(self, session: Session, request: requests.Request, now: int) -> bytes | None:
        """Carry out one request, as ``Engine.execute``, or have a fault strike it."""
        loop = self._test_loop
        if self._fault is None:
            fault = loop.faults.take(request)
            if fault is not None and fault.kind == "drop":
                session.closing = True
                return None
            self._fault, self._place = fault, len(session.replies)
        if loop.faults.refuses(request):
            return loop.queue.answer(session, replies.OUT_OF_MEMORY)
        reply = loop.queue.execute(session, request, now)
        if reply is None and session.waiting:
            self._waits += 1
            if isinstance(request, requests.ReserveWithTimeout):
                self._end_in_real_time(request.timeout)
        return reply

    def _end_in_real_time(self, seconds: int) -> None:
        this, queue = self._waits, self._test_loop.queue

        def end() -> None:
            if self.fd >= 0 and self.session.waiting and self._waits == this:
                queue.end_wait(self.session)

        self._test_loop.call_after(seconds, end)

    def say(self) -> None:
        """Send the session's replies, as far as no fault is in the way."""
        said = self.session.replies
        if not said:  # it is dismissed
            super().say()
        elif self._mute:
            said.clear()
        elif self._late:
            self._behind += said
            said.clear()
        elif self._fault is None or len(said) <= self._place:
            self._place -= len(said)
            super().say()
        else:
            fault, self._fault = self._fault, None
            place, self._place = self._place, 0
            struck, self._behind = said[place], said[place + 1 :]
            del said[place:]
            self._strike(fault, struck)

    def _go_on(self, more: bool, ended: bool = False) -> None:
        """Go on as any link, but end only when what is late has been said."""
        if self.session.closing and self._late:
            self._listen_for(0)
        else:
            super()._go_on(more, ended)

    def _strike(self, fault: Armed, struck: bytes) -> None:
        """Do what a fault does to a reply; those before it are in the session's replies."""
        if fault.kind == "cut":
            self.session.replies.append(struck[: len(struck) // 2])
            self.session.closing = True
            super().say()
            return
        self._say_and_stay()
        if fault.kind == "hang":
            self._mute = True
        else:
            self._late += _cut(struck) if fault.kind == "slow" else [struck]
            self._say_late(fault.seconds / len(self._late))

    def _say_and_stay(self) -> None:
        """Say the replies and keep the connection, though its peer has taken leave."""
        session = self.session
        if session.replies:
            closing, session.closing = session.closing, False
            super().say()
            session.closing = closing

    def _say_late(self, pause: float) -> None:
        """Say the pieces of what is late, a pause before each, and then what is behind it."""

        def say() -> None:
            if self.fd < 0:
                return
            said = self.session.replies
            said.append(self._late.popleft())
            if self._late:
                self._say_and_stay()
                self._say_late(pause)
            else:
                said += self._behind
                self._behind.clear()
                Link.say(self)

        self._test_loop.call_after(pause, say)


def _cut(reply: bytes) -> list[bytes]:
    size = max(1, len(reply) // _PIECES)
    return [reply[start : start + size] for start in range(0, len(reply), size)]
