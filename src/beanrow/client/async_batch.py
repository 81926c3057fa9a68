"""The batch methods and the pipeline of the async client.

Law: as in ``batch.py``, eager and in order; and a window is answered before the next is
drawn, so that a stream of a million items needs the memory of one window and its results.
"""
# ruff: noqa: ASYNC109, D102  (parameters and docstrings are Client's; these stated there, once)

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from beanrow.client.batch import _MOST_HELD, _all_or_error
from beanrow.client.line import Line
from beanrow.client.pipeline import Item, Pending, Progress, Result, _windows
from beanrow.client.sync import Client
from beanrow.errors import (
    BeanstalkError,
    ClientClosedError,
    ConnectionLostError,
    JobLost,
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
    tube_name,
    whole_number,
)

__all__ = ["AsyncBatches", "AsyncPipeline", "as_client"]

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])


def as_client(method: Method) -> Method:
    """Give a method the docstring of Client's method of the same name."""
    method.__doc__ = getattr(Client, method.__name__).__doc__
    return method


class AsyncBatches(ABC):
    """Batch methods over what a client gives: its lines, and what it makes of results."""

    __slots__ = ()
    _encoding: str

    @abstractmethod
    async def _main_with_limit(self) -> Line:
        """Give the main line; its limit is known."""

    @abstractmethod
    def _used_or(self, tube: str | None) -> str:
        """Give this tube, or the client's."""

    @abstractmethod
    def _on_its_line(
        self, job: Job | int, command: Command[T], *, keeps: bool = False
    ) -> tuple[Line | None, Command[T]]:
        """Give the line that holds the job, and the command to be sent on it."""

    @abstractmethod
    def _note_buried(self, job_id: int) -> None:
        """Signal a job that the server buried, if it did."""

    @abstractmethod
    async def _reserve_in_rounds(self, timeout: Duration | None, more: int) -> list[Job]:
        """Reserve one job, and ``more`` if they are ready."""

    @abstractmethod
    async def _run(self, pipeline: list[Command[Any]]) -> list[Result[Any]]:
        """Carry out a pipeline and give its results."""

    @as_client
    async def put_many(
        self,
        bodies: Iterable[bytes | str],
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
        progress: Progress | None = None,
    ) -> list[int]:
        commands.put(b"", priority, delay, ttr)  # refused before anything is sent
        if tube is not None:
            tube_name(tube)
        line = await self._main_with_limit()
        used = self._used_or(tube)

        def items() -> Iterator[Item[int]]:
            for body in bodies:
                yield _put_or_error(line.most_body, body, self._encoding, (priority, delay, ttr))

        def submit(command: Command[int]) -> asyncio.Future[int]:
            if line.used != used:
                line.choose(used)
            return line.submit(command)

        ids = await _results(submit, items(), progress)
        for one in ids:
            if isinstance(one, int):
                self._note_buried(one)
        return _all_or_error("put_many", ids)

    @as_client
    async def delete_many(
        self, jobs: Iterable[Job | int], *, progress: Progress | None = None
    ) -> None:
        main = await self._main_with_limit()
        held_by: dict[Command[None], tuple[int, Line]] = {}

        def items() -> Iterator[Item[None]]:
            for job in jobs:
                try:
                    line, command = self._on_its_line(job, commands.delete(job))
                except BeanstalkError as error:
                    yield error
                    continue
                if line is not None:
                    held_by[command] = (job.id if isinstance(job, Job) else job, line)
                yield command

        def submit(command: Command[None]) -> Awaitable[None]:
            job_id, line = held_by.pop(command, (0, main))
            sent = line.submit(command)
            return sent if line is main else lost_as_job(sent, command, job_id)

        _all_or_error("delete_many", await _results(submit, items(), progress))

    @as_client
    async def reserve_many(self, most: int, timeout: Duration = 0) -> list[Job]:
        whole_number(most, "most", _MOST_HELD)
        return await self._reserve_in_rounds(timeout, most - 1) if most else []

    @as_client
    def pipeline(self) -> AsyncPipeline:
        return AsyncPipeline(self._run)


class AsyncPipeline:
    """Commands that go out together when the ``async with`` block ends without an error.

        async with client.pipeline() as pipe:
            job_id = pipe.add(commands.put(b"hello"))
            stats = pipe.add(commands.stats())
        job_id.result()

    Each has a result of its own: leaving the block raises for none of them. They go over
    a connection of their own, in their order, but those that need the reservation of a
    job held already go over the job's. Tubes that they use, watch or ignore hold for the
    commands behind them and no longer.
    """

    __slots__ = ("_pending", "_run")

    def __init__(self, run: Callable[[list[Command[Any]]], Awaitable[list[Result[Any]]]]) -> None:
        self._run = run
        self._pending: list[Pending[Any]] = []

    def add(self, command: Command[T]) -> Pending[T]:
        """Have this command (``beanrow.protocol.commands``) sent with the others."""
        pending = Pending(command)
        self._pending.append(pending)
        return pending

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._pending:
            pending, self._pending = self._pending, []
            outcomes = await self._run([one.command for one in pending])
            for one, outcome in zip(pending, outcomes, strict=True):
                one.settle(outcome)


async def lost_as_job(sent: Awaitable[T], command: Command[T], job_id: int) -> T:
    """Await the answer on a job's line: if that is lost, so is the job."""
    try:
        return await sent
    except ConnectionLostError as error:
        raise JobLost(str(command), job_id, error.outcome) from error


async def all_outcomes(sent: Iterable[Awaitable[Any]]) -> list[Result[Any]]:
    """Await them all; an error of beanrow is an outcome."""
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    for one in outcomes:
        if isinstance(one, BaseException) and not isinstance(one, BeanstalkError):
            raise one
    return outcomes


async def _results(
    submit: Callable[[Command[Any]], Awaitable[Any]],
    items: Iterable[Item[Any]],
    progress: Progress | None,
) -> list[Result[Any]]:
    """Send a stream of commands and give the result of each that was drawn, in their order.

    Nothing is drawn after the main line was lost; a job whose own line is lost is one result.
    """
    results: list[Result[Any]] = []
    lost = (ConnectionLostError, ClientClosedError)
    for window in _windows(items):
        sent = [submit(item) for item in window if isinstance(item, Command)]
        outcomes = iter(await all_outcomes(sent))
        results += [next(outcomes) if isinstance(item, Command) else item for item in window]
        if any(
            isinstance(one, lost) and not isinstance(one, JobLost)
            for one in results[-len(window) :]
        ):
            break
        if progress is not None:
            progress(len(results))
    return results


def _put_or_error(
    limit: int, body: bytes | str, encoding: str, terms: tuple[int, Duration, Duration]
) -> Item[int]:
    try:
        body = body_bytes(body, encoding)
    except BeanstalkError as error:
        return error
    command = commands.put(body, *terms)
    return command if len(body) <= limit else JobTooBigError(str(command), len(body), limit)
