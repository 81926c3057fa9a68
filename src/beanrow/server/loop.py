"""The daemon's own event loop: sockets on one side, the engine on the other.

A turn: wait for sockets or the engine's next deadline, read what has come, carry it
out, then say all replies. Answering a whole read with one send is what makes the
server 3 to 5 times as fast as one send a reply; futures, tasks and streams for each
command would cost more than the commands do.

Laws:
- Replies leave at the end of a turn, one send a connection, and not before the journal,
  where there is one, has what they promise.
- A fault in one connection's handling closes that connection and is told to the log.
- It ends with whole replies: what has been begun is sent to its end, for as long as that helps.
"""

from __future__ import annotations

import errno
import gc
import select
import socket
import time
from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil
from typing import Protocol

from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.journal.journal import Journal
from beanrow.protocol.replies import OUT_OF_MEMORY
from beanrow.server.connection import Execute
from beanrow.server.limits import NO_LIMITS, Limits
from beanrow.server.link import IN, Link, Socket, TimedLink
from beanrow.server.log import Log

__all__ = ["Loop", "Peer", "Poller", "wall_clock"]

_ACCEPTS_A_TURN = 64
_READY_A_TURN = 64
"""Connections that are served before their replies are said. With 1,000 that talk at once it takes a
quarter off the p99 and 3 % off the CPU, as each is still in the cache; but a journal is to be
synced once for all."""
_ALL = -1
_LONGEST_WAIT = 3600.0
"""In seconds: a ttr may be 136 years, and the system takes 24 days of milliseconds."""
_FAREWELL = 5_000_000_000
"""Nanoseconds that the end waits for peers to take what is half sent, while some do."""
_STANDSTILL = 1.0
"""Seconds that it waits while none does."""
_AFTERWARDS = 1_000_000_000
"""Nanoseconds between the leaving of many jobs and that of what they were served with."""
_FEW_JOBS = 10_000
_RETRY = 1.0
"""Seconds until the next try to accept where only others can free what is used up."""
_DISK_RETRY = 0.1
"""Seconds until the next try to write what the disk has refused."""


def wall_clock() -> Callable[[], int]:
    """Make a clock that begins at the wall clock's nanoseconds and never steps back."""
    offset = time.time_ns() - time.monotonic_ns()
    monotonic = time.monotonic_ns
    return lambda: monotonic() + offset


class Poller(Protocol):
    """What tells the loop which descriptors are ready. Events are those of ``poll``."""

    def register(self, fd: int, events: int, /) -> None:
        """Look out for these events."""

    def modify(self, fd: int, events: int, /) -> None:
        """Look out for these instead."""

    def unregister(self, fd: int, /) -> None:
        """Look no longer."""

    def wait(self, seconds: float | None, /) -> list[tuple[int, int]]:
        """Give who is ready, each with its events; none after so many seconds."""

    def close(self) -> None:
        """Let go of what it holds."""


class _Poller:
    """epoll where there is one, poll elsewhere; both know the same event bits.

    ``wait(seconds)`` gives the descriptors that are ready, as (descriptor, events); with epoll
    ``most`` of them, the others next time.
    """

    register: Callable[[int, int], None]
    modify: Callable[[int, int], None]
    unregister: Callable[[int], None]
    wait: Callable[[float | None], list[tuple[int, int]]]
    close: Callable[[], None]

    def __init__(self, most: int) -> None:
        if hasattr(select, "epoll"):
            epoll = select.epoll()
            self.register, self.modify = epoll.register, epoll.modify
            self.unregister, self.close = epoll.unregister, epoll.close
            self.wait = lambda seconds: epoll.poll(seconds, most)
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


class Peer(Protocol):
    """Whoever is at the other end of a socket that was accepted."""

    fd: int

    def close(self) -> None:
        """Close the socket and forget it."""


class Step(Protocol):
    """Work that is done a share each turn."""

    fd: int

    def advance(self) -> None:
        """Do one share."""


