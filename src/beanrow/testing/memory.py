"""Connections without sockets: what a client says is handed to the loop of a test server.

Laws:
- Both ends see what a socket would show them: bytes in pieces, an end, a half-close, a wait that
  runs out. Server and client are the usual ones.
- One lock for all connections of a server; whoever waits is woken when something was said.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import threading
from collections.abc import Callable
from io import UnsupportedOperation

from beanrow.client.line import Line
from beanrow.client.wire import Wire
from beanrow.server.link import IN, OUT
from beanrow.server.loop import Poller
from beanrow.testing.link import FaultyLink
from beanrow.testing.loop import TestLoop

__all__ = ["MemoryLoop", "MemoryTransport", "MemoryWire"]

_HANGUP: int = getattr(select, "POLLRDHUP", 0)


class _Side:
    """What one end has been told and not read yet, and whether that was all."""

    def __init__(self) -> None:
        self.data: bytearray = bytearray()
        self.ended: bool = False

    @property
    def readable(self) -> bool:
        return bool(self.data) or self.ended

    def take(self, size: int) -> bytes:
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken


class _MemoryConnection:
    """Both sides of a connection; this end is the server's, as ``link.Socket``.

    ``told`` is called when there is something new for the client.
    """

    def __init__(self, poller: _MemoryPoller, number: int) -> None:
        self._poller = poller
        self._number = number
        self.lock: threading.Condition = poller.lock
        self.to_server: _Side = _Side()
        self.to_client: _Side = _Side()
        self.told: Callable[[], object] = poller.notify

    def fileno(self) -> int:
        return self._number

    def recv(self, size: int, /) -> bytes:
        with self.lock:
            if not self.to_server.readable:
                raise BlockingIOError
            return self.to_server.take(size)

    def send(self, data: bytes | memoryview, /) -> int:
        with self.lock:
            if self.to_server.ended and self.to_client.ended:
                raise BrokenPipeError
            self.to_client.data += data
        self.told()
        return len(data)

    def close(self) -> None:
        with self.lock:
            self.to_client.ended = True
        self.told()

    # -- the client's end ---------------------------------------------------------

    def say(self, data: bytes) -> int:
        """Tell the server something; BrokenPipeError if it has closed."""
        with self.lock:
            if self.to_client.ended or self.to_server.ended:
                raise BrokenPipeError("the connection is closed")
            self.to_server.data += data
        self._poller.notify()
        return len(data)

    def leave(self, *, half: bool) -> None:
        """Say no more, and with ``half`` go on listening."""
        with self.lock:
            self.to_server.ended = True
            if not half:
                self.to_client.ended = True
        self._poller.notify()


class _MemoryPoller:
    """What ``epoll`` is to sockets, for connections in memory."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self.lock: threading.Condition = self._changed
        self._rung = False
        self._events: dict[int, int] = {}
        self.connections: dict[int, _MemoryConnection] = {}

    def register(self, fd: int, events: int) -> None:
        self._events[fd] = events

    modify = register

    def unregister(self, fd: int) -> None:
        del self._events[fd]
        self.connections.pop(fd, None)

    def notify(self) -> None:
        """Wake whoever waits, the loop too."""
        with self._changed:
            self._rung = True
            self._changed.notify_all()

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Wait for a connection that is ready, or until somebody rings; as of ``epoll``."""
        with self._changed:
            ready = self._ready()
            if not ready and not self._rung:
                self._changed.wait(seconds)
                ready = self._ready()
            self._rung = False
            return ready

    def _ready(self) -> list[tuple[int, int]]:
        looked = ((fd, self._told(fd, events)) for fd, events in self._events.items())
        return [(fd, events) for fd, events in looked if events]

    def _told(self, fd: int, events: int) -> int:
        side = self.connections[fd].to_server
        return (
            events & OUT
            | (events & IN if side.readable else 0)
            | (events & _HANGUP if side.ended else 0)
        )

    def close(self) -> None:
        """There is nothing to close."""


class MemoryWire(Wire):
    """The client's end of a connection in memory."""

    __slots__ = ("_connection", "_lock", "_seconds")

    def __init__(self, connection: _MemoryConnection) -> None:
        self._connection = connection
        self._lock = connection.lock
        self._seconds: float | None = None
        self.send: Callable[..., int] = connection.say
        self.recv: Callable[..., bytes] = self._recv

    def _recv(self, size: int, _flags: int = 0) -> bytes:
        side = self._connection.to_client
        with self._lock:
            if not self._lock.wait_for(lambda: side.readable, self._seconds):
                raise BlockingIOError
            return side.take(size)

    def wake_after(self, seconds: float) -> None:
        """Have a recv that waits end after so many seconds."""
        self._seconds = seconds

    def is_quiet(self) -> bool:
        """Tell that nothing came in: neither bytes nor an end."""
        return not self._connection.to_client.readable

    def fileno(self) -> int:
        """There is none: a pool cannot wait here."""
        raise UnsupportedOperation("a connection in memory has no descriptor")

    def half_close(self) -> None:
        """Say that nothing more will be said."""
        self._connection.leave(half=True)

    def interrupt(self) -> None:
        """End the connection under whoever waits in a recv."""
        self._connection.leave(half=False)

    def close(self) -> None:
        """Leave."""
        self._connection.leave(half=False)


class MemoryTransport(asyncio.Transport):
    """The same for asyncio: hands what the server says to a line of a client."""

    def __init__(self, connection: _MemoryConnection, line: Line) -> None:
        super().__init__()
        self._connection = connection
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._closing = False
        connection.told = self._tell
        line.connection_made(self)

    def _tell(self) -> None:
        """Have the client's loop read, from the server's thread."""
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            pass  # that loop is closed: nobody is left to be told

    def _deliver(self) -> None:
        side = self._connection.to_client
        while not self._closing:
            room = self._line.get_buffer(-1)
            with self._connection.lock:
                data, ended = side.take(len(room)), side.ended
            if not data:
                if ended:
                    self.close()
                return
            room[: len(data)] = data
            self._line.buffer_updated(len(data))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Tell the server; whoever has closed is found out by listening."""
        try:
            self._connection.say(bytes(data))
        except BrokenPipeError:
            pass

    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        return self._closing

    def close(self) -> None:
        """Leave."""
        if not self._closing:
            self._closing = True
            self._connection.leave(half=False)
            self._loop.call_soon(self._line.connection_lost, None)

    abort = close


class MemoryLoop(TestLoop):
    """A loop to which clients of this process come without sockets."""

    def _listen_to_calls(self) -> None:
        self.poller.close()
        self._memory = _MemoryPoller()
        self.poller: Poller = self._memory
        self._numbers = itertools.count(1)

    def wake(self) -> None:
        """Have the loop turn, from any thread."""
        self._memory.notify()

    def _close(self) -> None:
        """There is nothing to close."""

    def connect(self) -> _MemoryConnection:
        """Give a new connection, from any thread."""
        number = next(self._numbers)
        connection = self._memory.connections[number] = _MemoryConnection(self._memory, number)

        def admit() -> None:
            link = FaultyLink(self, connection, f"memory {number}", None)
            self.meet(link, link.ready)

        self.call(admit)
        return connection
