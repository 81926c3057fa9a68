"""The client: every command of the protocol as a method of its name, with ``-`` as ``_``.

Laws:
- A value that the server would refuse or misread is refused before a byte is sent.
- What the caller chose holds: the used tube and the watched tubes are the client's,
  whatever its connection happens to be set to (``state.py``).
- One conversation at a time. A client opens its connection at the first command that
  needs it, and a new one after the old one was lost.
- A job is held by the connection that reserved it. Once that is closed, no command that
  needs the reservation is sent over another one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, overload

from beanrow.client.address import Address, read_address
from beanrow.client.batch import Batches
from beanrow.client.connection import UNKNOWN_LIMIT, Connection, open_socket
from beanrow.client.state import State
from beanrow.errors import (
    BadTypeError,
    BadValueError,
    BuriedJob,
    ClientClosedError,
    CommandError,
    ConnectionLostError,
    DeadlineSoon,
    JobLost,
    JobTooBigError,
    OutOfMemoryError,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import BuriedId, Command
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_TIMEOUT,
    MAX_UINT32,
    Duration,
    Job,
    body_bytes,
    seconds,
    tube_name,
)

if TYPE_CHECKING:
    from beanrow.client.child import ChildServer

__all__ = ["Client"]

T = TypeVar("T")

_ROUND = 60
"""The longest single wait in seconds: a server that died meanwhile is noticed after it."""
_ROUNDS = {wait: commands.reserve_with_timeout(wait) for wait in range(_ROUND + 1)}
"""The reserve commands, by their timeout in seconds; no other one is ever sent."""


class Client(Batches):
    """A client of one Beanstalk server.

    ``address`` is read by ``read_address``: ``"host:port"``, ``"unix:/path"``,
    ``"embedded:"`` (a server of its own, which ends with the client); without it the
    environment's BEANSTALKD_URL, else ``localhost:11300``. ``timeout`` in seconds
    bounds connecting and each command; a reserve may take its own timeout on top.
    ``encoding`` is that of bodies given as str, and of ``job.text``. ``trace`` logs
    what goes over the wire to the logger ``beanrow.wire`` at level DEBUG. ``clock``
    gives monotonic seconds.

    Hooks, each in place of what would happen without it:
    ``on_out_of_memory(error)``: true sends the refused command again, else it raises;
    ``on_buried_job(signal)``: a job that the server had to bury; else ``warnings.warn``;
    ``on_deadline_soon(signal)``: a held job is about to expire, touch it here; the
    reserve then goes on for the time left, once. Else the signal is raised.

    ``delete``, ``release``, ``bury`` and ``touch`` of a ``Job`` raise ``JobLost`` when the
    connection that reserved it is gone; given a bare id they are sent as they are.

    Any method may raise ``BeanstalkError``; nothing else that a server or a network can
    do reaches the caller.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_child",
        "_clock",
        "_closed",
        "_connection",
        "_encoding",
        "_on_buried_job",
        "_on_deadline_soon",
        "_on_out_of_memory",
        "_state",
        "_timeout",
        "_trace",
    )

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: Duration = 10.0,
        encoding: str = "utf-8",
        trace: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_out_of_memory: Callable[[OutOfMemoryError], bool] | None = None,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_deadline_soon: Callable[[DeadlineSoon], object] | None = None,
    ) -> None:
        self._address = read_address(address)
        self._timeout = _timeout_seconds(timeout)
        self._encoding = _text_encoding(encoding)
        self._trace = trace
        self._clock = clock
        self._on_out_of_memory = on_out_of_memory
        self._on_buried_job = on_buried_job
        self._on_deadline_soon = on_deadline_soon
        self._state = State()
        self._connection: Connection | None = None
        self._child: ChildServer | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Client({str(self._address)!r})"

    # -- opening and closing ------------------------------------------------------

    def connect(self) -> None:
        """Connect now rather than at the first command; ConnectFailedError if nobody answers."""
        if self._connection is None:
            self._open()

    def close(self) -> None:
        """Close the connection; the server puts the jobs held by it back. Twice is fine."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._child is not None:
            self._child.close()
            self._child = None

    def quit(self) -> None:
        """Take leave of the server with the command ``quit``, and close."""
        try:
            if self._connection is not None:
                self._connection.say(commands.quit())
        finally:
            self.close()

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
        command = commands.put(body, priority, delay, ttr)
        connection = self._connection
        if tube is None:
            tube = self._state.used
        elif connection is None or tube != connection.used:
            tube_name(tube)  # refused before anything is sent
        if connection is None:
            connection = self._open()
        if len(body) > connection.most_body:
            self._check_size(command, len(body))
        job_id = self._ask(command, 0, tube)
        if job_id.__class__ is BuriedId:
            self._buried(job_id)
        return job_id

    def use(self, tube: str) -> str:
        """Choose the tube that puts without ``tube`` go into; gives its name."""
        name = self._ask(commands.use(tube))
        self._state.used = tube
        if self._connection is not None:
            self._connection.used = tube
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
        command = _ROUNDS.get(timeout) if timeout.__class__ is int else None
        if command is None or self._on_deadline_soon is not None:
            return self._reserve_in_rounds(timeout)
        job = self._ask(command, timeout)  # type: ignore[arg-type]  # an int by now
        if job is not None:
            job.encoding = self._encoding
            job.holder = self._connection
        return job

    def _reserve_in_rounds(self, timeout: Duration | None) -> Job | None:
        """Reserve where more than one command may be needed: a long wait, or one warned of."""
        left = _ROUND if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = self._clock() + left
        warned = False
        while True:
            wait = min(left, _ROUND)
            try:
                job = self._ask(_ROUNDS[wait], wait)
            except DeadlineSoon as signal:
                if warned or self._on_deadline_soon is None:
                    raise
                warned = True
                self._on_deadline_soon(signal)
            else:
                if job is not None:
                    return self._held(job)
                if timeout is not None and wait == left:
                    return None
            if timeout is not None:
                left = max(0, ceil(end - self._clock()))

    def reserve_job(self, job: Job | int) -> Job:
        """Reserve this very job, from whatever tube; NotFoundError if it is held or gone."""
        return self._held(self._ask(commands.reserve_job(job)))

    # -- finishing ----------------------------------------------------------------

    def delete(self, job: Job | int) -> None:
        """Delete a job that this client holds, or that nobody does; else NotFoundError."""
        self._ask_of(job, commands.delete(job))

    def release(
        self, job: Job | int, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        """Put a held job back, ready after ``delay`` seconds; NotFoundError if it is not held.

        Gives True. A server without memory buries the job instead: then ``on_buried_job``
        is called and it gives False.
        """
        released = self._ask_of(job, commands.release(job, priority, delay))
        if not released:
            self._buried(job.id if isinstance(job, Job) else job)
        return released

    def bury(self, job: Job | int, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Set a held job aside until it is kicked; NotFoundError if it is not held."""
        self._ask_of(job, commands.bury(job, priority))

    def touch(self, job: Job | int) -> None:
        """Start the ttr of a held job anew; NotFoundError if it is not held."""
        self._ask_of(job, commands.touch(job))

    # -- watching -----------------------------------------------------------------

    def watch(self, tube: str) -> int:
        """Reserve from this tube too; gives how many are watched."""
        count = self._ask(commands.watch(tube))
        self._state.watch(tube)
        return count

    def ignore(self, tube: str) -> int:
        """Reserve from this tube no longer; NotIgnoredError if it is the only one watched.

        Gives how many are watched.
        """
        count = self._ask(commands.ignore(tube))
        self._state.ignore(tube)
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
        return self._ask(commands.kick(bound), 0, self._state.used)

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
        return self._ask(commands.list_tube_used(), 0, self._state.used)

    def list_tubes_watched(self) -> list[str]:
        """Ask for the names of the tubes this client reserves from."""
        return self._ask(commands.list_tubes_watched())

    # -- what all of them stand on ------------------------------------------------

    def _ask(self, command: Command[T], wait: float = 0, tube: str | None = None) -> T:
        """Send a command and give its answer; with ``tube``, after making that the used one."""
        while True:
            connection = self._connection or self._open()
            try:
                if tube is None or tube == connection.used:
                    return connection.converse(command, wait)
                return connection.converse_in(tube, command)
            except OutOfMemoryError as error:
                if self._on_out_of_memory is None or not self._on_out_of_memory(error):
                    raise
            except BaseException:
                if connection.closed and self._connection is connection:
                    self._connection = None
                raise

    def _ask_of(self, job: Job | int, command: Command[T]) -> T:
        """Send a command that needs a reservation; JobLost if a Job's connection is gone."""
        if not isinstance(job, Job) or not isinstance(job.holder, Connection):
            return self._ask(command)
        holder = job.holder
        if holder.closed and not self._closed:
            raise JobLost(str(command), job.id, "never-sent")
        try:
            return self._ask(command)
        except ConnectionLostError as error:
            if not holder.closed:
                raise  # another client's job: its reservation stands
            raise JobLost(str(command), job.id, error.outcome) from error

    def _open(self) -> Connection:
        """Open a connection that watches what this client watches."""
        if self._closed:
            raise ClientClosedError(f"this client of {self._address} was closed; make a new one")
        address = self._server_address()
        trace = None
        if self._trace:
            from beanrow.client.trace import Trace

            trace = Trace(str(address))
        sock = open_socket(address, self._timeout)
        connection = Connection(sock, str(address), self._timeout, self._clock, trace)
        setup = self._state.setup()
        if setup:
            try:
                for command, reply in zip(setup, connection.exchange(setup), strict=True):
                    command.answer(reply)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def _server_address(self) -> Address:
        """Tell where the server is; start it if it is to be a child of ours."""
        if not self._address.embedded:
            return self._address
        if self._child is None:
            from beanrow.client.child import ChildServer

            self._child = ChildServer()
        return read_address(self._child.address)

    def _held(self, job: Job) -> Job:
        """Tell a reserved job how to read its body, and which connection holds it."""
        job.encoding = self._encoding
        job.holder = self._connection
        return job

    def _seen(self, job: Job) -> Job:
        """Tell a job that was looked at how to read its body."""
        job.encoding = self._encoding
        return job

    def _seen_in_used(self, command: Command[Job | None]) -> Job | None:
        job = self._ask(command, 0, self._state.used)
        return None if job is None else self._seen(job)

    def _connection_using(self, tube: str | None) -> Connection:
        """Give a connection that uses this tube, or the client's; its limit is known."""
        if tube is None:
            tube = self._state.used
        connection = self._connection or self._open()
        if connection.used != tube:
            self._ask(commands.use(tube))
            connection.used = tube
        if connection.most_body == UNKNOWN_LIMIT:
            connection.most_body = self._asked_limit()
        return connection

    def _check_size(self, put: Command[int], size: int) -> None:
        """Refuse a body over the server's limit, after asking for it once a connection."""
        connection = self._connection or self._open()
        if connection.most_body == UNKNOWN_LIMIT:
            connection.most_body = self._asked_limit()
        if size > connection.most_body:
            raise JobTooBigError(str(put), size, connection.most_body)

    def _asked_limit(self) -> int:
        try:
            stats = self._ask(commands.stats())
        except (CommandError, StatsParsingError):
            return MAX_UINT32  # it does not tell: then its JOB_TOO_BIG will
        except ConnectionLostError as error:
            error.outcome = "never-sent"
            error.add_note("the put for which the server's limit was asked was not sent")
            raise
        return getattr(stats, "max_job_size", MAX_UINT32)

    def _note_buried(self, job_id: int) -> None:
        if job_id.__class__ is BuriedId:
            self._buried(job_id)

    def _buried(self, job_id: int) -> None:
        signal = BuriedJob(int(job_id))
        if self._on_buried_job is not None:
            self._on_buried_job(signal)
            return
        warnings.warn(signal, stacklevel=3)


def _timeout_seconds(timeout: Duration) -> float:
    if not seconds(timeout, "timeout", MAX_TIMEOUT):
        raise BadValueError("timeout 0 would leave no command any time; give more seconds")
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def _text_encoding(encoding: str) -> str:
    if not isinstance(encoding, str):
        raise BadTypeError(
            f"an encoding is the name of one, not {encoding!r}; job.body gives bytes in any case"
        )
    try:
        "x".encode(encoding).decode(encoding)
    except LookupError as error:
        raise BadValueError(f"encoding {encoding!r}: {error}") from None
    return encoding
