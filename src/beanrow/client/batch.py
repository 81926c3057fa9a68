"""The batch methods of a client: many jobs for few round trips.

Law: eager and in order. A method returns when every item has a result; if one is an
error, ``BatchError`` tells all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeVar

from beanrow.client.connection import Connection
from beanrow.client.pipeline import Item, Pipeline, Progress, Result, results
from beanrow.errors import (
    BatchError,
    BeanstalkError,
    DeadlineSoon,
    JobTooBigError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    Job,
    body_bytes,
    whole_number,
)

__all__ = ["Batches"]

T = TypeVar("T")

_MOST_HELD = 1000
"""Jobs that one connection should hold: with 5,000 the daemon takes a third longer for each."""


class Batches(ABC):
    """Batch methods over what a client gives: a connection, and what it makes of results."""

    __slots__ = ()
    _encoding: str

    @abstractmethod
    def _connection_using(self, tube: str | None) -> Connection:
        """Give a connection that uses this tube, or the client's; its limit is known."""

    @abstractmethod
    def _held(self, job: Job) -> Job:
        """Take note of a job that was reserved."""

    @abstractmethod
    def _note_buried(self, job_id: int) -> None:
        """Signal a job that the server buried, if it did."""

    @abstractmethod
    def reserve(self, timeout: Duration) -> Job | None:
        """Wait for a job."""

    def put_many(
        self,
        bodies: Iterable[bytes | str],
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
        progress: Progress | None = None,
    ) -> list[int]:
        """Put many jobs, as ``put`` does one; gives their ids in order.

        ``bodies`` is drawn as they go out, some hundred ahead: an iterator of millions
        takes no memory but that of the ids. ``progress`` is called now and then with the
        number of jobs done. BatchError if any of them was not put.
        """
        commands.put(b"", priority, delay, ttr)  # refused before anything is sent
        connection = self._connection_using(tube)

        def items() -> Iterator[Item[int]]:
            for body in bodies:
                yield self._put_or_error(connection.most_body, body, priority, delay, ttr)

        ids = list(results(connection, items(), progress))
        for one in ids:
            if isinstance(one, int):
                self._note_buried(one)
        return _all_or_error("put_many", ids)

    def _put_or_error(
        self, limit: int, body: bytes | str, priority: int, delay: Duration, ttr: Duration
    ) -> Item[int]:
        try:
            body = body_bytes(body, self._encoding)
        except BeanstalkError as error:
            return error
        command = commands.put(body, priority, delay, ttr)
        return command if len(body) <= limit else JobTooBigError(str(command), len(body), limit)

    def delete_many(self, jobs: Iterable[Job | int], *, progress: Progress | None = None) -> None:
        """Delete many jobs, as ``delete`` does one; BatchError if any of them was not."""
        _all_or_error(
            "delete_many",
            list(results(self._connection_using(None), map(_delete_or_error, jobs), progress)),
        )

    def reserve_many(self, most: int, timeout: Duration = 0) -> list[Job]:
        """Reserve up to ``most`` (1 to 1,000) jobs: one as ``reserve`` does, more if ready.

        Gives those there were: none after ``timeout`` seconds without a job. The ttr of each
        runs from now: the last must be finished within it too.
        """
        whole_number(most, "most", _MOST_HELD)
        first = self.reserve(timeout) if most else None
        if first is None:
            return []
        jobs = [first]
        more: list[Command[Job | None]] = [commands.reserve_with_timeout(0)] * (most - 1)
        for one in results(self._connection_using(None), more):
            if isinstance(one, Job):
                jobs.append(self._held(one))
            elif isinstance(one, BeanstalkError) and not isinstance(one, DeadlineSoon):
                raise one
        return jobs

    def pipeline(self) -> Pipeline:
        """Collect commands in a ``with`` block and send them together at its end."""
        return Pipeline(lambda: self._connection_using(None))


def _delete_or_error(job: Job | int) -> Item[None]:
    try:
        return commands.delete(job)
    except BeanstalkError as error:
        return error


def _all_or_error(what: str, outcomes: list[Result[T]]) -> list[T]:
    if any(isinstance(one, BeanstalkError) for one in outcomes):
        raise BatchError(what, outcomes)
    return outcomes  # type: ignore[return-value]  # none is an error: the lines above
