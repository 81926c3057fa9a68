"""The connections of a client: one for each thread that uses it.

Laws:
- A thread's connection is opened when that thread first needs it, and ends with the
  thread or with the client; the server then puts its jobs back.
- What breaks is told once: its jobs are lost, the hooks are called, and then whoever
  was speaking hears of it.
- A connection with a session is not lost with what it held while its grace lasts: whoever needs
  it next goes on with the session over a new connection, its heir. A job that was on its way to
  it is put back then.
- A forked process never speaks over a connection of its parent. It opens its own, and
  the jobs reserved before stay the parent's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from beanrow.client.address import Address, read_address
from beanrow.client.connection import Connection
from beanrow.client.offered import ASKED, begin_session
from beanrow.client.state import BROKE, State
from beanrow.client.wire import Wire, open_wire, tls_context
from beanrow.errors import (
    ClientClosedError,
    CommandError,
    ConnectionLostError,
    NotFoundError,
    NotIgnoredError,
)
from beanrow.protocol import commands, extensions

if TYPE_CHECKING:
    import ssl

    from beanrow.client.child import ChildServer

__all__ = ["Connections", "Mine"]

Dial: TypeAlias = Callable[[Address, float, "ssl.SSLContext | None"], Wire]

_THREAD_ENDED = "the thread that reserved it has ended, and the server gives it to the next worker"
_FORKED = "it is held by the process that this one was forked from"


class Mine(threading.local):
    """What the calling thread has of a client: its connection, once that was opened.

    ``broke`` is true from when it broke until another one takes its place.
    """

    connection: Connection | None = None
    broke = False
    guard: _Guard | None = None


class _Guard:
    """Ends a connection when the thread ends whose ``Mine`` holds this."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connection: Connection, connections: Connections) -> None:
        self._connection = connection
        # Not the owner itself: a thread would then keep each client alive that it ever used.
        self._connections = weakref.ref(connections)

    def pass_on(self, heir: Connection) -> None:
        """Guard this one from now on."""
        self._connection = heir

    def __del__(self) -> None:
        connections = self._connections()
        if connections is not None:
            connections.forget(self._connection)
        else:
            self._connection.end()


