"""The daemon's own event loop: sockets on one side, the engine on the other.

A turn: wait for sockets or the engine's next deadline, read what has come, carry it
out, then say all replies. Answering a whole read with one send is what makes the
server 3 to 5 times as fast as one send a reply; futures, tasks and streams for each
command would cost more than the commands do.

Laws:
- Replies leave at the end of a turn, one send a connection, and not before the journal,
  where there is one, has what they promise.
- A peer that does not read its replies is not read from: what is unsent is bounded.
- A fault in one connection's handling closes that connection and is told on stderr.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable
from math import ceil

from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.journal.journal import Journal
from beanrow.server.connection import Connection

__all__ = ["Loop", "wall_clock"]

_IN = select.POLLIN
_OUT = select.POLLOUT
_HANGUP: int = getattr(select, "POLLRDHUP", 0)  # Linux tells of it without a read
_READ_SIZE = 64 * 1024
_ACCEPTS_A_TURN = 64
_LONGEST_WAIT = 3600.0
"""In seconds: a ttr may be 136 years, and the system takes 24 days of milliseconds."""
_RETRY = 1.0
"""Seconds until the next try to accept where only others can free what is used up."""
_DISK_RETRY = 0.1
"""Seconds until the next try to write what the disk has refused."""


def wall_clock() -> Callable[[], int]:
    """Make a clock that begins at the wall clock's nanoseconds and never steps back."""
    offset = time.time_ns() - time.monotonic_ns()
    monotonic = time.monotonic_ns
    return lambda: monotonic() + offset


class _Poller:
    """epoll where there is one, poll elsewhere; both know the same event bits.

    ``wait(seconds)`` gives the descriptors that are ready, as (descriptor, events).
    """

    register: Callable[[int, int], None]
    modify: Callable[[int, int], None]
    unregister: Callable[[int], None]
    wait: Callable[[float | None], list[tuple[int, int]]]
    close: Callable[[], None]

    def __init__(self) -> None:
        if hasattr(select, "epoll"):
            epoll = select.epoll()
            self.register, self.modify = epoll.register, epoll.modify
            self.unregister, self.wait, self.close = epoll.unregister, epoll.poll, epoll.close
        else:
            poll = select.poll()
            self.register, self.modify = poll.register, poll.modify
            self.unregister, self.wait = poll.unregister, _in_milliseconds(poll.poll)
            self.close = _nothing


def _in_milliseconds(
    poll: Callable[[int | None], list[tuple[int, int]]],
) -> Callable[[float | None], list[tuple[int, int]]]:
    return lambda seconds: poll(None if seconds is None else ceil(seconds * 1000))


def _nothing() -> None:
    """Close what holds nothing."""


class _Link:
    """A connection and its socket."""

    __slots__ = (
        "_connection",
        "_events",
        "_loop",
        "_receive",
        "_recv",
        "_send",
        "_socket",
        "_unsent",
        "fd",
        "session",
        "stalled",
    )

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._recv = sock.recv
        self._send = sock.send
        self.fd = sock.fileno()
        self._connection = Connection(loop.engine)
        self._receive = self._connection.receive
        self.session = self._connection.session
        self.session.owner = self
        self._unsent = memoryview(b"")
        self._events = _IN
        self.stalled = False  # whether requests may stand behind a reserve that waited

    def ready(self, events: int) -> None:
        """Do what the socket is ready for."""
        if events != _IN and self._did_not_read(events):
            return
        try:
            data = self._recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not data:
            self._go_on(self._connection.end(self._loop.now), ended=True)
            return
        more = self._receive(data, self._loop.now)
        session = self.session
        if more or session.waiting or session.closing or self._events != _IN:
            self._go_on(more)

    def _did_not_read(self, events: int) -> bool:
        """Do what is to be done instead of a read, if it is."""
        if events & _OUT:
            self._send_rest()
            return True
        if events & _HANGUP and not self._events & _IN:
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
            self.stalled = self.session.waiting
            self._listen_for(_HANGUP if self.stalled and self._connection.full else _IN)

    def say(self) -> None:
        """Send the session's replies."""
        replies = self.session.replies
        data = b"".join(replies)
        replies.clear()
        if self.fd < 0:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._listen_for(_OUT)
        elif self.session.closing:
            self.close()

    def _send_rest(self) -> None:
        try:
            sent = self._send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = memoryview(b"")  # lets go of what was sent
            self.advance()

    def _listen_for(self, events: int) -> None:
        if self._unsent:
            events = _OUT
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


