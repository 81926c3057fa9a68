"""The batch methods of a client: many jobs for few round trips.

Laws:
- Eager and in order. A method returns when every item has a result; if one is an error,
  ``BatchError`` tells all of them.
- After a lost connection nothing more is drawn and nothing is sent again: its error
  tells what is known of each item it was lost under.
- What needs the reservation of a job goes over the connection that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from beanrow.client.connection import Connection, StaleConnection
from beanrow.client.pipeline import Item, Pipeline, Progress, Result, is_lost, windows
from beanrow.client.speaker import Speaker, lost_with
from beanrow.client.state import holder_now
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
from beanrow.protocol.commands import BuriedId, Command, Reader, read_reserve
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

if TYPE_CHECKING:
    from beanrow.client.chores import Chore

__all__ = ["MOST_HELD", "Batches", "all_or_error", "is_finished", "note_tube", "put_or_error"]

T = TypeVar("T")
_Speak: TypeAlias = Callable[[list[Command[Any]]], list[Result[Any]]]

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
        ids = list(self._results(items, self._speaking(tube), progress))
        for one in ids:
            if isinstance(one, BuriedId):
                self._buried(one)
        return all_or_error("put_many", ids)

    def delete_many(self, jobs: Iterable[Job | int], *, progress: Progress | None = None) -> None:
        """Delete many jobs, as ``delete`` does one; BatchError if any of them was not."""
        self._connections.check_open()
        items = (self._delete_or_error(job) for job in jobs)
        speak = self._speaking(self._state.used)
        all_or_error("delete_many", list(self._results(items, speak, progress)))

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
        return self._reserve_in_rounds(timeout, more=most - 1) if most else []

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
        from beanrow.client.chores import drain_tube

        tube_name(tube)
        return self._do(drain_tube(tube, self._state.watched, progress))

    def kick_all(self, tube: str | None = None) -> int:
        """Make every buried job of ``tube``, or of the used tube, ready; gives how many it were.

        Delayed jobs stay as they are. ``kick`` takes those where it finds none buried,
        and so this costs a round trip for each job unless the tube has no delayed ones.
        """
        from beanrow.client.chores import kick_all

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
        from beanrow.client.chores import move

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
        self, items: Iterable[Item[Any]], speak: _Speak, progress: Progress | None = None
    ) -> Iterator[Result[Any]]:
        """Send a stream of commands and give the result of each, in their order.

        ``speak`` says those that need no other thread's connection. Ends early, after the
        results of a window under which this thread's connection was lost.
        """
        done = 0
        for window in windows(items):
            results = self._window(window, speak)
            yield from results
            if any(is_lost(one) and not isinstance(one, JobLost) for one in results):
                return
            done += len(window)
            if progress is not None:
                progress(done)

    def _window(self, window: list[Item[Any]], speak: _Speak) -> list[Result[Any]]:
        groups: dict[Connection | None, list[Command[Any]]] = {}
        mine = self._mine.connection
        places: list[Connection | None] = []
        for item in window:
            holder = item.holder if isinstance(item, _Routed) else None
            places.append(None if holder is mine else holder)
            if isinstance(item, Command):
                groups.setdefault(places[-1], []).append(item)
        answers = {
            holder: iter(speak(group) if holder is None else self._say_to(holder, group))
            for holder, group in groups.items()
        }
        return [
            next(answers[place]) if isinstance(item, Command) else item
            for item, place in zip(window, places, strict=True)
        ]

    def _speaking(self, tube: str, *, in_one: bool = False) -> _Speak:
        """Make what says windows of commands over this thread's connection, which uses ``tube``.

        One that had ended before a window is replaced. ``in_one``: not between those of a
        pipeline, since another one would not use and watch the tubes that it chose before.
        """
        kept: list[Connection] = []

        def speak(group: list[Command[Any]]) -> list[Result[Any]]:
            try:
                connection = kept[0] if kept else self._own(tube)
                try:
                    results = self._say_all(connection, group, noting=in_one)
                except StaleConnection:
                    if kept:
                        raise
                    connection = self._own(tube)
                    results = self._say_all(connection, group, noting=in_one)
            except (ConnectionLostError, ClientClosedError) as error:
                return [self._settled(one, error) for one in group]
            if in_one:
                kept.append(connection)
            return results

        return speak

    def _say_to(self, holder: Connection, group: list[Command[Any]]) -> list[Result[Any]]:
        """Say commands over another thread's connection, which holds their jobs."""
        try:
            try:
                return self._say_all(holder, group)
            except StaleConnection:
                heir = self._connections.heir(holder)
                if heir is None:
                    raise
                return self._say_all(heir, group)
        except ConnectionLostError as error:
            return [self._settled(one, error) for one in group]

    def _say_all(
        self, connection: Connection, group: list[Command[Any]], *, noting: bool = False
    ) -> list[Result[Any]]:
        """Say commands over a connection; those for jobs that another one held are lost.

        ``noting`` those of a pipeline, which may be of any kind.
        """
        for one in group:
            if isinstance(one, _Routed) and one.holder is not connection:
                one.holder = holder_now(one.holder, one.job_id)
        here = [one for one in group if getattr(one, "holder", connection) is connection]
        wait = sum([one.wait for one in here if one.read is read_reserve])
        answers = iter(connection.results(here, connection.exchange(here, wait)) if here else ())
        results: list[Result[Any]] = []
        for one in group:
            if not isinstance(one, _Routed):
                results.append(next(answers))
                if noting:
                    self._note(connection, one, results[-1])
            elif one.holder is connection:
                results.append(self._settled(one, next(answers)))
            else:
                results.append(lost_with(one.holder, one.job_id, str(one), "never-sent"))
        if noting and connection.closed:
            self._connections.tell_lost(connection)  # jobs that were reserved just before
        return results

    def _settled(self, command: Command[Any], result: Result[T]) -> Result[T]:
        """Take note of what became of a job that a connection held, or of its loss."""
        if not isinstance(command, _Routed):
            return result
        job_id, holder = command.job_id, command.holder
        if isinstance(result, ConnectionLostError | ClientClosedError) and holder.closed:
            if self._connections.closed or holder.token:
                return result
            lost = lost_with(holder, job_id, str(command), result.outcome)
            lost.__cause__ = result
            return lost
        if is_finished(command, result):
            holder.state.held.pop(job_id, None)
        return result

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
                needs = command.needs_reservation
                items.append(self._routed(command.job_id, command) if needs else command)
            except JobLost as error:
                items.append(error)
        results = list(self._results(items, self._speaking(tube or self._state.used, in_one=True)))
        if len(results) < len(pipeline):
            lost = next((one for one in results if is_lost(one)), None)
            results += [_not_reached(command, lost) for command in pipeline[len(results) :]]
        for one in results:
            if isinstance(one, BuriedId):
                self._buried(one, depth=3)
        return results

    def _note(self, connection: Connection, command: Command[Any], result: Result[Any]) -> None:
        """Take note of what a command of a pipeline did to its connection."""
        if command.needs_reservation:
            if is_finished(command, result):  # one that was reserved just before
                self._state.held.pop(command.job_id, None)
        elif isinstance(result, Job):
            if command.reserves:
                self._state.hold(result, connection, self._encoding)
            else:
                self._seen(result)
        elif result is not None and not isinstance(result, BeanstalkError):
            note_tube(connection, command, result)


class HasTubes(Protocol):
    """A connection: the tubes that the server has it use and watch."""

    used: str
    watched: tuple[str, ...]


def note_tube(connection: HasTubes, command: Command[Any], result: object) -> None:
    """Take note of an answer that may tell of the tubes of a connection."""
    if isinstance(result, str):  # USING: the answer to use and list-tube-used alone
        connection.used = result
        return
    word, _, tube = str(command).partition(" ")
    if word == "watch" and tube not in connection.watched:
        connection.watched += (tube,)
    elif word == "ignore":
        connection.watched = tuple(one for one in connection.watched if one != tube)


def is_finished(command: Command[Any], result: Result[Any]) -> bool:
    """Tell whether a command that needs a reservation, by its result, has ended it."""
    if isinstance(result, BeanstalkError):
        return isinstance(result, NotFoundError)
    return command.name != "touch"


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
