"""What all methods of the async client stand on: how a command reaches a line, and its fate.

Laws:
- The used tube is chosen in front of a command that depends on it, with no await in
  between. A command lost under way is sent again only where doing it twice is doing it
  once, and until its time is used up.
- A waiting reserve has a line of its own, and its jobs keep it until they are finished.
  What needs the reservation goes over that line; when it is gone, over none.
- A caller who gives up leaves everything as it was. Only a reserve closes its line then:
  its job would reach nobody.
"""
# ruff: noqa: ASYNC109  (the parameter is Client's)

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.client.address import read_address
from beanrow.client.async_lines import Lines
from beanrow.client.connection import UNKNOWN_LIMIT
from beanrow.client.line import Line
from beanrow.client.offered import ASKED, refuse_missing
from beanrow.client.patience import Patience
from beanrow.client.pipeline import Result
from beanrow.client.speaker import RESERVES, ROUND, text_encoding, timeout_seconds
from beanrow.client.state import BROKE, State, grace_seconds, holder_now
from beanrow.errors import (
    BatchError,
    BeanstalkError,
    BeanstalkSignal,
    BuriedJob,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    JobLost,
    JobTooBigError,
    NotFoundError,
    Outcome,
    OutOfMemoryError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_reserve
from beanrow.protocol.values import DEFAULT_ENCODING, MAX_TIMEOUT, Duration, Job, seconds

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncSpeaker", "all_outcomes", "lost_as_job"]

_NEXT = 0
"""No job's id: what a line holds that waits for its next job while the last one is deleted."""

T = TypeVar("T")


class AsyncSpeaker:
    """A client's settings, its lines, and the ways to say something over them."""

    __slots__ = (
        "__weakref__", "_address", "_encoding", "_lines", "_on_buried_job", "_on_out_of_memory",
        "_state", "_timeout",
    )  # fmt: skip

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: Duration = 10.0,
        encoding: str = DEFAULT_ENCODING,
        session: Duration = 0,
        tls: ssl.SSLContext | None = None,
        trace: bool = False,
        on_out_of_memory: Callable[[OutOfMemoryError], bool | Awaitable[bool]] | None = None,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_reconnect: Callable[[], object] | None = None,
        on_jobs_lost: Callable[[list[int]], object] | None = None,
    ) -> None:
        self._address = read_address(address)
        self._timeout = timeout_seconds(timeout)
        self._encoding = text_encoding(encoding)
        self._on_out_of_memory = on_out_of_memory
        self._on_buried_job = on_buried_job
        self._state = State(grace_seconds(session))
        self._lines = Lines(
            self._address, self._state, self._timeout, tls, trace, on_reconnect, on_jobs_lost
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r})"

    # -- commands on the main line ------------------------------------------------

    async def _ask(self, command: Command[T], tube: str | None = None, *, word: str = "") -> T:
        """Send a command and give its answer; with ``tube``, after making that the used one.

        ``word``: after switching that word of an extension on. Again after a lost connection, if the command may be repeated.
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        try:
            return await self._say(command, tube, word=word)
        except ConnectionLostError as error:
            if not command.may_be_repeated:
                raise
            lost = error
        patience = Patience(begin + self._timeout)
        while True:
            await self._pause(patience, lost)
            try:
                return await self._say(command, tube, clock() - begin, word=word)
            except ConnectionLostError as error:
                lost = error

    async def _say(
        self, command: Command[T], tube: str | None = None, spent: float = 0.0, *, word: str = ""
    ) -> T:
        """Send a command once and give its answer.

        ``spent`` is how much of its time in seconds is used up already.
        """
        while True:
            line = self._lines.main or await self._lines.open_main(spent)
            if word:
                words = await _words_of(line, spent)
                refuse_missing(word, words, command.request, line.peer)
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

    async def _known_words(self) -> frozenset[str]:
        """Ask for the words of extensions, now and over every line."""
        words = await self._ask(ASKED)
        self._state.ask()
        if self._lines.main is not None:
            self._lines.main.words = words
        return words

    async def _pause(self, patience: Patience, error: ConnectionLostError) -> None:
        now = asyncio.get_running_loop().time()
        pause = patience.pause(error, now, outage=self._lines.outage)
        await self._lines.within(pause + self._timeout, asyncio.sleep(pause))

    async def _has_memory_again(self, error: OutOfMemoryError) -> bool:
        """Ask the hook whether a command that the server had no memory for is sent again."""
        if self._on_out_of_memory is None:
            return False
        told = self._on_out_of_memory(error)
        return await told if inspect.isawaitable(told) else bool(told)

    # -- reserving ----------------------------------------------------------------

    async def _reserve_in_rounds(self, timeout: Duration | None, more: int = 0) -> list[Job]:
        """Reserve one job, and ``more`` if they are ready; a lost connection is replaced."""
        clock = asyncio.get_running_loop().time
        left = None if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = 0.0 if left is None else clock() + left
        patience: Patience | None = None
        while True:
            wait = ROUND if left is None else min(left, ROUND)
            command = Command(RESERVES[wait], read_reserve)
            try:
                jobs = await self._reserve(command, wait, more)
            except CommandTimeoutError:
                raise  # it has waited long enough
            except ConnectionLostError as error:
                patience = patience or Patience(clock() + self._timeout)
                await self._pause(patience, error)
            else:
                if jobs or wait == left:
                    return jobs
                patience = None
            if left is not None:
                left = max(0, ceil(end - clock()))

    async def _reserve(
        self, command: Command[Job] | Command[Job | None], wait: float = 0, more: int = 0
    ) -> list[Job]:
        """Reserve on a line of its own, which the jobs then keep."""
        while True:
            line = await self._lines.take()
            try:
                line.align(self._state)
                jobs = await _reserved(line, command, wait, more)
            except OutOfMemoryError as error:
                self._lines.rest(line)
                if not await self._has_memory_again(error):
                    raise
            except (CommandError, BeanstalkSignal):
                self._lines.rest(line)
                raise
            except BaseException:
                self._lines.end(line)
                raise
            else:
                if line.closed and jobs:  # between the reply and us
                    raise ConnectionLostError(
                        f"the connection to {line.peer} broke as job {jobs[0].id} was reserved on "
                        "it; the server has put it back"
                    )
                self._hold(line, jobs)
                return jobs

    async def _delete_then_reserve(self, job: Job | int, timeout: Duration | None) -> Job | None:
        """Delete a job and reserve the next one on its line, in one write if that is all it holds."""
        left = ROUND if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        command = commands.delete(job)
        await self._resume_line_of(job)
        line, delete = self._on_its_line(job, command)
        if line is None or len(line.jobs) > 1 or left > ROUND:
            refused, found = await self._one_after_the_other(job, command, timeout)
        else:
            refused, found = await self._in_one_write(line, delete, left)
            if isinstance(refused, ConnectionLostError):
                if not line.token:
                    raise self._lost(command, _id_of(job), refused.outcome) from refused
                await self._go_on_after(refused, line, command)
                return await self._delete_then_reserve(job, timeout)
        if refused is not None or isinstance(found, BeanstalkError):
            raise BatchError("delete_and_reserve", [refused, found])
        if found is None and timeout is None:
            found = (await self._reserve_in_rounds(None))[0]
        return found

    async def _one_after_the_other(
        self, job: Job | int, command: Command[None], timeout: Duration | None
    ) -> tuple[BeanstalkError | None, Job | BeanstalkError | None]:
        refused: BeanstalkError | None = None
        try:
            await self._ask_of(job, command)
        except CommandError as error:
            refused = error
        try:
            jobs = await self._reserve_in_rounds(timeout)
        except CommandError as error:
            return refused, error
        return refused, jobs[0] if jobs else None

    async def _in_one_write(
        self, line: Line, delete: Command[None], wait: int
    ) -> tuple[BeanstalkError | None, Job | BeanstalkError | None]:
        line.jobs.add(_NEXT)
        try:
            line.align(self._state)
            sent = line.submit(delete), line.submit_request(RESERVES[wait], read_reserve, wait)
            refused, found = await all_outcomes(sent)
        except BaseException:
            self._lines.end(line)
            raise
        finally:
            line.jobs.discard(_NEXT)
        if isinstance(found, Job):
            self._hold(line, [found])  # or tell that it is lost: the line may have broken since
        elif not line.closed:
            self._hold(line, [])
        return refused, found

    def _hold(self, line: Line, jobs: list[Job]) -> None:
        """Tie reserved jobs to their line; if that is closed by now, they are lost."""
        self._lines.check_open()
        for job in jobs:
            self._state.hold(job, line, self._encoding)
            line.jobs.add(job.id)
        self._state.trim()
        if line.closed:
            self._lines.tell_lost(line)
        elif not jobs:
            self._lines.rest(line)

    # -- commands on reserved jobs ------------------------------------------------

    async def _ask_of(self, job: Job | int, command: Command[T], *, keeps: bool = False) -> T:
        """Send a command that a reservation is needed for, on the line that has it.

        ``keeps``: the reservation outlasts the command.
        """
        while True:
            await self._resume_line_of(job)
            line, ours = self._on_its_line(job, command, keeps=keeps)
            if line is None:
                return await self._say(command)
            try:
                return await lost_as_job(line, line.submit(ours), command, _id_of(job))
            except OutOfMemoryError as error:
                if not await self._has_memory_again(error):
                    raise
            except ConnectionLostError as error:
                if isinstance(error, JobLost):
                    raise
                await self._go_on_after(error, line, command)

    async def _go_on_after(
        self, error: ConnectionLostError, line: Line, command: Command[Any]
    ) -> None:
        """Go on with the session of a line that broke under a command on a job, if there is time.

        JobLost if the job is not held any more; else the command was not carried out.
        """
        if isinstance(error, CommandTimeoutError):
            raise error
        try:
            await self._lines.resume(line)
        except ConnectionLostError as failed:
            raise error from failed  # the session may still be gone on with
        if holder_now(line, command.job_id) is line:
            raise self._lost(command, command.job_id, error.outcome) from error

    def _lost(self, command: Command[Any], job_id: int, outcome: Outcome) -> JobLost:
        return JobLost(str(command), job_id, outcome, self._state.lost.get(job_id, BROKE))

    async def _resume_line_of(self, job: Job | int) -> None:
        """Go on with the session of the line that holds a job, if that line broke."""
        while True:  # its heir may break too, before it was of use
            line = self._state.held.get(_id_of(job))
            if not (isinstance(line, Line) and line.closed and line.token):
                return
            await self._lines.resume(line)

    def _on_its_line(
        self, job: Job | int, command: Command[T], *, keeps: bool = False
    ) -> tuple[Line | None, Command[T]]:
        """Give the line that holds the job, and the command to be sent on it; or no line.

        JobLost if the job was reserved on a line that is gone.
        """
        self._lines.check_open()
        job_id = _id_of(job)
        line = job.holder if isinstance(job, Job) else None
        if isinstance(line, Line):
            line = holder_now(line, job_id)
        else:
            line = self._state.held.get(job_id)
        if not isinstance(line, Line):
            self._state.refuse_lost(job_id, str(command))
            return None, command
        if line.closed and line.token and self._state.held.get(job_id) is line:
            raise ConnectionLostError(
                f"the connection to {line.peer} broke before {command}; it was not sent, and its "
                "session goes on",
                "never-sent",
            )
        if line.closed:
            raise self._lost(command, job_id, "never-sent")
        return line, self._letting_go(line, job, command, keeps=keeps)

    def _letting_go(
        self, line: Line, job: Job | int, command: Command[T], *, keeps: bool
    ) -> Command[T]:
        """Make the command let go of the job as its reply is read, by a caller who waits or not."""

        def let_go() -> None:
            if isinstance(job, Job):
                job.holder = None
            line.owner.let_go(line, _id_of(job))

        def read(request: bytes, reply: bytes) -> T:
            try:
                value = command.read(request, reply)
            except NotFoundError:
                let_go()
                raise
            if not keeps:
                let_go()
            return value

        return Command(command.request, read)

    def _seen(self, job: Job) -> Job:
        """Tell a job that was looked at how to read its body."""
        job.encoding = self._encoding
        return job

    # -- what a server takes and buries -------------------------------------------

    async def _check_size(self, put: Command[int], size: int) -> None:
        """Refuse a body over the server's limit, after asking for it once a line."""
        line = self._lines.main or await self._lines.open_main()
        if line.most_body == UNKNOWN_LIMIT:
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

    def _buried(self, job_id: int, depth: int = 2) -> None:
        """Signal a buried job; ``depth`` counts the frames from here to the caller's."""
        signal = BuriedJob(int(job_id))
        if self._on_buried_job is not None:
            self._on_buried_job(signal)
            return
        warnings.warn(signal, stacklevel=depth + 1)


