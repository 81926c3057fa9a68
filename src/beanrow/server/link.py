"""A connection and its socket: what the loop calls when the socket is ready.

Laws:
- A peer that does not read its replies is not read from: what is unsent is bounded.
- Whoever is closed for being slow or idle is told to the log, with why.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

from beanrow.server.connection import Connection, Execute

if TYPE_CHECKING:
    from beanrow.engine.session import Session
    from beanrow.server.loop import Loop

__all__ = ["IN", "OUT", "Link", "Socket", "TimedLink"]

IN = select.POLLIN
OUT = select.POLLOUT
_HANGUP: int = getattr(select, "POLLRDHUP", 0)  # Linux tells of it without a read
_READ_SIZE = 64 * 1024
_NOTHING = memoryview(b"")


class Socket(Protocol):
    """What a link needs of a socket that does not block; BlockingIOError where it would."""

    def fileno(self) -> int:
        """Give the descriptor that is polled."""

    def recv(self, size: int, /) -> bytes:
        """Give what has come; about ``size`` bytes at most, none at the end."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Take as many bytes as can be taken, and tell how many."""

    def close(self) -> None:
        """Let go of the socket."""


class Link:
    """A connection and its socket. ``peer`` tells people where it comes from."""

    __slots__ = (
        "_connection",
        "_events",
        "_loop",
        "_socket",
        "_unsent",
        "fd",
        "peer",
        "session",
        "stalled",
    )

    def __init__(self, loop: Loop, sock: Socket, peer: str, execute: Execute | None = None) -> None:
        self._loop = loop
        self.peer: str = peer
        self._socket = sock
        self.fd: int = sock.fileno()
        self._connection = Connection(loop.engine, execute)
        self.session: Session = self._connection.session
        self.session.owner = self
        self.session.peer = peer
        self._unsent = _NOTHING
        self._events = IN
        self.stalled: bool = False  # whether requests may stand behind a reserve that waits

    def ready(self, events: int) -> None:
        """Do what the socket is ready for."""
        if events != IN and self._did_not_read(events):
            return
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not data:
            self._go_on(self._connection.end(self._loop.now), ended=True)
            return
        more = self._connection.receive(data, self._loop.now)
        session = self.session
        if more or session.waiting or session.closing or self._events != IN:
            self._go_on(more)

    def _did_not_read(self, events: int) -> bool:
        """Do what is to be done instead of a read, if it is."""
        if events & OUT:
            self._send_rest()
            return True
        if events & _HANGUP and not self._events & IN:
            self._loop.engine.half_close(self.session)
            return True
        return False

    def advance(self) -> None:
        """Carry out more of what was received before."""
        self.stalled = False
        if self.fd >= 0 and not self._unsent:
            self._go_on(self._connection.advance(self._loop.now))

    def _go_on(self, more: bool, ended: bool = False) -> None:
        if more:
            self._loop.unfinished.append(self)
            self._listen_for(0)
        elif self.session.closing:
            if not self.session.replies and not self._unsent:
                self.close()
        elif not ended:
            self.stalled = self.session.waiting and self._connection.has_more
            self._listen_for(_HANGUP if self.stalled and self._connection.full else IN)

    def say(self) -> None:
        """Send the session's replies."""
        replies = self.session.replies
        data = b"".join(replies)
        replies.clear()
        if self.fd < 0:
            return
        if not data and not self._unsent:  # dismissed: another connection has its session
            self.close()
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._listen_for(OUT)
        elif self.session.closing:
            self.close()

    def _send_rest(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = _NOTHING  # lets go of what was sent
            self.advance()

    @property
    def unsent(self) -> int:
        """Bytes of replies that the peer has not taken yet."""
        return len(self._unsent)

    def finish(self) -> None:
        """Send the rest of what is half sent, at the end of the server; nothing comes after it."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent = _NOTHING
        if not self._unsent:
            self.close()

    def _listen_for(self, events: int) -> None:
        if self._unsent:
            events = OUT
        if events != self._events and self.fd >= 0:
            self._events = events
            self._loop.poller.modify(self.fd, events)

    def close(self) -> None:
        """Close the socket and end the session."""
        if self.fd < 0:
            return
        self._loop.forget(self.fd)
        self.fd = -1
        self._socket.close()
        self._connection.close(self._loop.now)
        self.session.owner = None


_PROGRESS = 64 * 1024
"""Bytes that start a slow peer's time anew: a large body may take long, if it comes."""


class TimedLink(Link):
    """A link that knows since when its peer owes something: the rest of a request, or a read.

    It is a class of its own so that a server without such limits pays nothing.
    """

    __slots__ = ("_owed", "_since")

    def __init__(self, loop: Loop, sock: Socket, peer: str, execute: Execute | None = None) -> None:
        super().__init__(loop, sock, peer, execute)
        self._owed = 0  # bytes, when it was last noted
        self._since = loop.now

    def ready(self, events: int) -> None:
        """Do what the socket is ready for, and note whether the peer got on."""
        super().ready(events)
        self._note(self.session.replies != [])

    def _note(self, got_on: bool) -> None:
        owed = len(self._unsent) or self._connection.lacking
        if got_on or not owed or not self._owed or self._owed - owed >= _PROGRESS:
            self._owed = owed
            self._since = self._loop.now

    def slow_for(self, now: int) -> int:
        """Nanoseconds for which the peer has owed something; 0 if it owes nothing."""
        if self._unsent or not self.session.waiting:
            owed = len(self._unsent) or self._connection.lacking
            if owed and self._owed:
                return now - self._since
            if owed:  # it began without an event: replies were sent that it does not read
                self._note(got_on=True)
        return 0

    def idle_for(self, now: int) -> int:
        """Nanoseconds for which it has sent nothing, neither waiting nor holding a job."""
        session = self.session
        if session.waiting or session.held:
            self._since = now
        return now - self._since
