"""The batch methods of a client: many jobs for few round trips.

Laws:
- Eager and in order. A method returns when every item has a result; if one is an error,
  ``BatchError`` tells all of them.
- After a lost connection nothing more is drawn and nothing is sent again: its error
  tells what is known of each item it was lost under.
- What needs the reservation of a job goes over the connection that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from beanrow.client.chores import Chore, drain_tube, kick_all, move
from beanrow.client.connection import Connection, Heard, StaleConnection
from beanrow.client.pipeline import Item, Pipeline, Progress, Result, is_lost, windows
from beanrow.client.speaker import Speaker
from beanrow.client.state import BROKE, NEEDS_RESERVATION
from beanrow.errors import (
    BatchError,
    BeanstalkError,
    ClientClosedError,
    ConnectionLostError,
    JobLost,
    JobTooBigError,
    NotFoundError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import BuriedId, Command, Reader
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    Job,
    body_bytes,
    job_id,
    tube_name,
    whole_number,
)

__all__ = ["MOST_HELD", "Batches", "all_or_error", "job_id_of", "note_tube", "put_or_error"]

T = TypeVar("T")

MOST_HELD = 1000
"""Jobs that one connection should hold: with 5,000 the daemon takes a third longer for each."""


class _Routed(Command[T]):
    """A command that goes over the connection that holds its job."""

    __slots__ = ("holder",)

    def __init__(self, request: bytes, read: Reader[T], holder: Connection) -> None:
        super().__init__(request, read)
        self.holder = holder


class Batches(Speaker):
    """The batch methods."""

    __slots__ = ()

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
        """Put many jobs with the same settings; gives their ids, in order.

        ``bodies`` may be of any length and is drawn bit by bit: what is kept are the ids.
        ``progress(count)`` is called every few hundred jobs. BatchError if any of them
        was not stored, with a result for each that was drawn.
        """
        terms = (priority, delay, ttr)
        commands.put(b"", *terms)  # refused before anything is sent
        if tube is None:
            tube = self._state.used
        tube_name(tube)
        limit = self._known_limit()
        items = (put_or_error(limit, body, self._encoding, terms) for body in bodies)
        ids = list(self._results(items, tube, progress))
        for one in ids:
            if isinstance(one, BuriedId):
                self._buried(one)
        return all_or_error("put_many", ids)

    def delete_many(self, jobs: Iterable[Job | int], *, progress: Progress | None = None) -> None:
        """Delete many jobs, as ``delete`` does one; BatchError if any of them was not."""
        items = (self._delete_or_error(job) for job in jobs)
        all_or_error("delete_many", list(self._results(items, self._state.used, progress)))

    def _delete_or_error(self, job: Job | int) -> Item[None]:
        try:
            return self._routed(job, commands.delete(job))
        except BeanstalkError as error:
            return error

    def reserve_many(self, most: int, timeout: Duration = 0) -> list[Job]:
        """Reserve up to ``most`` (at most 1,000) jobs: one as ``reserve`` does, more if ready.

        Gives those there were: none after ``timeout`` seconds without a job. The ttr of each
        runs from now: the last must be finished within it too.
        """
        whole_number(most, "most", MOST_HELD)
        first = self._reserve_in_rounds(timeout) if most else None
        if first is None:
            return []
        jobs = [first]
        more: list[Command[Job | None]] = [commands.reserve_with_timeout(0)] * (most - 1)
        for one in self._results(more, self._state.used):
            if isinstance(one, Job):
                jobs.append(self._held(one))
            elif is_lost(one):
                raise one
        return jobs

    def pipeline(self) -> Pipeline:
        """Collect commands in a ``with`` block and send them together at its end."""
        return Pipeline(self._run)

    # -- chores -------------------------------------------------------------------

    def drain_tube(self, tube: str, *, progress: Progress | None = None) -> int:
        """Delete every job of a tube that is not reserved; gives how many it were.

        It ends when as many are deleted as there were at its start: jobs put meanwhile
        may be among them, or may be left. Ready jobs are reserved and deleted by the
        hundred, and count as reserved in the statistics; delayed and buried ones, and all
        of a paused tube, cost a round trip each. ``progress(count)`` is called after each.
        """
        tube_name(tube)
        return self._do(drain_tube(tube, self._state.watched, progress))

    def kick_all(self, tube: str | None = None) -> int:
        """Make every buried job of ``tube``, or of the used tube, ready; gives how many it were.

        Delayed jobs stay as they are. ``kick`` takes those where it finds none buried,
        and so this costs a round trip for each job unless the tube has no delayed ones.
        """
        if tube is None:
            tube = self._state.used
        tube_name(tube)
        return self._do(kick_all(tube))

    def move(self, job: Job | int, tube: str) -> int:
        """Put a job into another tube and delete it from its own; gives its new id.

        Body, priority, ttr and what is left of a delay go with it; its age and its counts
        begin anew, and one that was buried is ready there. The job must not be reserved
        by others (NotFoundError). Three or four round trips; if the connection is lost
        between the last two, the job is in both tubes, and the error says so.
        """
        tube_name(tube)
        number = job_id(job)
        held = (isinstance(job, Job) and job.holder is not None) or number in self._state.held
        return self._do(move(job, tube, held=held))

    def _do(self, chore: Chore[T]) -> T:
        try:
            step = next(chore)
            while True:
                step = chore.send(self._run(step.commands, step.tube))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # what the chore returns

    # -- windows ------------------------------------------------------------------

    def _results(
        self, items: Iterable[Item[Any]], tube: str, progress: Progress | None = None
    ) -> Iterator[Result[Any]]:
        """Send a stream of commands and give the result of each, in their order.

        Ends early, after the results of a window under which this thread's connection
        was lost.
        """
        done = 0
        for window in windows(items):
            results = self._window(window, tube)
            yield from results
            if any(is_lost(one) and not isinstance(one, JobLost) for one in results):
                return
            done += len(window)
            if progress is not None:
                progress(done)

    def _window(self, window: list[Item[Any]], tube: str) -> list[Result[Any]]:
        groups: dict[Connection | None, list[Command[Any]]] = {}
        for item in window:
            if isinstance(item, Command):
                holder = item.holder if isinstance(item, _Routed) else None
                groups.setdefault(holder, []).append(item)
        answers = {
            holder: iter(self._answers(holder, group, tube)) for holder, group in groups.items()
        }
        return [
            next(answers[item.holder if isinstance(item, _Routed) else None])
            if isinstance(item, Command)
            else item
            for item in window
        ]

    def _answers(
        self, holder: Connection | None, group: list[Command[Any]], tube: str
    ) -> list[Result[Any]]:
        """Say commands over the connection of their jobs, or over this thread's."""
        connection = holder
        try:
            if connection is None:
                connection, heard = self._exchange(group, tube)
            else:
                heard = connection.exchange(group)
        except (ConnectionLostError, ClientClosedError) as error:
            heard = [error] * len(group)
        if connection is None:
            return heard
        answers = [connection.result(one, reply) for one, reply in zip(group, heard, strict=True)]
        if holder is None:
            return answers
        return [_settled(one, holder, answer) for one, answer in zip(group, answers, strict=True)]

    def _exchange(self, sent: list[Command[Any]], tube: str) -> tuple[Connection, list[Heard]]:
        """Say commands over this thread's connection, or over a new one if it had ended."""
        connection = self._own(tube)
        try:
            return connection, connection.exchange(sent)
        except StaleConnection:
            connection = self._own(tube)
            return connection, connection.exchange(sent)

    def _own(self, tube: str) -> Connection:
        """Give this thread's connection; it uses this tube and watches what the client does."""
        connection = self._connections.get()
        if connection.used != tube:
            self._ask(commands.use(tube))
            connection = self._connections.get()
            connection.used = tube
        if connection.watched is not self._state.watched:
            self._connections.align(connection)
        return connection

    def _routed(self, job: Job | int, command: Command[T]) -> Command[T]:
        """Have a command go over the connection that holds its job; JobLost if that is no more."""
        holder = self._holder(job, command.request)
        return command if holder is None else _Routed(command.request, command.read, holder)

    # -- pipelines ----------------------------------------------------------------

    def _run(self, pipeline: list[Command[Any]], tube: str | None = None) -> list[Result[Any]]:
        """Carry out a pipeline and give its results; with ``tube``, while that is used."""
        items: list[Item[Any]] = []
        for command in pipeline:
            try:
                needs = command.name in NEEDS_RESERVATION
                items.append(self._routed(job_id_of(command), command) if needs else command)
            except JobLost as error:
                items.append(error)
        results = list(self._results(items, tube or self._state.used))
        lost = next((one for one in results if is_lost(one)), None)
        results += [_not_reached(command, lost) for command in pipeline[len(results) :]]
        for command, result in zip(pipeline, results, strict=True):
            self._note(command, result)
        return results

    def _note(self, command: Command[Any], result: Result[Any]) -> None:
        """Take note of what a command of a pipeline did to this thread's connection."""
        connection = self._mine.connection
        if connection is None or isinstance(result, BeanstalkError):
            return
        if isinstance(result, Job):
            if command.name.startswith("reserve"):
                self._held(result)
            else:
                self._seen(result)
        elif isinstance(result, BuriedId):
            self._buried(result, depth=4)
        else:
            note_tube(connection, command)


