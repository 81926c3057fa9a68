"""What a pool of servers is, whether its clients are awaited or not.

Laws:
- A job's id counts only on the server that gave it, so an id here carries its server
  with it, and every command on a job goes to that one.
- Used tube and watched tubes are the pool's. No server is asked for them at once: each
  connection is set to them before the next command that depends on it, also that of a
  server that is away now.
"""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from beanrow.client.address import read_address
from beanrow.client.servers import Servers
from beanrow.client.state import State
from beanrow.errors import (
    BadTypeError,
    BadValueError,
    BeanstalkError,
    ClientClosedError,
    ConnectFailedError,
    ConnectionLostError,
    DrainingError,
    NotIgnoredError,
    OutOfMemoryError,
)
from beanrow.protocol.values import Job, tube_name

if TYPE_CHECKING:
    from beanrow.errors import BuriedJob

__all__ = ["Group", "HasState", "PoolId", "PoolSettings"]


class PoolId(int):
    """The id of a job, with the address of the ``server`` that gave it."""

    server: str

    def __new__(cls, number: int, server: str) -> Self:
        """Make an id of this server."""
        one = super().__new__(cls, number)
        one.server = server
        return one

    def __reduce__(self) -> tuple[type[PoolId], tuple[int, str]]:
        """Keep the server when pickled or copied."""
        return PoolId, (int(self), self.server)


class HasState(Protocol):
    """A client, of either kind."""

    _state: State


C = TypeVar("C", bound=HasState)

PoolSettings = dict[str, Any]
"""The settings of ``Client`` that all clients of a pool share."""


class Group(ABC, Generic[C]):
    """The clients of several servers, and what is the same for all.

    ``clients`` are those, by the address as it was given: for all that is not about
    several servers at once.
    """

    __slots__ = (
        "__weakref__",
        "_end",
        "_on_jobs_lost",
        "_on_server_away",
        "_on_server_back",
        "_servers",
        "clients",
    )

    def __init__(
        self,
        addresses: Sequence[str],
        make: Callable[..., C],
        settings: PoolSettings,
        on_buried_job: Callable[[BuriedJob], object] | None,
        on_jobs_lost: Callable[[list[PoolId]], object] | None,
        on_server_away: Callable[[str, BeanstalkError], object] | None,
        on_server_back: Callable[[str], object] | None,
    ) -> None:
        self._servers = Servers(addresses)
        self._end = ""
        _all.add(self)
        self._on_jobs_lost = on_jobs_lost
        self._on_server_away = on_server_away
        self._on_server_back = on_server_back
        for name in self._servers.names:
            if read_address(name).embedded:
                raise BadValueError("a pool is of servers that run: embedded: is a client's own")
        self.clients: dict[str, C] = {
            name: make(
                name,
                on_buried_job=on_buried_job,
                on_jobs_lost=self._jobs_lost_on(name),
                **settings,
            )
            for name in self._servers.names
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._servers.names)!r})"

    # -- tubes --------------------------------------------------------------------

    def use(self, tube: str) -> str:
        """Choose the tube that puts without ``tube`` go into; gives its name."""
        tube_name(tube)
        for client in self.clients.values():
            client._state.used = tube  # noqa: SLF001  (a pool is its clients' owner)
        return tube

    def watch(self, tube: str) -> int:
        """Reserve from this tube too; gives how many are watched."""
        tube_name(tube)
        for client in self.clients.values():
            client._state.watch(tube)  # noqa: SLF001
        return len(self._state.watched)

    def ignore(self, tube: str) -> int:
        """Reserve from this tube no longer; NotIgnoredError if it is the only one watched.

        Gives how many are watched.
        """
        tube_name(tube)
        if self._state.watched == (tube,):
            raise NotIgnoredError(f"ignore {tube}")
        for client in self.clients.values():
            client._state.ignore(tube)  # noqa: SLF001
        return len(self._state.watched)

    @property
    def _state(self) -> State:
        """The state of any client: their tubes are all alike."""
        return next(iter(self.clients.values()))._state  # noqa: SLF001

    # -- servers ------------------------------------------------------------------

    def _check_open(self) -> None:
        """Raise ClientClosedError if the pool was closed, or is another process's."""
        if self._end:
            raise ClientClosedError(f"this pool {self._end}; make a new one")

    def _present(self) -> list[str]:
        self._check_open()
        return self._servers.present()

    def _ranked(self, tube: str | None, key: str | None) -> list[str]:
        self._check_open()
        if key is not None and not isinstance(key, str):
            raise BadTypeError(f"a key is a str, not {type(key).__name__}: {key!r}")
        return self._servers.ranked(key if key is not None else tube or self._state.used)

    def _client_of(self, job: Job | int) -> C:
        """Give the client of the server that has this job."""
        self._check_open()
        server = self._name_of(job)
        client = self.clients.get(server)
        if client is None:
            raise BadValueError(f"{job!r} is of {server}, which is not one of this pool")
        return client

    def _name_of(self, job: Job | int) -> str:
        """Tell which server has this job."""
        server: str | None = getattr(job.id if isinstance(job, Job) else job, "server", None)
        if server is None:
            raise BadValueError(
                f"{job!r} names no server: take the Job or the id that this pool gave"
            )
        return server

    def _owned(self, job: Job, name: str) -> Job:
        """Note in a job which server it is of."""
        job.id = PoolId(job.id, name)
        return job

    def _lose(self, name: str, error: BeanstalkError) -> None:
        """Note that a server does not answer."""
        is_news = self._servers.lose(name, time.monotonic())
        self._look_after()
        if is_news and self._on_server_away is not None:
            self._on_server_away(name, error)

    def _find(self, name: str) -> None:
        """Note that a server is back."""
        self._servers.find(name)
        if self._on_server_back is not None:
            self._on_server_back(name)

    @abstractmethod
    def _look_after(self) -> None:
        """See to it that servers that are away are tried again in the background."""

    def _passed_on(self, name: str, error: BeanstalkError) -> bool:
        """Tell whether a put that failed on one server may go to the next one.

        Only where nothing was stored.
        """
        if isinstance(error, ConnectionLostError) and error.outcome == "never-sent":
            self._lose(name, error)
            return True
        return isinstance(error, DrainingError | OutOfMemoryError)

    def _none_left(self) -> ConnectFailedError:
        return ConnectFailedError(f"none of the servers answers: {', '.join(self._servers.names)}")

    def _jobs_lost_on(self, name: str) -> Callable[[list[int]], object] | None:
        def lost(job_ids: list[int]) -> None:
            if self._on_jobs_lost is not None:
                self._on_jobs_lost([PoolId(job_id, name) for job_id in job_ids])

        return None if self._on_jobs_lost is None else lost


_all: weakref.WeakSet[Group[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    """Have pools refuse in a forked process: what waits and looks there is the parent's."""
    for pool in list(_all):
        pool._end = "belongs to the process that this one was forked from"  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
