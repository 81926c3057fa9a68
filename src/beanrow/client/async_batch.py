"""The batch methods and the pipeline of the async client.

Law: as in ``batch.py``, eager and in order; and a window is answered before the next is
drawn, so that a stream of a million items needs the memory of one window and its results.
"""
# ruff: noqa: ASYNC109, D102  (parameters and docstrings are Client's; these stated there, once)

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from beanrow.client.async_speaker import AsyncSpeaker, all_outcomes, lost_as_job
from beanrow.client.batch import MOST_HELD, all_or_error, is_finished, note_tube, put_or_error
from beanrow.client.chores import Chore, drain_tube, kick_all, move
from beanrow.client.connection import UNKNOWN_LIMIT
from beanrow.client.line import Line
from beanrow.client.pipeline import Collected, Item, Progress, Result, is_lost, windows
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError, JobLost
from beanrow.protocol import commands
from beanrow.protocol.commands import BuriedId, Command
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    Job,
    job_id,
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


class AsyncBatches(AsyncSpeaker):
    """The batch methods."""

    __slots__ = ()

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
        used = self._state.used if tube is None else tube
        tube_name(used)
        line = await self._lines.open_main()
        if line.most_body == UNKNOWN_LIMIT:
            await self._ask_limit(line)

        def items() -> Iterator[Item[int]]:
            for body in bodies:
                yield put_or_error(line.most_body, body, self._encoding, (priority, delay, ttr))

        def submit(command: Command[int]) -> asyncio.Future[int]:
            if line.used != used:
                line.choose(used)
            return line.submit(command)

        ids = await _results(submit, items(), progress)
        for one in ids:
            if isinstance(one, BuriedId):
                self._buried(one)
        return all_or_error("put_many", ids)

    @as_client
    async def delete_many(
        self, jobs: Iterable[Job | int], *, progress: Progress | None = None
    ) -> None:
        main = await self._lines.open_main()
        await self._lines.resume_all()
        held_by: dict[Command[None], tuple[int, Line]] = {}

        def items() -> Iterator[Item[None]]:
            for job in jobs:
                try:
                    line, command = self._on_its_line(job, commands.delete(job))
                except BeanstalkError as error:
                    yield error
                    continue
                if line is not None:
                    held_by[command] = (command.job_id, line)
                yield command

        def submit(command: Command[None]) -> Awaitable[None]:
            job_id, line = held_by.pop(command, (0, main))
            sent = line.submit(command)
            return sent if line is main else lost_as_job(line, sent, command, job_id)

        all_or_error("delete_many", await _results(submit, items(), progress))

    @as_client
    async def reserve_many(self, most: int, timeout: Duration = 0) -> list[Job]:
        whole_number(most, "most", MOST_HELD)
        return await self._reserve_in_rounds(timeout, most - 1) if most else []

    @as_client
    def pipeline(self) -> AsyncPipeline:
        return AsyncPipeline(self._run)

    # -- chores -------------------------------------------------------------------

    @as_client
    async def drain_tube(self, tube: str, *, progress: Progress | None = None) -> int:
        tube_name(tube)
        return await self._do(drain_tube(tube, self._state.watched, progress))

    @as_client
    async def kick_all(self, tube: str | None = None) -> int:
        if tube is None:
            tube = self._state.used
        tube_name(tube)
        return await self._do(kick_all(tube))

    @as_client
    async def move(self, job: Job | int, tube: str) -> int:
        tube_name(tube)
        number = job_id(job)
        held = (isinstance(job, Job) and job.holder is not None) or number in self._state.held
        return await self._do(move(job, tube, held=held))

    async def _do(self, chore: Chore[T]) -> T:
        try:
            step = next(chore)
            while True:
                step = chore.send(await self._run(step.commands, step.tube))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # what the chore returns

    # -- pipelines ----------------------------------------------------------------

    async def _run(
        self, pipeline: list[Command[Any]], tube: str | None = None
    ) -> list[Result[Any]]:
        """Carry out a pipeline on a line of its own and give its results."""
        await self._lines.resume_all()
        line = await self._lines.take()
        line.align(self._state)
        used = tube or self._state.used
        if line.used != used:
            line.choose(used)
        try:
            outcomes = await all_outcomes(self._all_sent(line, pipeline))
        except BaseException:
            self._lines.end(line)
            raise
        reserved: dict[int, Job] = {}
        for command, one in zip(pipeline, outcomes, strict=True):
            if isinstance(one, Job) and command.reserves:
                reserved[one.id] = one
            elif isinstance(one, Job):
                self._seen(one)
            elif isinstance(one, BuriedId):
                self._buried(one, depth=3)
            elif command.needs_reservation:
                if is_finished(command, one):
                    reserved.pop(command.job_id, None)  # by the pipeline itself
            elif one is not None and not isinstance(one, BeanstalkError):
                note_tube(line, command, one)
        self._hold(line, list(reserved.values()))
        return outcomes

    def _all_sent(self, line: Line, pipeline: list[Command[Any]]) -> list[Awaitable[Any]]:
        """Send the commands of a pipeline; each waits for those before it, too."""
        sent: list[Awaitable[Any]] = []
        wait = 0.0
        for command in pipeline:
            wait += command.wait
            sent.append(self._sent(line, command, wait))
        return sent

    def _sent(self, line: Line, command: Command[Any], wait: float) -> Awaitable[Any]:
        """Send a command of a pipeline, over the line that holds its job if one does."""
        if command.needs_reservation:
            number = command.job_id
            try:
                holder, ours = self._on_its_line(number, command, keeps=command.name == "touch")
            except JobLost as error:
                refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                refused.set_exception(error)
                return refused
            if holder is not None:
                return lost_as_job(holder, holder.submit(ours), command, number)
        return line.submit(command, wait)


class AsyncPipeline(Collected):
    """Commands that go out together when the ``async with`` block ends without an error.

        async with client.pipeline() as pipe:
            job_id = pipe.add(commands.put(b"hello"))
            stats = pipe.add(commands.stats())
        job_id.result()

    As ``Pipeline``, over a connection of its own.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[list[Command[Any]]], Awaitable[list[Result[Any]]]]) -> None:
        super().__init__()
        self._run = run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pending = self.taken()
        if kind is None and pending:
            outcomes = await self._run([one.command for one in pending])
            for one, outcome in zip(pending, outcomes, strict=True):
                one.settle(outcome)


async def _results(
    submit: Callable[[Command[Any]], Awaitable[Any]],
    items: Iterable[Item[Any]],
    progress: Progress | None,
) -> list[Result[Any]]:
    """Send a stream of commands and give the result of each that was drawn, in their order.

    Nothing is drawn after the main line was lost; a job whose own line is lost is one result.
    """
    results: list[Result[Any]] = []
    for window in windows(items):
        sent = [submit(item) for item in window if isinstance(item, Command)]
        outcomes = iter(await all_outcomes(sent))
        results += [next(outcomes) if isinstance(item, Command) else item for item in window]
        if any(is_lost(one) and not isinstance(one, JobLost) for one in results[-len(window) :]):
            break
        if progress is not None:
            progress(len(results))
    return results
