"""The client for asyncio: the methods of ``Client``, awaited.

Laws:
- All commands of all tasks share one main line and are on their way at once; the used
  tube is chosen in front of a command that depends on it, with no await in between.
- A waiting reserve has a line of its own, since a server hears nothing else on it. Its
  job keeps that line until it is deleted, released, buried or gone; what needs the
  reservation goes over it.
- A caller who gives up, by cancellation or ``asyncio.timeout``, leaves the client as
  usable as before. Only a reserve closes its line then: its job would reach nobody.
- After a lost connection a command is sent again only where doing it twice is doing it
  once; whoever sent another one is told what is known of it. A job whose line is gone
  is lost, and every command that needs the reservation says so.
"""
# ruff: noqa: ASYNC109, D102  (parameters and docstrings are Client's; these stated there, once)

from __future__ import annotations

import asyncio
import inspect
import random
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from beanrow.client.address import Address, read_address
from beanrow.client.async_batch import AsyncBatches, all_outcomes, as_client, lost_as_job
from beanrow.client.connection import UNKNOWN_LIMIT
from beanrow.client.line import Line
from beanrow.client.pipeline import Result
from beanrow.client.state import State
from beanrow.client.sync import _ROUND, _ROUNDS, _text_encoding, _timeout_seconds
from beanrow.errors import (
    BeanstalkSignal,
    BuriedJob,
    ClientClosedError,
    CommandError,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
    JobLost,
    JobTooBigError,
    NotFoundError,
    OutOfMemoryError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import BuriedId, Command
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_TIMEOUT,
    Duration,
    Job,
    body_bytes,
    seconds,
    tube_name,
)

if TYPE_CHECKING:
    from beanrow.client.child import ChildServer

__all__ = ["AsyncClient"]

T = TypeVar("T")

