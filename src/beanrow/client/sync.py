"""The client: every command of the protocol as a method of its name, with ``-`` as ``_``.

Laws:
- A value that the server would refuse or misread is refused before a byte is sent.
- What the caller chose holds: the used tube and the watched tubes are the client's,
  whatever its connections happen to be set to (``state.py``).
- Many threads may share a client. Each has a connection of its own (``threads.py``).
- A job is held by the connection that reserved it. What needs the reservation goes over
  that one, from whichever thread; once it is gone, over none.
- After a lost connection a command is sent again only where doing it twice is doing it
  once; whoever sent another one is told what is known of it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, overload

from beanrow.client.connection import Connection, StaleConnection
from beanrow.client.extended import Extended
from beanrow.client.offered import offers
from beanrow.client.speaker import RESERVES, ROUND, ROUND_HOLDING
from beanrow.errors import (
    BatchError,
    BeanstalkError,
    CommandTimeoutError,
    ConnectionLostError,
    NotOfferedError,
    OutOfMemoryError,
)
from beanrow.protocol import commands
from beanrow.protocol.capabilities import PUT_IN_TUBE
from beanrow.protocol.commands import (
    BuriedId,
    Command,
    put_request,
    read_deleted,
    read_deleted_and_reserve,
    read_put,
    read_reserve,
)
from beanrow.protocol.extensions import put_in_tube_request
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    Job,
    body_bytes,
    job_id,
    tube_name,
)

__all__ = ["Client"]


class Client(Extended):
    """A client of one Beanstalk server, for any number of threads.

    ``address`` is read by ``read_address``: ``"host:port"``, ``"unix:/path"``,
    ``"beanstalks://host:port"`` (TLS; ``tls`` are settings other than the usual ones),
    ``"embedded:"`` (a server of its own, which ends with the client); without it the
    environment's BEANSTALKD_URL, else ``localhost:11300``. ``timeout`` in seconds
    bounds connecting and each command; a reserve may take its own timeout on top.
    ``encoding`` is that of bodies given as str, and of ``job.text``. ``session`` in
    seconds, a day at most: so long the server keeps the jobs of a connection that is lost,
    and another one goes on with them (our server; NotOfferedError from any other). 0 is
    not at all: it gives them to the next workers. ``trace`` logs
    what goes over the wire to the logger ``beanrow.wire`` at level DEBUG. ``clock``
    gives monotonic seconds.

    Hooks, each in place of what would happen without it:
    ``on_out_of_memory(error)``: true sends the refused command again, else it raises;
    ``on_buried_job(signal)``: a job that the server had to bury; else ``warnings.warn``;
    ``on_deadline_soon(signal)``: a held job is about to expire, touch it here; the
    reserve then goes on for the time left, once. Else the signal is raised.
    And two that only tell, each in the thread that finds out:
    ``on_reconnect()``: a new connection took the place of a lost one, the used tube and
    the watched tubes are restored;
    ``on_jobs_lost(job_ids)``: the connection that held these jobs broke, the server
    gives them to the next workers.

    Each thread has a connection of its own, opened when it first needs one and closed
    when the thread ends. Used tube and watched tubes are the client's and hold on all
    of them; a ``reserve`` that waits in another thread meanwhile sees a change in its
    next round, after a minute at most. A job may be finished by any thread; if the one
    that reserved it waits in ``reserve`` again, that takes up to a second.

    After a lost connection ``use``, ``watch``, ``ignore``, ``reserve``, ``pause_tube``
    and what only looks are sent again until the timeout is used up; every other method
    raises ``ConnectionLostError``, and ``.outcome`` tells what is known of it. ``delete``,
    ``release``, ``bury`` and ``touch`` of a job raise ``JobLost`` when the connection that
    reserved it is gone, and with it its session if it had one. A forked process opens connections of its own, and the jobs
    reserved before the fork are lost to it.

    Any method may raise ``BeanstalkError``; nothing else that a server or a network can
    do reaches the caller.
    """

    __slots__ = ()

    # -- opening and closing ------------------------------------------------------

    def connect(self) -> None:
        """Connect now rather than at the first command; ConnectFailedError if nobody answers."""
        self._connections.get()

    def close(self) -> None:
        """Close the connections; the server puts the jobs held by them back. Twice is fine."""
        self._connections.close()

    def quit(self) -> None:
        """Take leave of the server with the command ``quit``, and close."""
        self._connections.close(farewell=True)

    def __enter__(self) -> Self:
        self.connect()
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
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> int:
        """Put a job into ``tube``, or into the used tube; gives its id.

        Another ``tube`` leaves the used one as it is and costs no round trip of its own.
        ``priority``: 0 (most urgent) to 2**32-1. ``delay`` and ``ttr`` (how long a worker
        may hold the job) in seconds, rounded up. A body over the server's limit is
        refused with JobTooBigError before it is sent. A server without memory may store
        the job buried: then the id is a ``BuriedId`` and ``on_buried_job`` is called.
        """
        if body.__class__ is not bytes:
            body = body_bytes(body, self._encoding)
        request = put_request(body, priority, delay, ttr)
        connection = self._mine.connection
        if tube is None:
            tube = self._state.used
        if connection is not None and tube == connection.used and len(body) <= connection.most_body:
            try:
                number = connection.converse(request, read_put)
            except StaleConnection:
                number = self._put_the_long_way(request, len(body), tube)
            except OutOfMemoryError as error:
                if not self._has_memory_again(error):
                    raise
                number = self._put_the_long_way(request, len(body), tube)
        else:
            number = self._put_the_long_way(request, len(body), tube)
        if number.__class__ is BuriedId:
            self._buried(number)
        return number

    def _put_the_long_way(self, request: bytes, size: int, tube: str) -> int:
        """Put where there is more to do than to send it."""
        tube_name(tube)  # refused before anything is sent
        self._check_size(Command(request, read_put), size)
        connection = self._mine.connection
        if connection is not None and tube != connection.used and offers(connection.words):
            try:
                return self._say(put_in_tube_request(tube, request), read_put, word=PUT_IN_TUBE)
            except NotOfferedError:
                pass  # another server has taken the place of the one that was asked
        return self._say(request, read_put, tube)

    def use(self, tube: str) -> str:
        """Choose the tube that puts without ``tube`` go into; gives its name."""
        name = self._ask(commands.use(tube))
        self._connections.use(tube)
        return name

    # -- reserving ----------------------------------------------------------------

    @overload
    def reserve(self, timeout: None = None) -> Job: ...
    @overload
    def reserve(self, timeout: Duration) -> Job | None: ...
    def reserve(self, timeout: Duration | None = None) -> Job | None:
        """Wait for the best job of the watched tubes, and hold it.

        ``timeout`` in seconds, rounded up: gives None if no job came in that time (0: if
        none is ready). Without it waits for ever, in rounds of a minute. DeadlineSoon is
        raised in place of a job when one held already has less than a second left.
        """
        connection, state = self._mine.connection, self._state
        request = RESERVES.get(timeout) if timeout.__class__ is int else None
        if (
            request is None
            or connection is None
            or connection.watched is not state.watched
            or (timeout > ROUND_HOLDING and state.held)  # type: ignore[operator]
            or self._on_deadline_soon is not None
        ):
            return self._reserve_one(timeout)
        try:
            job = connection.converse(request, read_reserve, timeout)  # type: ignore[arg-type]
        except StaleConnection:
            return self._reserve_one(timeout)
        except OutOfMemoryError as error:
            if not self._has_memory_again(error):
                raise
            return self._reserve_one(timeout)
        except CommandTimeoutError:
            raise  # it has waited long enough
        except ConnectionLostError as error:
            return self._reserve_one(timeout, error)
        if job is not None:
            job.encoding = self._encoding
            job.holder = state.held[job.id] = connection
            if state.lost:
                state.lost.pop(job.id, None)
        return job

    @overload
    def delete_and_reserve(self, job: Job | int, timeout: None = None) -> Job: ...
    @overload
    def delete_and_reserve(self, job: Job | int, timeout: Duration) -> Job | None: ...
    def delete_and_reserve(self, job: Job | int, timeout: Duration | None = None) -> Job | None:
        """Delete a held job and reserve the next one as ``reserve`` does, in one write.

        A worker that does one job after the other needs one round trip for each. BatchError if
        the job was not deleted (its ttr may have run out) or none could be reserved:
        ``.results`` has both, None or an error for the first, a job, None or an error for the
        second. JobLost if the connection is gone: then nothing was reserved.
        """
        connection, state = self._mine.connection, self._state
        wait = ROUND if timeout is None else timeout
        request = RESERVES.get(wait) if wait.__class__ is int else None
        if (
            request is None
            or type(job) is not Job
            or job.holder is not connection
            or connection is None
            or connection.watched is not state.watched
            or (wait > ROUND_HOLDING and len(state.held) > 1)  # type: ignore[operator]
            or self._on_deadline_soon is not None
        ):
            return self._delete_then_reserve(job, timeout)
        number = job.id
        request = b"delete %d\r\n%b" % (number, request)
        try:
            refused, found = connection.converse(request, read_deleted_and_reserve, wait, 2)  # type: ignore[arg-type]
        except ConnectionLostError as error:
            self._repeat_or_raise(error, connection, number, request)
            return self._delete_then_reserve(job, timeout)
        state.held.pop(number, None)
        job.holder = None
        if refused is not None or isinstance(found, BeanstalkError):
            if isinstance(found, Job):
                self._held(found)
            raise BatchError("delete_and_reserve", [refused, found])
        if found is not None:
            found.encoding = self._encoding
            found.holder = state.held[found.id] = connection
            if state.lost:
                state.lost.pop(found.id, None)
        elif timeout is None:
            return self._reserve_one(None)
        return found

    def reserve_job(self, job: Job | int) -> Job:
        """Reserve this very job, from whatever tube; NotFoundError if it is held or gone."""
        return self._held(self._ask(commands.reserve_job(job)))

    # -- finishing ----------------------------------------------------------------

    def delete(self, job: Job | int) -> None:
        """Delete a job that this client holds, or that nobody does; else NotFoundError."""
        if type(job) is Job and type(holder := job.holder) is Connection:
            number, request = job.id, b"delete %d\r\n" % job.id
            try:
                holder.converse(request, read_deleted)
            except BeanstalkError as error:
                self._repeat_or_raise(error, holder, number, request)
            else:
                holder.state.held.pop(number, None)
                job.holder = None
                return
        command = commands.delete(job)
        self._ask_of(job, command.request, command.read)

    def release(
        self, job: Job | int, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        """Put a held job back, ready after ``delay`` seconds; NotFoundError if it is not held.

        Gives True. A server without memory buries the job instead: then ``on_buried_job``
        is called and it gives False.
        """
        command = commands.release(job, priority, delay)
        released = self._ask_of(job, command.request, command.read)
        if not released:
            self._buried(job_id(job))
        return released

    def bury(self, job: Job | int, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Set a held job aside until it is kicked; NotFoundError if it is not held."""
        command = commands.bury(job, priority)
        self._ask_of(job, command.request, command.read)

    def touch(self, job: Job | int) -> None:
        """Start the ttr of a held job anew; NotFoundError if it is not held."""
        command = commands.touch(job)
        self._ask_of(job, command.request, command.read, keeps=True)

    # -- watching -----------------------------------------------------------------

    def watch(self, tube: str) -> int:
        """Reserve from this tube too; gives how many are watched."""
        count = self._ask(commands.watch(tube), watching=True)
        self._connections.watch(tube)
        return count

    def ignore(self, tube: str) -> int:
        """Reserve from this tube no longer; NotIgnoredError if it is the only one watched.

        Gives how many are watched.
        """
        count = self._ask(commands.ignore(tube), watching=True)
        self._connections.ignore(tube)
        return count

    # -- looking ------------------------------------------------------------------

    def peek(self, job: Job | int) -> Job:
        """Look at a job without reserving it; NotFoundError if there is none."""
        return self._seen(self._ask(commands.peek(job)))

    def peek_ready(self) -> Job | None:
        """Look at the used tube's next ready job; None if there is none."""
        return self._seen_in_used(commands.peek_ready())

    def peek_delayed(self) -> Job | None:
        """Look at the used tube's delayed job with the least delay left; None if there is none."""
        return self._seen_in_used(commands.peek_delayed())

    def peek_buried(self) -> Job | None:
        """Look at the job of the used tube that was buried first; None if there is none."""
        return self._seen_in_used(commands.peek_buried())

    # -- kicking and pausing ------------------------------------------------------

    def kick(self, bound: int) -> int:
        """Make up to ``bound`` buried jobs of the used tube ready; gives how many it were.

        If none is buried, delayed ones.
        """
        return self._ask(commands.kick(bound), self._state.used)

    def kick_job(self, job: Job | int) -> None:
        """Make this job ready; NotFoundError if it is neither buried nor delayed."""
        self._ask(commands.kick_job(job))

    def pause_tube(self, tube: str, delay: Duration) -> None:
        """Hand out no job of this tube for ``delay`` seconds; 0 ends a pause.

        NotFoundError if there is no such tube.
        """
        self._ask(commands.pause_tube(tube, delay))

    # -- counting -----------------------------------------------------------------

    def stats(self) -> ServerStats:
        """Ask for the server's statistics."""
        return self._ask(commands.stats())

    def stats_job(self, job: Job | int) -> JobStats:
        """Ask for a job's statistics; NotFoundError if there is no such job."""
        return self._ask(commands.stats_job(job))

    def stats_tube(self, tube: str) -> TubeStats:
        """Ask for a tube's statistics; NotFoundError if there is no such tube."""
        return self._ask(commands.stats_tube(tube))

    def list_tubes(self) -> list[str]:
        """Ask for the names of all tubes."""
        return self._ask(commands.list_tubes())

    def list_tube_used(self) -> str:
        """Ask for the tube that puts without ``tube`` go into."""
        return self._ask(commands.list_tube_used(), self._state.used)

    def list_tubes_watched(self) -> list[str]:
        """Ask for the names of the tubes this client reserves from."""
        return self._ask(commands.list_tubes_watched(), watching=True)

    def _seen_in_used(self, command: Command[Job | None]) -> Job | None:
        job = self._ask(command, self._state.used)
        return None if job is None else self._seen(job)
