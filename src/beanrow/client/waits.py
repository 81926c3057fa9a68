"""One wait on several servers at once: its connections, and what wakes it.

Law: a connection that is waited on holds no job. The first job ends the other waits by
closing their connections, and so a job that came there at the same moment goes back.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Self, TypeVar

from beanrow.client.connection import Connection, StaleConnection
from beanrow.client.speaker import RESERVES, ROUND
from beanrow.client.sync import Client
from beanrow.errors import CommandTimeoutError, ConnectionLostError, NotFoundError
from beanrow.protocol.commands import read_reserve
from beanrow.protocol.values import Job

__all__ = ["Bells", "Spares", "Wait"]

T = TypeVar("T")

_MOST_IDLE = 32
"""Connections to a server that are kept for the next waits."""
_REVIEW = 10.0
"""Seconds from one look at the jobs of more connections than these to the next."""


class Spares:
    """Connections to one server that are no thread's: for waits, and for the jobs of waits."""

    __slots__ = ("_client", "_connections", "_lock", "_reviewed", "_spare", "_timeout")

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._connections = client._connections  # noqa: SLF001  (a pool is its clients' owner)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._spare: list[Connection] = []
        self._reviewed = time.monotonic()

    def over_one(self, act: Callable[[Connection], T]) -> tuple[Connection, T]:
        """Do something over a connection that holds no job and nobody waits on."""
        connection = self._take()
        if connection is None:
            self._review()
        else:
            try:
                return connection, self._aligned(connection, act)
            except StaleConnection:
                pass  # it ended while nobody used it
        connection = self._connections.open_one(self._timeout)
        return connection, self._aligned(connection, act)

    def _aligned(self, connection: Connection, act: Callable[[Connection], T]) -> T:
        try:
            if connection.watched is not connection.state.watched:
                self._connections.align(connection)
            return act(connection)
        except BaseException:
            self._connections.discard(connection)
            raise

    def _take(self) -> Connection | None:
        with self._lock:
            for connection in self._spare:
                if not connection.closed and not connection.state.held_by(connection):
                    self._spare.remove(connection)
                    return connection
        return None

    def _review(self) -> None:
        """Let go of jobs that ran out of ttr: a program that forgets them keeps no connection.

        A connection more than the usual is about to be opened; the server is asked now and then.
        """
        with self._lock:
            now = time.monotonic()
            if len(self._spare) < _MOST_IDLE or now < self._reviewed + _REVIEW:
                return
            self._reviewed = now
            spare = list(self._spare)
        for connection in spare:
            held = connection.state.held
            for job_id in connection.state.held_by(connection):
                try:
                    reserved = self._client.stats_job(job_id).state == "reserved"
                except NotFoundError:
                    reserved = False
                if not reserved and held.get(job_id) is connection:
                    del held[job_id]

    def keep(self, connection: Connection, job: Job | None) -> None:
        """Keep a connection, for the job that it reserved or for the next wait."""
        if job is not None:
            connection.state.hold(job, connection, self._client._encoding)  # noqa: SLF001
        with self._lock:
            self._spare = [one for one in self._spare if not one.closed]
            if job is not None or len(self._spare) < _MOST_IDLE:
                self._spare.append(connection)
                return
        self._connections.discard(connection)

    def give_up(self, connection: Connection) -> None:
        """End a connection that is waited on."""
        connection.give_up()
        self._connections.discard(connection)

    def probe(self) -> None:
        """Connect, to see whether the server is there; ConnectFailedError if it is not."""
        self._connections.discard(self._connections.open_one(self._timeout))


class Bells:
    """What wakes every wait that is going on: a server is back, or the pool is closed."""

    __slots__ = ("_lock", "_rings")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rings: set[socket.socket] = set()

    def add(self) -> tuple[socket.socket, socket.socket]:
        """Give two ends: the one to listen at, and the one to take away again."""
        bell, ring = socket.socketpair()
        with self._lock:
            self._rings.add(ring)
        return bell, ring

    def take_away(self, bell: socket.socket, ring: socket.socket) -> None:
        """Forget a bell, and close it."""
        with self._lock:
            self._rings.discard(ring)
        bell.close()
        ring.close()

    def ring(self) -> None:
        """Wake all."""
        with self._lock:
            for ring in self._rings:
                ring.send(b"!")


class Wait:
    """A wait of ``seconds`` on all of the servers that are there, also those that come back.

    ``present`` tells which those are, ``lose`` is told of one that does not answer;
    ``timeout`` is how long in seconds an answer may take on top.
    """

    def __init__(
        self,
        spares: Mapping[str, Spares],
        present: Callable[[], Iterable[str]],
        lose: Callable[[str, ConnectionLostError], object],
        bells: Bells,
        seconds: int,
        timeout: float,
    ) -> None:
        self._spares = spares
        self._present = present
        self._lose = lose
        self._bells = bells
        self._end = time.monotonic() + seconds
        self._timeout = timeout
        self._begun: dict[int, tuple[str, Connection, bytes]] = {}

    def __enter__(self) -> Self:
        self._bell, self._ring = self._bells.add()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up_all()
        self._bells.take_away(self._bell, self._ring)

    def first(self) -> tuple[str, Job] | None:
        """Give the first job that comes, and its server; None if none has one, or is there."""
        answered = False
        self._begin()
        while self._begun or not answered:
            ready = self._ready()
            if not ready and not self._begun:
                return None
            for descriptor in ready:
                if descriptor == self._bell.fileno():
                    self._bell.recv(64)
                    self._begin()
                    continue
                name, connection, request = self._begun.pop(descriptor)
                try:
                    job = connection.finish(request, read_reserve)
                except ConnectionLostError as error:
                    self._lose(name, error)
                    continue
                answered = True
                self._spares[name].keep(connection, job)
                if job is not None:
                    return name, job
            if not ready:
                for name in self._give_up_all():
                    late = CommandTimeoutError(f"{name} did not answer a reserve in time")
                    self._lose(name, late)
        return None

    def _begin(self) -> None:
        """Wait on the servers that are there and not waited on yet."""
        begun = {name for name, _, _ in self._begun.values()}
        request = RESERVES[min(ROUND, max(0, ceil(self._end - time.monotonic())))]
        for name in self._present():
            if name in begun:
                continue
            try:
                connection, _ = self._spares[name].over_one(lambda one: one.begin(request))
            except ConnectionLostError as error:
                self._lose(name, error)
            else:
                self._begun[connection.fileno()] = (name, connection, request)

    def _ready(self) -> list[int]:
        """Wait until a server says something or comes back; none if that takes too long."""
        poller = select.poll()
        for descriptor in (*self._begun, self._bell.fileno()):
            poller.register(descriptor, select.POLLIN)
        left = self._end + self._timeout - time.monotonic()
        if not self._begun:
            left = min(left, self._timeout)
        return [descriptor for descriptor, _ in poller.poll(max(0.0, left) * 1000)]

    def _give_up_all(self) -> list[str]:
        """End the waits that are left; gives the names of their servers."""
        begun, self._begun = list(self._begun.values()), {}
        for name, connection, _ in begun:
            self._spares[name].give_up(connection)
        return [name for name, _, _ in begun]