class HasTubes(Protocol):
    """A connection: the tubes that the server has it use and watch."""

    used: str
    watched: tuple[str, ...]


def note_tube(connection: HasTubes, command: Command[Any]) -> None:
    """Take note of a command that may have changed the tubes of a connection."""
    word, _, tube = str(command).partition(" ")
    if word == "use":
        connection.used = tube
    elif word == "watch" and tube not in connection.watched:
        connection.watched += (tube,)
    elif word == "ignore":
        connection.watched = tuple(one for one in connection.watched if one != tube)


def job_id_of(command: Command[Any]) -> int:
    """Read the id in a command that begins with one."""
    return int(command.request.split(b" ", 2)[1])


def _settled(command: Command[Any], holder: Connection, result: Result[T]) -> Result[T]:
    """Take note of what became of a job that a connection held, or of its loss."""
    job_id = job_id_of(command)
    if is_lost(result) and holder.closed:
        why = holder.state.lost.get(job_id, BROKE)
        lost = JobLost(str(command), job_id, getattr(result, "outcome", "never-sent"), why)
        lost.__cause__ = result if isinstance(result, BaseException) else None
        return lost
    if isinstance(result, NotFoundError) or not (
        isinstance(result, BeanstalkError) or command.name == "touch"
    ):
        holder.state.held.pop(job_id, None)
    return result


def _not_reached(command: Command[Any], lost: Result[Any]) -> ConnectionLostError:
    return ConnectionLostError(
        f"{command}: it was not sent: a command before it failed with: {lost}", "never-sent"
    )


def put_or_error(
    limit: int, body: bytes | str, encoding: str, terms: tuple[int, Duration, Duration]
) -> Item[int]:
    """Make the command that puts this body, or tell why there can be none."""
    try:
        body = body_bytes(body, encoding)
    except BeanstalkError as error:
        return error
    command = commands.put(body, *terms)
    return command if len(body) <= limit else JobTooBigError(str(command), len(body), limit)


def all_or_error(what: str, outcomes: list[Result[T]]) -> list[T]:
    """Give the values if all are; else BatchError."""
    if any(isinstance(one, BeanstalkError) for one in outcomes):
        raise BatchError(what, outcomes)
    return outcomes  # type: ignore[return-value]  # none is an error: the lines above