_MOST_IDLE = 32
"""Lines kept for the next reserves; those of more jobs at once are closed after use."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class AsyncClient(AsyncBatches):
    """A client of one Beanstalk server, for asyncio; one for all tasks of a loop.

    ``address``, ``timeout``, ``encoding`` and ``trace`` are those of ``Client``, and so
    are the methods. Many tasks may call them at once: their commands are pipelined on
    one connection. Each waiting ``reserve`` has a connection of its own; watching or
    ignoring a tube holds for the reserves that begin after it.

    Hooks, called in the loop:
    ``on_out_of_memory(error)``: true, or an awaitable of it, sends the refused command
    again, else it raises;
    ``on_buried_job(signal)``: a job that the server had to bury; else ``warnings.warn``;
    ``on_reconnect()``: a new main connection took the place of a lost one, the used tube
    and the watched tubes are restored;
    ``on_jobs_lost(jobs)``: connections that held these reserved jobs are lost, the
    server gives them to the next workers.

    After a lost connection ``use``, ``watch``, ``ignore``, ``reserve``, ``pause_tube``
    and what only looks are sent again until the timeout is used up; every other method
    raises ``ConnectionLostError``, and ``.outcome`` tells what is known of it.
    ``delete``, ``release``, ``bury`` and ``touch`` of a job raise ``JobLost`` when the
    connection that reserved it is gone.
    """

    __slots__ = (
        "__weakref__", "_address", "_closed", "_encoding", "_held", "_idle", "_lines",
        "_lost_jobs", "_main", "_main_lost", "_on_buried_job", "_on_jobs_lost",
        "_on_out_of_memory", "_on_reconnect", "_opening", "_outage", "_starting", "_state",
        "_tasks", "_timeout", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: Duration = 10.0,
        encoding: str = "utf-8",
        trace: bool = False,
        on_out_of_memory: Callable[[OutOfMemoryError], bool | Awaitable[bool]] | None = None,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_reconnect: Callable[[], object] | None = None,
        on_jobs_lost: Callable[[list[Job]], object] | None = None,
    ) -> None:
        self._address = read_address(address)
        self._timeout = _timeout_seconds(timeout)
        self._encoding = _text_encoding(encoding)
        self._trace = trace
        self._on_out_of_memory = on_out_of_memory
        self._on_buried_job = on_buried_job
        self._on_reconnect = on_reconnect
        self._on_jobs_lost = on_jobs_lost
        self._state = State()
        self._main: Line | None = None
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._held: dict[int, Line] = {}
        self._lost_jobs: list[Job] = []
        self._main_lost = False
        self._outage = False
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: asyncio.Task[ChildServer] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._address)!r})"

    # -- opening and closing ------------------------------------------------------

    @as_client
    async def connect(self) -> None:
        if self._main is None:
            await self._open_main()

    @as_client
    async def close(self) -> None:
        await self._close(None)

    @as_client
    async def quit(self) -> None:
        await self._close(commands.quit())

    async def _close(self, farewell: Command[None] | None) -> None:
        self._closed = True
        self._main = None
        self._idle.clear()
        self._held.clear()
        for line in self._lines:
            line.end(farewell)
        self._lines.clear()
        for task in self._tasks:
            task.cancel()
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await asyncio.to_thread(starting.result().close)
        await asyncio.sleep(0)  # for the transports, which close their sockets in the next turn

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- putting ------------------------------------------------------------------

    @as_client
    async def put(
        self,
        body: bytes | str,
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> int:
        if body.__class__ is not bytes:
            body = body_bytes(body, self._encoding)
        command = commands.put(body, priority, delay, ttr)
        line = self._main
        if tube is None:
            tube = self._state.used
        elif line is None or tube != line.used:
            tube_name(tube)  # refused before anything is sent
        if line is None:
            line = await self._open_main()
        if len(body) > line.most_body:
            await self._check_size(line, command, len(body))
        job_id = await self._ask(command, tube)
        if job_id.__class__ is BuriedId:
            self._buried(job_id)
        return job_id

    @as_client
    async def use(self, tube: str) -> str:
        name = await self._ask_safely(commands.use(tube), tube)
        self._state.used = tube
        return name

    # -- reserving ----------------------------------------------------------------

    @overload
    async def reserve(self, timeout: None = None) -> Job: ...
    @overload
    async def reserve(self, timeout: Duration) -> Job | None: ...
    @as_client
    async def reserve(self, timeout: Duration | None = None) -> Job | None:
        jobs = await self._reserve_in_rounds(timeout, 0)
        return jobs[0] if jobs else None

    @as_client
    async def reserve_job(self, job: Job | int) -> Job:
        return (await self._reserve(commands.reserve_job(job)))[0]

    # -- finishing ----------------------------------------------------------------

    @as_client
    async def delete(self, job: Job | int) -> None:
        await self._ask_of(job, commands.delete(job))

    @as_client
    async def release(
        self, job: Job | int, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        released = await self._ask_of(job, commands.release(job, priority, delay))
        if not released:
            self._buried(job.id if isinstance(job, Job) else job)
        return released

    @as_client
    async def bury(self, job: Job | int, *, priority: int = DEFAULT_PRIORITY) -> None:
        await self._ask_of(job, commands.bury(job, priority))

    @as_client
    async def touch(self, job: Job | int) -> None:
        await self._ask_of(job, commands.touch(job), keeps=True)

    # -- watching -----------------------------------------------------------------

    @as_client
    async def watch(self, tube: str) -> int:
        return await self._ask_safely(
            _followed(commands.watch(tube), lambda: self._state.watch(tube))
        )

    @as_client
    async def ignore(self, tube: str) -> int:
        return await self._ask_safely(
            _followed(commands.ignore(tube), lambda: self._state.ignore(tube))
        )

    # -- looking ------------------------------------------------------------------

    @as_client
    async def peek(self, job: Job | int) -> Job:
        return self._seen(await self._ask_safely(commands.peek(job)))

    @as_client
    async def peek_ready(self) -> Job | None:
        return await self._seen_in_used(commands.peek_ready())

    @as_client
    async def peek_delayed(self) -> Job | None:
        return await self._seen_in_used(commands.peek_delayed())

    @as_client
    async def peek_buried(self) -> Job | None:
        return await self._seen_in_used(commands.peek_buried())

    # -- kicking and pausing ------------------------------------------------------

    @as_client
    async def kick(self, bound: int) -> int:
        return await self._ask(commands.kick(bound), self._state.used)

    @as_client
    async def kick_job(self, job: Job | int) -> None:
        await self._ask(commands.kick_job(job))

    @as_client
    async def pause_tube(self, tube: str, delay: Duration) -> None:
        await self._ask_safely(commands.pause_tube(tube, delay))

    # -- counting -----------------------------------------------------------------

    @as_client
    async def stats(self) -> ServerStats:
        return await self._ask_safely(commands.stats())

    @as_client
    async def stats_job(self, job: Job | int) -> JobStats:
        return await self._ask_safely(commands.stats_job(job))

    @as_client
    async def stats_tube(self, tube: str) -> TubeStats:
        return await self._ask_safely(commands.stats_tube(tube))

    @as_client
    async def list_tubes(self) -> list[str]:
        return await self._ask_safely(commands.list_tubes())

    @as_client
    async def list_tube_used(self) -> str:
        return await self._ask_safely(commands.list_tube_used(), self._state.used)

    @as_client
    async def list_tubes_watched(self) -> list[str]:
        return await self._ask_safely(commands.list_tubes_watched())

    # -- commands on the main line ------------------------------------------------

    async def _ask(self, command: Command[T], tube: str | None = None, spent: float = 0) -> T:
        """Send a command and give its answer; with ``tube``, after making that the used one.

        ``spent`` is how much of its time in seconds is used up already.
        """
        while True:
            line = self._main or await self._open_main(spent)
            if tube is not None and tube != line.used:
                if command.name == "use":
                    line.used = tube
                else:
                    line.choose(tube)
            try:
                return await line.submit(command, -spent)
            except OutOfMemoryError as error:
                if not await self._has_memory_again(error):
                    raise

    async def _ask_safely(self, command: Command[T], tube: str | None = None) -> T:
        """Send a command that may be carried out twice, again if the connection is lost."""
        clock = asyncio.get_running_loop().time
        begin, tries = clock(), 0
        while True:
            try:
                return await self._ask(command, tube, clock() - begin if tries else 0)
            except ConnectionLostError as error:
                await self._pause(tries, begin + self._timeout, error)
            tries += 1

    async def _has_memory_again(self, error: OutOfMemoryError) -> bool:
        """Ask the hook whether a command that the server had no memory for is sent again."""
        if self._on_out_of_memory is None:
            return False
        told = self._on_out_of_memory(error)
        return await told if inspect.isawaitable(told) else bool(told)

    async def _check_size(self, line: Line, put: Command[int], size: int) -> None:
        """Refuse a body over the server's limit, after asking for it once a line."""
        await self._ask_limit(line)
        if size > line.most_body:
            raise JobTooBigError(str(put), size, line.most_body)

    async def _ask_limit(self, line: Line) -> None:
        limit = line.limit()
        await asyncio.wait({limit})  # which, unlike await, leaves it to the others if cancelled
        try:
            line.most_body = limit.result()
        except ConnectionLostError as error:
            told = type(error)(f"{error}; the put that it was asked for was not sent")
            told.outcome = "never-sent"
            raise told from error

    async def _main_with_limit(self) -> Line:
        if self._closed:
            raise self._closed_error()
        line = self._main or await self._open_main()
        if line.most_body == UNKNOWN_LIMIT:
            await self._ask_limit(line)
        return line

    def _used_or(self, tube: str | None) -> str:
        return self._state.used if tube is None else tube

    async def _seen_in_used(self, command: Command[Job | None]) -> Job | None:
        job = await self._ask_safely(command, self._state.used)
        return None if job is None else self._seen(job)

    def _seen(self, job: Job) -> Job:
        """Tell a job that was looked at how to read its body."""
        job.encoding = self._encoding
        return job

    def _note_buried(self, job_id: int) -> None:
        if job_id.__class__ is BuriedId:
            self._buried(job_id)

    def _buried(self, job_id: int) -> None:
        signal = BuriedJob(int(job_id))
        if self._on_buried_job is not None:
            self._on_buried_job(signal)
            return
        warnings.warn(signal, stacklevel=3)

    # -- reserved jobs and their lines --------------------------------------------

    async def _reserve_in_rounds(self, timeout: Duration | None, more: int) -> list[Job]:
        """Reserve one job, and ``more`` if they are ready; a lost connection is replaced."""
        clock = asyncio.get_running_loop().time
        left = _ROUND if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = clock() + left
        tries, patience = 0, 0.0
        while True:
            wait = min(left, _ROUND)
            try:
                jobs = await self._reserve(_ROUNDS[wait], wait, more)
            except CommandTimeoutError:
                raise  # it has waited long enough
            except ConnectionLostError as error:
                if tries == 0:
                    patience = clock() + self._timeout
                await self._pause(tries, patience, error)
                tries += 1
            else:
                if jobs or (timeout is not None and wait == left):
                    return jobs
                tries = 0
            if timeout is not None:
                left = max(0, ceil(end - clock()))

    async def _reserve(
        self, command: Command[Job] | Command[Job | None], wait: float = 0, more: int = 0
    ) -> list[Job]:
        """Reserve on a line of its own, which the jobs then keep."""
        while True:
            line = await self._take_line()
            try:
                line.align(self._state.watched)
                jobs = await _reserved(line, command, wait, more)
            except OutOfMemoryError as error:
                self._rest(line)
                if not await self._has_memory_again(error):
                    raise
            except (CommandError, BeanstalkSignal):
                self._rest(line)
                raise
            except BaseException:
                self._end(line)
                raise
            else:
                self._hold(line, jobs)
                return jobs

    async def _run(self, pipeline: list[Command[Any]]) -> list[Result[Any]]:
        line = await self._take_line()
        line.align(self._state.watched)
        if line.used != self._state.used:
            line.choose(self._state.used)
        line.to_be_kept = not any(one.name in {"use", "watch", "ignore"} for one in pipeline)
        sent: list[Awaitable[Any]] = []
        for command in pipeline:
            holder = None
            if command.name in {"delete", "release", "bury", "touch"}:
                job_id = int(str(command).split()[1])
                holder, ours = self._on_its_line(job_id, command, keeps=command.name == "touch")
            if holder is None:
                sent.append(line.submit(command))
            else:
                sent.append(lost_as_job(holder.submit(ours), command, job_id))
        try:
            outcomes = await all_outcomes(sent)
            reserved = [
                one
                for command, one in zip(pipeline, outcomes, strict=True)
                if isinstance(one, Job) and command.name.startswith("reserve")
            ]
            self._hold(line, reserved)
        except BaseException:
            self._end(line)
            raise
        return outcomes

    def _hold(self, line: Line, jobs: list[Job]) -> None:
        """Tie reserved jobs to their line."""
        if self._closed:
            raise self._closed_error()
        if line.closed and jobs:  # between the reply and us
            raise ConnectionLostError(
                f"the connection to {line.peer} broke as job {jobs[0].id} was reserved on it; "
                "the server has put it back"
            )
        for job in jobs:
            job.encoding = self._encoding
            job.holder = line
            line.jobs[job.id] = job
            self._held[job.id] = line
        if not jobs:
            self._rest(line)

    def _let_go(self, line: Line, job_id: int) -> None:
        """Note that a line no longer holds the job of this id."""
        job = line.jobs.pop(job_id, None)
        if job is None:
            return
        job.holder = None
        if self._held.get(job_id) is line:
            del self._held[job_id]
        if not line.jobs:
            self._rest(line)

    def _rest(self, line: Line) -> None:
        """Keep a line for the next reserve."""
        if line.closed:
            return
        if line.to_be_kept and len(self._idle) < _MOST_IDLE:
            self._idle.append(line)
        else:
            self._lines.discard(line)
            line.retire()

    def _end(self, line: Line) -> None:
        self._lines.discard(line)
        line.end()

    async def _ask_of(self, job: Job | int, command: Command[T], *, keeps: bool = False) -> T:
        """Send a command that a reservation is needed for, on the line that has it.

        ``keeps``: the reservation outlasts the command.
        """
        job_id = job.id if isinstance(job, Job) else job
        while True:
            line, ours = self._on_its_line(job, command, keeps=keeps)
            if line is None:
                return await self._ask(command)
            try:
                return await lost_as_job(line.submit(ours), command, job_id)
            except OutOfMemoryError as error:
                if not await self._has_memory_again(error):
                    raise

    def _on_its_line(
        self, job: Job | int, command: Command[T], *, keeps: bool = False
    ) -> tuple[Line | None, Command[T]]:
        """Give the line that holds the job, and the command to be sent on it; or no line.

        JobLost if the job was reserved on a line that is gone.
        """
        if self._closed:
            raise self._closed_error()
        job_id = job.id if isinstance(job, Job) else job
        line = job.holder if isinstance(job, Job) else None
        if not isinstance(line, Line):
            line = self._held.get(job_id)
        if line is None:
            return None, command
        if line.closed:
            raise JobLost(str(command), job_id, "never-sent")
        return line, self._letting_go(line, job_id, command, keeps=keeps)

    def _letting_go(
        self, line: Line, job_id: int, command: Command[T], *, keeps: bool
    ) -> Command[T]:
        """Make the command let go of the job as its reply is read, by a caller who waits or not."""

        def read(_: Command[T], reply: bytes) -> T:
            try:
                value = command.read(command, reply)
            except NotFoundError:
                self._let_go(line, job_id)
                raise
            if not keeps:
                self._let_go(line, job_id)
            return value

        return Command(command.request, read)

    # -- connections --------------------------------------------------------------

    async def _open_main(self, spent: float = 0) -> Line:
        """Open the main line, or wait for whoever is opening it."""
        return await self._within(self._timeout - spent, self._opened_main())

    async def _opened_main(self) -> Line:
        async with self._opening:
            if self._main is not None:
                return self._main
            line = await self._opened()
            line.align(self._state.watched)
            self._main = line
            restored, self._main_lost = self._main_lost, False
        if restored and self._on_reconnect is not None:
            self._on_reconnect()
        return line

    async def _take_line(self) -> Line:
        """Give a line that nobody uses."""
        while not self._idle:
            await self._within(self._timeout, self._open_idle())
        return self._idle.pop()

    async def _open_idle(self) -> None:
        self._idle.append(await self._opened())

    async def _opened(self) -> Line:
        """Open a line; ConnectFailedError if nobody answers."""
        loop, trace = asyncio.get_running_loop(), None
        address = await self._server_address()
        if self._trace:
            from beanrow.client.trace import Trace

            trace = Trace(str(address))
        line = Line(str(address), self._timeout, self._line_lost, trace)
        try:
            if address.path:
                await loop.create_unix_connection(lambda: line, address.path)
            else:
                await loop.create_connection(lambda: line, address.host, address.port)
        except (OSError, UnicodeError) as error:
            raise ConnectFailedError(
                f"cannot connect to {address}: {error}; is a server running there?"
            ) from error
        self._lines.add(line)
        self._outage = False
        return line

    async def _server_address(self) -> Address:
        """Tell where the server is; start it if it is to be a child of ours."""
        if not self._address.embedded:
            return self._address
        if self._starting is None:
            from beanrow.client.child import ChildServer

            self._starting = asyncio.create_task(asyncio.to_thread(ChildServer))
        starting = self._starting
        await asyncio.wait({starting})  # which goes on even if we are cancelled: close ends it
        if starting.exception() is not None and self._starting is starting:
            self._starting = None
        return read_address(starting.result().address)

    def _line_lost(self, line: Line) -> None:
        """Forget a line that broke, and tell whose job it held."""
        self._lines.discard(line)
        self._outage = True
        if line is self._main:
            self._main, self._main_lost = None, True
        elif line in self._idle:
            self._idle.remove(line)
        for job in line.jobs.values():
            if self._held.get(job.id) is line:
                del self._held[job.id]
            if not self._lost_jobs:
                asyncio.get_running_loop().call_soon(self._tell_lost_jobs)
            self._lost_jobs.append(job)

    def _tell_lost_jobs(self) -> None:
        jobs, self._lost_jobs = self._lost_jobs, []
        if self._on_jobs_lost is not None:
            self._on_jobs_lost(jobs)

    # -- time ---------------------------------------------------------------------

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do what takes a while, no longer than this; it ends with its caller and the client."""
        if self._closed:
            work.close()
            raise self._closed_error()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            self._tasks.discard(task)
            late = task.cancel()
            if not late and not task.cancelled():
                task.exception()  # looked at, though perhaps not raised
        if self._closed:
            raise self._closed_error()
        if late:
            raise ConnectFailedError(
                f"{self._address} did not answer within {self._timeout:g} s; nothing was sent"
            )
        return task.result()

    async def _pause(self, tries: int, end: float, error: ConnectionLostError) -> None:
        """Wait before another try, each time longer; raise the error if it would be too late.

        A server that was never there is not waited for, one that went away is.
        """
        if isinstance(error, ConnectFailedError) and not (tries or self._outage):
            raise error
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries) * random.uniform(0.5, 1)
        if asyncio.get_running_loop().time() + pause >= end:
            raise error
        await self._within(pause + self._timeout, asyncio.sleep(pause))

    def _closed_error(self) -> ClientClosedError:
        return ClientClosedError(f"this client of {self._address} was closed; make a new one")


async def _reserved(
    line: Line, command: Command[Job] | Command[Job | None], wait: float, more: int
) -> list[Job]:
    first: Job | None = await line.submit(command, wait)  # type: ignore[arg-type]  # either
    if first is None:
        return []
    at_once = [line.submit(_ROUNDS[0]) for _ in range(more)]
    jobs = [first]
    for one in await asyncio.gather(*at_once, return_exceptions=True):
        if isinstance(one, Job):
            jobs.append(one)
        elif isinstance(one, BaseException) and not isinstance(one, CommandError | BeanstalkSignal):
            raise one
    return jobs


def _followed(command: Command[T], act: Callable[[], object]) -> Command[T]:
    """Make a command do something as soon as its reply is read, by a caller who waits or not."""

    def read(_: Command[T], reply: bytes) -> T:
        value = command.read(command, reply)
        act()
        return value

    return Command(command.request, read)