async def _words_of(line: Line, spent: float) -> frozenset[str]:
    """Give the words of extensions that are known over a line; asks once."""
    if line.words is None:
        line.words = await line.submit(ASKED, -spent)
    return line.words


async def lost_as_job(line: Line, sent: Awaitable[T], command: Command[T], job_id: int) -> T:
    """Await the answer on a job's line: if that is lost, and its session, so is the job."""
    try:
        return await sent
    except ConnectionLostError as error:
        if line.token:
            raise
        raise JobLost(str(command), job_id, error.outcome, BROKE) from error


async def all_outcomes(sent: Iterable[Awaitable[Any]]) -> list[Result[Any]]:
    """Await them all; an error of beanrow is an outcome."""
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    for one in outcomes:
        if isinstance(one, BaseException) and not isinstance(one, BeanstalkError):
            raise one
    return outcomes


async def _reserved(
    line: Line, command: Command[Job] | Command[Job | None], wait: float, more: int
) -> list[Job]:
    first: Job | None = await line.submit(command, wait)  # type: ignore[arg-type]  # either
    if first is None:
        return []
    at_once = [line.submit(Command(RESERVES[0], read_reserve)) for _ in range(more)]
    jobs = [first]
    for one in await asyncio.gather(*at_once, return_exceptions=True):
        if isinstance(one, Job):
            jobs.append(one)
        elif isinstance(one, BaseException) and not isinstance(one, CommandError | BeanstalkSignal):
            raise one
    return jobs


def _id_of(job: Job | int) -> int:
    return job.id if isinstance(job, Job) else job