class Loop:
    """Serves an engine on listening sockets until ``stop``. ``clock`` gives nanoseconds.

    ``journal`` is that of the engine, if it has one.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], int], journal: Journal | None = None
    ) -> None:
        self.engine = engine
        self._journal = journal
        self.now = clock()
        self.poller = _Poller()
        self.unfinished: list[_Link] = []
        self._clock = clock
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._links: dict[int, _Link] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._full_up = False  # whether the process has no file descriptor left
        self._stopping = False

    def listen(self, listener: socket.socket) -> None:
        """Accept connections from a bound socket."""
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener

        def accept(_events: int) -> None:
            self._accept(listener)

        self.watch(listener.fileno(), accept)

    def watch(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` whenever ``fd`` is readable."""
        self._handlers[fd] = handler
        self.poller.register(fd, _IN)

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no longer."""
        self.poller.unregister(fd)
        del self._handlers[fd]
        if self._links.pop(fd, None) is not None and self._full_up:
            self._accept_again()

    def stop(self) -> None:
        """End ``run`` after this turn."""
        self._stopping = True

    def run(self) -> None:
        """Serve until ``stop``, then close everything."""
        try:
            while not self._stopping:
                self._turn()
        finally:
            for link in list(self._links.values()):
                link.close()
            for listener in self._listeners.values():
                listener.close()
            self.poller.close()

    def _turn(self) -> None:
        ready = self.poller.wait(self._patience())
        self.now = self._clock()
        self.engine.tick(self.now)
        if self._full_up and not self._links:  # no connection of ours will end and make room
            self._accept_again()
        unfinished, self.unfinished = self.unfinished, []
        for link in unfinished:
            self._guarded(link.advance, link.fd)
        handlers = self._handlers
        for fd, events in ready:
            handler = handlers.get(fd)
            if handler is not None:
                try:
                    handler(events)
                except Exception:  # noqa: BLE001  # told, and contained: the law above
                    self._report(fd)
        while self.engine.outbox:
            if self._journal is not None and not self._is_kept(self._journal):
                return
            self._say_all()
        if self._journal is not None:
            self._journal.tidy(self.now)

    def _is_kept(self, journal: Journal) -> bool:
        """Wait until the journal has what was done; False if we are to stop before that."""
        while not journal.commit(self.now):
            if self._stopping:
                return False
            time.sleep(_DISK_RETRY)
            self.now = self._clock()
        return True

    def _patience(self) -> float:
        if self.unfinished:
            return 0.0
        most = _RETRY if self._full_up and not self._links else _LONGEST_WAIT
        deadline = self.engine.next_deadline()
        if self._journal is not None:
            due = self._journal.next_deadline()
            deadline = due if deadline is None or (due is not None and due < deadline) else deadline
        return most if deadline is None else min(max(0, deadline - self._clock()) / 1e9, most)

    def _say_all(self) -> None:
        """Say what is in the outbox, then go on where a reply had been waited for.

        Not in between: going on may add to what is still to be said, and no journal has that.
        """
        outbox: list[Session] = self.engine.outbox
        self.engine.outbox = []
        stalled: list[_Link] = []
        for session in outbox:
            link = session.owner
            if isinstance(link, _Link):
                try:
                    link.say()
                    if link.stalled and not session.waiting:
                        stalled.append(link)
                except Exception:  # noqa: BLE001  # told, and contained: the law above
                    self._report(link.fd)
        for link in stalled:
            self._guarded(link.advance, link.fd)

    def _guarded(self, step: Callable[[], None], fd: int) -> None:
        try:
            step()
        except Exception:  # noqa: BLE001  # likewise
            self._report(fd)

    def _report(self, fd: int) -> None:
        """Tell of a fault of ours and close the connection it happened on."""
        sys.stderr.write("beanrow: internal error; the connection is closed:\n")
        traceback.print_exc()
        link = self._links.get(fd)
        if link is not None:
            self._guarded(link.close, link.fd)  # which forgets the link before it can fail

    def _accept_again(self) -> None:
        self._full_up = False
        for listening in self._listeners:
            self.poller.modify(listening, _IN)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._full_up = True
                for listening in self._listeners:
                    self.poller.modify(listening, 0)
                sys.stderr.write(
                    f"beanrow: {error.strerror}: no new connections until one is closed\n"
                )
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link = _Link(self, sock)
        self._links[link.fd] = link
        self.watch(link.fd, link.ready)