class Connections:
    """Opens, keeps and ends the connections of one client.

    ``mine`` is the calling thread's part. ``outage`` is true while the server that was
    there is not, ``closed`` once the client was. ``dial`` makes a connection, as ``open_wire``
    does: another one reaches a server without sockets, in a test.
    """

    __slots__ = (
        "__weakref__", "_address", "_child", "_clock", "_lock", "_on_jobs_lost",
        "_on_reconnect", "_open", "_resuming", "_state", "_timeout", "_tls", "_trace", "closed",
        "dial", "mine", "outage",
    )  # fmt: skip

    def __init__(
        self,
        address: Address,
        state: State,
        timeout: float,
        clock: Callable[[], float],
        tls: ssl.SSLContext | None,
        trace: bool,
        on_reconnect: Callable[[], object] | None,
        on_jobs_lost: Callable[[list[int]], object] | None,
    ) -> None:
        self._address = address
        self._state = state
        self._timeout = timeout
        self._clock = clock
        self._tls = tls_context(address, tls)
        self._trace = trace
        self._on_reconnect = on_reconnect
        self._on_jobs_lost = on_jobs_lost
        self._child: ChildServer | None = None
        self.dial: Dial = open_wire
        self.closed: bool = False
        self._open: set[Connection] = set()
        self._lock = threading.RLock()  # again under itself where a guard dies inside
        self._resuming = threading.RLock()  # likewise where a hook uses the client
        self.mine: Mine = Mine()
        self.outage: bool = False
        _all.add(self)

    def get(self, spent: float = 0.0) -> Connection:
        """Give the calling thread's connection; open it if there is none.

        ``spent`` is how much of the time for it in seconds is used up already.
        """
        self.check_open()
        mine = self.mine
        connection = mine.connection
        if connection is not None and not connection.closed:
            return connection
        if connection is not None and mine.guard is not None:
            heir = self.heir(connection, spent)
            if heir is not None:
                mine.connection = heir
                mine.guard.pass_on(heir)
                return heir
        broke = mine.broke or connection is not None
        mine.connection = mine.guard = None
        connection = self.open_one(self._timeout - spent)
        mine.connection, mine.guard = connection, _Guard(connection, self)
        mine.broke = False
        if broke and self._on_reconnect is not None:
            self._on_reconnect()
        return connection

    def check_open(self) -> None:
        """Raise ClientClosedError if the client was closed."""
        if self.closed:
            raise ClientClosedError(f"this client of {self._address} was closed; make a new one")

    def open_one(self, timeout: float) -> Connection:
        """Open a connection that watches what the client watches, and is no thread's."""
        self.check_open()
        address = self._server_address()
        trace = None
        if self._trace:
            from beanrow.client.trace import Trace

            trace = Trace(str(address))
        wire = self.dial(address, timeout, self._tls)
        connection = Connection(
            wire, str(address), self._timeout, self._clock, self._state, _lost(self), trace
        )
        with self._lock:
            self._open.add(connection)
        try:
            self.check_open()  # it may have been closed meanwhile, by another thread
            self.align(connection)
            if self._state.grace:
                words = connection.words or frozenset()
                begin = begin_session(self._state.grace, words, connection.peer)
                connection.token = connection.converse(begin.request, begin.read)
        except BaseException as error:
            self.discard(connection)
            if isinstance(error, ConnectionLostError):
                error.outcome = "never-sent"  # whatever it was opened for
            raise
        self.outage = False
        return connection

    def align(self, connection: Connection) -> None:
        """Have a connection watch what the client watches, and ask what the client asks for."""
        watched = self._state.watched
        changes = self._state.changes(connection.watched)
        asks = self._state.asks and connection.words is None
        if asks:
            changes.append(ASKED)
        if changes:
            told = connection.set_up(changes)
            connection.words = told[-1] if asks else connection.words
        connection.watched = watched

    # -- sessions -----------------------------------------------------------------

    def heir(self, connection: Connection, spent: float = 0.0) -> Connection | None:
        """Give the connection that goes on with the session of one that broke; None if it had none.

        It is opened now if nobody has needed it before. What it does not hold is lost then, and
        told. ``spent`` as for ``get``.
        """
        with self._resuming:
            while connection.heir is not None:
                connection = connection.heir
            if not connection.closed:
                return connection
            if not connection.token:
                return None
            return self._resume(connection, self._timeout - spent)

    def _resume(self, connection: Connection, timeout: float) -> Connection:
        heir = self.open_one(timeout)
        resume, resumed = extensions.resume(connection.token), set[int]()
        try:
            resumed.update(heir.converse(resume.request, resume.read))
            for job_id in resumed.difference(self._state.held_by(connection)):
                _put_back(heir, job_id)
            heir.token = connection.token
        except NotFoundError:
            pass  # then all of them are lost
        except BaseException:
            self.discard(heir)
            raise
        lost = self._state.hand_over(connection, heir, resumed)
        connection.handed = frozenset(self._state.held_by(heir))
        connection.heir = heir
        if self._on_reconnect is not None:
            self._on_reconnect()
        if lost and self._on_jobs_lost is not None:
            self._on_jobs_lost(lost)
        return heir

    # -- tubes --------------------------------------------------------------------

    def ask(self) -> None:
        """Have every connection ask its server for extensions."""
        with self._lock:
            self._state.ask()

    def use(self, tube: str) -> None:
        """Note that the client uses this tube, and this thread's connection does already."""
        self._state.used = tube
        if self.mine.connection is not None:
            self.mine.connection.used = tube

    def watch(self, tube: str) -> None:
        """Note that the client watches this tube, and this thread's connection does already."""
        with self._lock:
            self._state.watch(tube)
        connection = self.mine.connection
        if connection is not None and tube not in connection.watched:
            connection.watched += (tube,)

    def ignore(self, tube: str) -> None:
        """Note that the client ignores this tube, and this thread's connection does already.

        NotIgnoredError if another thread has just ignored all the others.
        """
        connection = self.mine.connection
        if connection is not None:
            connection.watched = tuple(one for one in connection.watched if one != tube)
        with self._lock:
            if self._state.watched == (tube,):
                raise NotIgnoredError(f"ignore {tube}")
            self._state.ignore(tube)

    def _server_address(self) -> Address:
        """Tell where the server is; start it if it is to be a child of ours."""
        if not self._address.embedded:
            return self._address
        with self._lock:
            if self._child is None:
                from beanrow.client.child import ChildServer

                self._child = ChildServer()
            return read_address(self._child.address)

    # -- ending -------------------------------------------------------------------

    def lost(self, connection: Connection) -> None:
        """Note that a connection broke, and tell whose jobs it held, unless its session goes on."""
        with self._lock:
            self._open.discard(connection)
        self.outage = True
        if connection.token:
            return
        mine = self.mine
        if mine.connection is connection:
            mine.connection, mine.broke = None, True
        self.tell_lost(connection)

    def tell_lost(self, connection: Connection) -> None:
        """Note that the jobs of a connection that broke are lost, and tell whose they are."""
        if connection.token:
            return  # its session goes on
        job_ids = self._state.lose(connection, BROKE)
        if job_ids and self._on_jobs_lost is not None:
            self._on_jobs_lost(job_ids)

    def forget(self, connection: Connection) -> None:
        """End the connection of a thread that has ended."""
        while connection.heir is not None:  # opened by another thread
            connection = connection.heir
        self._state.lose(connection, _THREAD_ENDED)
        self.discard(connection)

    def discard(self, connection: Connection) -> None:
        """End a connection that nobody needs any more."""
        with self._lock:
            self._open.discard(connection)
        connection.end()

    def close(self, *, farewell: bool = False) -> None:
        """End all connections, of all threads; ``farewell``: say ``quit`` first."""
        self.closed = True
        with self._lock:
            ending, self._open = self._open, set()
        for connection in ending:
            if farewell:
                connection.quit()
            else:
                connection.end()
        self.mine.connection = self.mine.guard = None
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def leave_to_parent(self) -> None:
        """Let go, in a process that was just forked, of all that is its parent's."""
        self._lock = threading.RLock()  # which a thread that is no more may hold
        self._resuming = threading.RLock()
        leaving, self._open = self._open, set()
        broken = (one for one in self._state.held.values() if isinstance(one, Connection))
        for connection in leaving.union(broken):
            self._state.lose(connection, _FORKED)
            connection.token = ""
            connection.end()
        self.mine.connection = self.mine.guard = None


def _put_back(connection: Connection, job_id: int) -> None:
    """Release a job that is held and that nobody here knows: it was on its way as a reply."""
    try:
        look = commands.stats_job(job_id)
        priority = connection.converse(look.request, look.read).pri
        release = commands.release(job_id, priority)
        connection.converse(release.request, release.read)
    except CommandError:
        pass  # its ttr has just run out


def _lost(connections: Connections) -> Callable[[Connection], None]:
    """Make what a connection calls when it broke; it does not keep its client alive."""
    owner = weakref.ref(connections)

    def lost(connection: Connection) -> None:
        connections = owner()
        if connections is not None:
            connections.lost(connection)

    return lost


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def _after_fork() -> None:
    for connections in list(_all):
        connections.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
