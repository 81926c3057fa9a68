"""Several servers as one: put goes to one of them, reserve waits on all of them at once.

Laws:
- A waiting reserve has a connection of its own on each server. The first job ends the
  waits on the others by closing them, and so a job that came there at the same moment
  goes back at once. A connection that holds a job is never waited on.
- A put goes to the next server only where nothing was stored.
- A server that does not answer is left out, and tried again in the background.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from beanrow.client.connection import Connection
from beanrow.client.group import Group, PoolId
from beanrow.client.speaker import RESERVES, ROUND, timeout_seconds
from beanrow.client.sync import Client
from beanrow.client.waits import Bells, Spares, Wait
from beanrow.errors import (
    BeanstalkError,
    BuriedJob,
    ConnectionLostError,
)
from beanrow.protocol.commands import read_reserve
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import (
    DEFAULT_ENCODING,
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_TIMEOUT,
    Duration,
    Job,
    seconds,
)

if TYPE_CHECKING:
    import ssl

__all__ = ["Pool"]


class Pool(Group[Client]):
    """Several servers as one, for any number of threads.

    ``addresses`` are those of ``Client``, and so are ``timeout``, ``encoding``, ``tls``,
    ``trace`` and ``on_buried_job``. Two more hooks tell of servers:
    ``on_server_away(address, error)`` and ``on_server_back(address)``;
    ``on_jobs_lost(job_ids)`` is that of ``Client``. All are called in the thread that
    finds out.

    An id here is a ``PoolId``, which carries its server; a command on a job goes there.
    What is about one server only is a method of that one's client, in ``clients``.
    """

    __slots__ = ("_bells", "_lock", "_looking", "_spares", "_timeout", "_wake")

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: Duration = 10.0,
        encoding: str = DEFAULT_ENCODING,
        tls: ssl.SSLContext | None = None,
        trace: bool = False,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_jobs_lost: Callable[[list[PoolId]], object] | None = None,
        on_server_away: Callable[[str, BeanstalkError], object] | None = None,
        on_server_back: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            addresses,
            Client,
            {"timeout": timeout, "encoding": encoding, "tls": tls, "trace": trace},
            on_buried_job,
            on_jobs_lost,
            on_server_away,
            on_server_back,
        )
        self._timeout = timeout_seconds(timeout)
        self._spares = {
            name: Spares(client, self._timeout) for name, client in self.clients.items()
        }
        self._bells = Bells()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._looking: threading.Thread | None = None

    def close(self) -> None:
        """Close all connections; the servers put the jobs held by them back. Twice is fine."""
        with self._lock:
            self._end = "was closed"
            self._wake.notify_all()
            looking = self._looking
        self._bells.ring()
        for client in self.clients.values():
            client.close()
        if looking is not None and looking is not threading.current_thread():
            looking.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- putting ------------------------------------------------------------------

    def put(
        self,
        body: bytes | str,
        *,
        tube: str | None = None,
        key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> PoolId:
        """Put a job on the server that ``key`` chooses; gives its id.

        Jobs of the same key go to the same server while that is there. Without a key it
        is the name of the tube: then a tube has its jobs in one place, in the order of
        their priorities. If a server does not answer, drains or has no memory, the next one
        gets the job. ConnectionLostError with the outcome "unknown" if one broke under the
        put: then no other was tried, since the job may be stored.
        """
        last: BeanstalkError = self._none_left()
        for name in self._ranked(tube, key):
            try:
                number = self.clients[name].put(
                    body, tube=tube, priority=priority, delay=delay, ttr=ttr
                )
            except BeanstalkError as error:
                if not self._passed_on(name, error):
                    raise
                last = error
            else:
                return PoolId(number, name)
        raise last

    # -- reserving ----------------------------------------------------------------

    @overload
    def reserve(self, timeout: None = None) -> Job: ...
    @overload
    def reserve(self, timeout: Duration) -> Job | None: ...
    def reserve(self, timeout: Duration | None = None) -> Job | None:
        """Wait for a job of the watched tubes on any server, and hold it.

        ``timeout`` in seconds, rounded up: gives None if no job came in that time (0: if
        none is ready). The servers are asked in turn for a job that is ready, each for its
        best one, and then all at once. ConnectFailedError if none of them answers, nor
        comes back within the pool's ``timeout``.
        """
        left = None if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = 0.0 if left is None else time.monotonic() + left
        while True:
            job = self._ready_one()
            if job is None and left != 0:
                job = self._wait(ROUND if left is None else min(left, ROUND))
            if job is not None:
                return job
            if not self._servers.present():
                raise self._none_left()
            if left is not None and (left := max(0, ceil(end - time.monotonic()))) == 0:
                return None

    def _ready_one(self) -> Job | None:
        """Reserve a job that is ready, on one server after the other."""
        for name in self._present():
            spares = self._spares[name]
            try:
                connection, job = spares.over_one(_reserve_ready)
            except ConnectionLostError as error:
                self._lose(name, error)
                continue
            spares.keep(connection, job)
            if job is not None:
                return self._owned(job, name)
        return None

    def _wait(self, wait: int) -> Job | None:
        """Wait on all servers at once, for so many seconds at most."""
        with Wait(
            self._spares, self._present, self._lose, self._bells, wait, self._timeout
        ) as waiting:
            found = waiting.first()
        if found is None:
            return None
        name, job = found
        return self._owned(job, name)

    # -- finishing ----------------------------------------------------------------

    def delete(self, job: Job | PoolId) -> None:
        """Delete a job that this pool holds, or that nobody does; else NotFoundError."""
        self._client_of(job).delete(job)

    def release(
        self, job: Job | PoolId, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        """Put a held job back, ready after ``delay`` seconds; NotFoundError if it is not held.

        As ``Client.release``.
        """
        return self._client_of(job).release(job, priority=priority, delay=delay)

    def bury(self, job: Job | PoolId, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Set a held job aside until it is kicked; NotFoundError if it is not held."""
        self._client_of(job).bury(job, priority=priority)

    def touch(self, job: Job | PoolId) -> None:
        """Start the ttr of a held job anew; NotFoundError if it is not held."""
        self._client_of(job).touch(job)

    # -- looking ------------------------------------------------------------------

    def peek(self, job: Job | PoolId) -> Job:
        """Look at a job without reserving it; NotFoundError if there is none."""
        client = self._client_of(job)
        return self._owned(client.peek(job), self._name_of(job))

    def kick_job(self, job: Job | PoolId) -> None:
        """Make this job ready; NotFoundError if it is neither buried nor delayed."""
        self._client_of(job).kick_job(job)

    def stats_job(self, job: Job | PoolId) -> JobStats:
        """Ask for a job's statistics; NotFoundError if there is no such job."""
        return self._client_of(job).stats_job(job)

    # -- servers that are away ----------------------------------------------------

    def _look_after(self) -> None:
        with self._lock:
            if self._end:
                return
            if self._looking is None:
                self._looking = threading.Thread(
                    target=self._look, name="beanrow-pool", daemon=True
                )
                self._looking.start()
            self._wake.notify_all()

    def _look(self) -> None:
        """Try servers that are away until none is."""
        while True:
            with self._lock:
                due = self._servers.due()
                if self._end or due is None:
                    self._looking = None
                    return
                pause = due[0] - time.monotonic()
                if pause > 0:
                    self._wake.wait(pause)
                    continue
            self._try(due[1])

    def _try(self, name: str) -> None:
        """See whether a server is back."""
        try:
            self._spares[name].probe()
        except BeanstalkError:
            self._servers.lose(name, time.monotonic())
            return
        self._find(name)
        self._bells.ring()


def _reserve_ready(connection: Connection) -> Job | None:
    return connection.converse(RESERVES[0], read_reserve)