class Loop:
    """Serves an engine on listening sockets until ``stop``. ``clock`` gives nanoseconds.

    ``journal`` is that of the engine, if it has one; ``guard`` makes what stands before the
    engine for a new connection from an address, ``execute`` is what carries out requests in the
    engine's place where there is no guard. ``on_commit`` hears how many nanoseconds the journal took
    for a turn.
    """

    guard: Callable[[str], Execute] | None = None
    execute: Execute | None = None
    on_commit: Callable[[int], None] | None = None

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], int],
        journal: Journal | None = None,
        *,
        limits: Limits = NO_LIMITS,
        log: Log | None = None,
    ) -> None:
        self.engine = engine
        self._journal = journal
        self.now: int = clock()
        self.poller: Poller = _Poller(_READY_A_TURN if journal is None else _ALL)
        self.unfinished: list[Step] = []
        self.log: Log = log or Log()
        self.arriving = 0  # connections of which is not yet known who speaks there
        self.refused_connections: int = 0
        self.slow_connections: int = 0
        self.idle_connections: int = 0
        self._limits = limits
        self._clock = clock
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._peers: dict[int, Peer] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._alarms: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._full_up = False  # whether the process has no file descriptor left
        self._refusing = False  # whether the log has been told that connections are refused
        self._stopping = False
        self._link: Callable[[Loop, Socket, str, Execute | None], Link]
        self._link = TimedLink if limits.watches_time else Link
        if limits.watches_time:
            self.call_at(self.now + limits.sweep, self._sweep)

    # -- what the server asks of it -----------------------------------------------

    def listen(
        self,
        listener: socket.socket,
        admit: Callable[[socket.socket, str], None] | None = None,
        a_turn: int = _ACCEPTS_A_TURN,
    ) -> None:
        """Accept connections from a bound socket, so many ``a_turn``.

        ``admit`` takes each with its address; without it they speak the queue's protocol.
        """
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        welcome = admit or self.admit

        def accept(_events: int) -> None:
            self._accept(listener, welcome, a_turn)

        self.watch(listener.fileno(), accept)

    def watch(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` whenever ``fd`` is readable."""
        self._handlers[fd] = handler
        self.poller.register(fd, IN)

    def meet(self, peer: Peer, handler: Callable[[int], None]) -> None:
        """Watch the socket of a peer, which is closed at the end."""
        self._peers[peer.fd] = peer
        self.watch(peer.fd, handler)

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no longer."""
        self.poller.unregister(fd)
        del self._handlers[fd]
        if self._peers.pop(fd, None) is not None and self._full_up:
            self._accept_again()

    def call_at(self, when: int, action: Callable[[], None]) -> None:
        """Call ``action`` once it is ``when``, in the engine's time."""
        self._serial += 1
        heappush(self._alarms, (when, self._serial, action))

    def time(self) -> int:
        """Tell what time it is, where ``now`` is that of the turn."""
        return self._clock()

    def stop(self) -> None:
        """End ``run`` after this turn."""
        self._stopping = True

    def run(self) -> None:
        """Serve until ``stop``, then send what is begun and close everything."""
        try:
            while not self._stopping:
                self._turn()
            self._finish_sending()
        finally:
            for peer in list(self._peers.values()):
                peer.close()
            for listener in self._listeners.values():
                listener.close()
            self.poller.close()

    # -- a turn -------------------------------------------------------------------

    def _turn(self) -> None:
        ready = self.poller.wait(self._patience())
        self.now = self._clock()
        self.engine.tick(self.now)
        while self._alarms and self._alarms[0][0] <= self.now:
            self._guarded(heappop(self._alarms)[2], -1)
        if self._full_up and not self._peers:  # no connection of ours will end and make room
            self._accept_again()
        unfinished, self.unfinished = self.unfinished, []
        for step in unfinished:
            self._guarded(step.advance, step.fd)
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
        if self.engine.jobs.have_emptied():
            self.call_at(self.now + _AFTERWARDS, self._give_back_memory)

    def _give_back_memory(self) -> None:
        """Collect, now that there is little to walk.

        Python keeps some hundred freed objects at hand, and each of them keeps a megabyte that its
        neighbours have left. A collection lets go of them.
        """
        if len(self.engine.jobs) <= _FEW_JOBS:
            gc.collect()

    def _is_kept(self, journal: Journal) -> bool:
        """Wait until the journal has what was done; False if we are to stop before that."""
        begin = time.perf_counter_ns() if self.on_commit is not None else 0
        while not journal.commit(self.now):
            if self._stopping:
                return False
            time.sleep(_DISK_RETRY)
            self.now = self._clock()
        if self.on_commit is not None:
            self.on_commit(time.perf_counter_ns() - begin)
        return True

    def _patience(self) -> float:
        if self.unfinished:
            return 0.0
        most = _RETRY if self._full_up and not self._peers else _LONGEST_WAIT
        deadline = self.engine.next_deadline()
        if self._journal is not None:
            due = self._journal.next_deadline()
            deadline = due if deadline is None or (due is not None and due < deadline) else deadline
        if self._alarms and (deadline is None or self._alarms[0][0] < deadline):
            deadline = self._alarms[0][0]
        return most if deadline is None else min(max(0, deadline - self._clock()) / 1e9, most)

    def _say_all(self) -> None:
        """Say what is in the outbox, then go on where a reply had been waited for.

        Not in between: going on may add to what is still to be said, and no journal has that.
        """
        outbox: list[Session] = self.engine.outbox
        self.engine.outbox = []
        stalled: list[Link] = []
        for session in outbox:
            link = session.owner
            if isinstance(link, Link):
                try:
                    link.say()
                    if link.stalled and not session.waiting:
                        stalled.append(link)
                except Exception:  # noqa: BLE001  # told, and contained: the law above
                    self._report(link.fd)
        for link in stalled:
            self._guarded(link.advance, link.fd)

    def _finish_sending(self) -> None:
        """Send the rest of replies that are half sent, to whoever goes on reading."""
        until = self._clock() + _FAREWELL
        rest: dict[int, Link] = {}
        for peer in list(self._peers.values()):
            if isinstance(peer, Link) and peer.unsent:
                rest[peer.fd] = peer
            else:
                peer.close()
        for fd in self._handlers.keys() - rest.keys():
            self.poller.unregister(fd)
        while rest and self._clock() < until:
            ready = self.poller.wait(_STANDSTILL)
            if not ready:
                return  # whoever is left does not read
            for fd, _events in ready:
                self._guarded(rest[fd].finish, fd)
                if rest[fd].fd < 0:
                    del rest[fd]

    def _guarded(self, step: Callable[[], None], fd: int) -> None:
        try:
            step()
        except Exception:  # noqa: BLE001  # likewise
            self._report(fd)

    def _report(self, fd: int) -> None:
        """Tell of a fault of ours and close the connection it happened on."""
        self.log.tell_fault("internal error; the connection is closed")
        peer = self._peers.get(fd)
        if peer is not None:
            self._guarded(peer.close, peer.fd)  # which forgets it before it can fail

    # -- who comes ----------------------------------------------------------------

    def _accept_again(self) -> None:
        self._full_up = False
        for listening in self._listeners:
            self.poller.modify(listening, IN)

    def _accept(
        self, listener: socket.socket, admit: Callable[[socket.socket, str], None], a_turn: int
    ) -> None:
        for _ in range(a_turn):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._full_up = True
                for listening in self._listeners:
                    self.poller.modify(listening, 0)
                self.log.tell(
                    "no-descriptors",
                    f"{error.strerror}: no new connections until one is closed",
                    level="error",
                )
                return
            sock.setblocking(False)
            admit(sock, _written(address))

    def admit(self, sock: socket.socket, address: str) -> None:
        """Begin a connection with whoever is at the other end."""
        if self.refuses(sock, address):
            return
        self.link(sock, sock, address, None if self.guard is None else self.guard(address))

    def refuses(self, sock: socket.socket, address: str, words: bytes = OUT_OF_MEMORY) -> bool:
        """Tell whether there are connections enough; if so this one hears ``words`` and ends."""
        most = self._limits.connections
        if not most or self.engine.counters.connections + self.arriving < most:
            self._refusing = False
            return False
        self.refused_connections += 1
        if not self._refusing:  # one line, however many come while it is full
            self._refusing = True
            self.log.tell(
                "connections-refused",
                f"{most} connections are open (--max-connections): new ones are refused",
                level="warning",
                address=address,
            )
        try:
            sock.send(words)
        except OSError:
            pass  # it is gone already, which is what was wanted
        sock.close()
        return True

    def link(
        self, sock: socket.socket, speaking: Socket, address: str, execute: Execute | None
    ) -> Link:
        """Serve the queue to ``speaking``, which reads and writes through ``sock``."""
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link = self._link(self, speaking, address, execute or self.execute)
        self.meet(link, link.ready)
        return link

    # -- who is too slow ----------------------------------------------------------

    def _sweep(self) -> None:
        """Close who has been slow or idle for too long; now and then, over all connections."""
        self.call_at(self.now + self._limits.sweep, self._sweep)
        slow, idle = self._limits.slow, self._limits.idle
        for link in list(self._peers.values()):
            if not isinstance(link, TimedLink):
                continue
            if slow and link.slow_for(self.now) > slow:
                self.slow_connections += 1
                self._dismiss(link, "slow", "--slow-timeout")
            elif idle and link.idle_for(self.now) > idle:
                self.idle_connections += 1
                self._dismiss(link, "idle", "--idle-timeout")

    def _dismiss(self, link: TimedLink, what: str, flag: str) -> None:
        self.log.tell(
            f"{what}-connection",
            f"{link.peer} is closed: {what} for too long ({flag})",
            address=link.peer,
        )
        link.close()


def _written(address: object) -> str:
    """Write where a connection comes from as people do."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "unix"
