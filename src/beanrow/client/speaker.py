"""What all methods of the client stand on: how a command reaches a connection, and its fate.

Laws:
- A command that was never sent because its connection had ended before goes over the
  next one. One that was lost under way is sent again only where doing it twice is doing
  it once, and until its time is used up; whoever sent another one is told what is known.
- What needs a reservation goes over the connection that has it, from whichever thread;
  when that is gone, over none.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from beanrow.client.address import read_address
from beanrow.client.connection import UNKNOWN_LIMIT, Connection, StaleConnection
from beanrow.client.offered import ASKED, refuse_missing
from beanrow.client.patience import Patience
from beanrow.client.pipeline import MOST_COMMANDS
from beanrow.client.state import BROKE, State, grace_seconds, holder_now
from beanrow.client.threads import Connections
from beanrow.errors import (
    BadTypeError,
    BadValueError,
    BatchError,
    BeanstalkError,
    BuriedJob,
    ClientClosedError,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    DeadlineSoon,
    JobLost,
    JobTooBigError,
    NotFoundError,
    Outcome,
    OutOfMemoryError,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, Reader, read_reserve, written
from beanrow.protocol.values import (
    DEFAULT_ENCODING,
    MAX_TIMEOUT,
    MAX_UINT32,
    Duration,
    Job,
    seconds,
)

if TYPE_CHECKING:
    import ssl

__all__ = [
    "RESERVES",
    "ROUND",
    "ROUND_HOLDING",
    "Speaker",
    "lost_with",
    "text_encoding",
    "timeout_seconds",
]

T = TypeVar("T")


ROUND = 60
"""The longest single wait in seconds: a server that died meanwhile is noticed after it."""
ROUND_HOLDING = 1
"""The same for a connection that holds jobs: what another thread has to say of one of them
waits until the round is over."""
RESERVES = {wait: commands.reserve_with_timeout(wait).request for wait in range(ROUND + 1)}
"""The requests of reserve, by their timeout in seconds; no other one is ever sent."""


class Speaker:
    """A client's settings, its connections, and the ways to say something over them."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_clock",
        "_connections",
        "_encoding",
        "_mine",
        "_on_buried_job",
        "_on_deadline_soon",
        "_on_out_of_memory",
        "_state",
        "_timeout",
    )

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: Duration = 10.0,
        encoding: str = DEFAULT_ENCODING,
        session: Duration = 0,
        tls: ssl.SSLContext | None = None,
        trace: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_out_of_memory: Callable[[OutOfMemoryError], bool] | None = None,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_deadline_soon: Callable[[DeadlineSoon], object] | None = None,
        on_reconnect: Callable[[], object] | None = None,
        on_jobs_lost: Callable[[list[int]], object] | None = None,
    ) -> None:
        self._address = read_address(address)
        self._timeout = timeout_seconds(timeout)
        self._encoding = text_encoding(encoding)
        self._clock = clock
        self._on_out_of_memory = on_out_of_memory
        self._on_buried_job = on_buried_job
        self._on_deadline_soon = on_deadline_soon
        self._state = State(grace_seconds(session))
        self._connections = Connections(
            self._address, self._state, self._timeout, clock, tls, trace, on_reconnect, on_jobs_lost
        )
        self._mine = self._connections.mine

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r})"

    # -- commands -----------------------------------------------------------------

    def _ask(
        self,
        command: Command[T],
        tube: str | None = None,
        *,
        watching: bool = False,
        word: str = "",
    ) -> T:
        """Send a command and give its answer; with ``tube``, after making that the used one.

        ``watching``: after seeing to the watched tubes; ``word``: after switching that word of
        an extension on. Again after a lost connection, if the command may be repeated.
        """
        begin = self._clock()
        try:
            return self._say(command.request, command.read, tube, watching=watching, word=word)
        except ConnectionLostError as error:
            if not command.may_be_repeated:
                raise
            return self._ask_again(command, tube, begin + self._timeout, error, word)

    def _say(
        self,
        request: bytes,
        read: Reader[T],
        tube: str | None = None,
        *,
        wait: float = 0.0,
        watching: bool = False,
        word: str = "",
    ) -> T:
        """Send a command once and give its answer."""
        connection, is_new = self._mine.connection, False
        while True:
            if connection is None:
                connection, is_new = self._connections.get(), True
            try:
                if (watching or self._state.asks) and (
                    connection.watched is not self._state.watched
                ):
                    self._connections.align(connection)
                if word:
                    refuse_missing(word, self._words_of(connection), request, connection.peer)
                if tube is None or tube == connection.used:
                    return connection.converse(request, read, wait)
                return connection.converse_in(tube, request, read)
            except StaleConnection:
                if is_new:
                    raise  # a server that takes connections and closes them
                connection = None
            except OutOfMemoryError as error:
                if not self._has_memory_again(error):
                    raise

    def _ask_again(
        self,
        command: Command[T],
        tube: str | None,
        end: float,
        error: ConnectionLostError,
        word: str,
    ) -> T:
        """Send a command whose connection was lost over new ones, until ``end``."""
        patience = Patience(end)
        while True:
            self._pause(patience, error)
            try:
                connection = self._connections.get(self._timeout - (end - self._clock()))
                if word:
                    words = self._words_of(connection, end)
                    refuse_missing(word, words, command.request, connection.peer)
                if tube is not None and tube != connection.used:
                    use = commands.use(tube)
                    connection.used = connection.converse_until(use.request, use.read, end)
                return connection.converse_until(command.request, command.read, end)
            except ConnectionLostError as again:
                error = again

    def _words_of(self, connection: Connection, end: float | None = None) -> frozenset[str]:
        """Give the words of extensions that are known over a connection; asks once."""
        words = connection.words
        if words is None:
            end = self._clock() + self._timeout if end is None else end
            words = connection.words = connection.converse_until(ASKED.request, ASKED.read, end)
        return words

    def _known_words(self) -> frozenset[str]:
        """Ask for the words of extensions, now and over every connection."""
        words = self._ask(ASKED)
        self._connections.ask()
        connection = self._mine.connection
        if connection is not None:
            connection.words = words
        return words

    def _pause(self, patience: Patience, error: ConnectionLostError) -> None:
        outage = self._connections.outage
        time.sleep(patience.pause(error, self._clock(), outage=outage))

    def _has_memory_again(self, error: OutOfMemoryError) -> bool:
        """Ask the hook whether a command that the server had no memory for is sent again."""
        return self._on_out_of_memory is not None and self._on_out_of_memory(error)

    # -- reserving ----------------------------------------------------------------

    def _reserve_in_rounds(
        self, timeout: Duration | None, lost: ConnectionLostError | None = None, more: int = 0
    ) -> list[Job]:
        """Reserve a job where there may be more to do than to send one command.

        ``lost`` is how a first try ended; ``more``: and so many others, if they are ready.
        """
        left = None if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = 0.0 if left is None else self._clock() + left
        patience, warned = None, False
        while True:
            if lost is not None:
                patience = patience or Patience(self._clock() + self._timeout)
                self._pause(patience, lost)
                lost = None
            wait = self._round(left)
            try:
                job = self._say(RESERVES[wait], read_reserve, wait=wait, watching=True)
                jobs = [] if job is None else [job, *self._ready(more)]
            except DeadlineSoon as signal:
                if warned or self._on_deadline_soon is None:
                    raise
                warned = True
                self._on_deadline_soon(signal)
            except CommandTimeoutError:
                raise  # it has waited long enough
            except ConnectionLostError as error:
                lost = error
            else:
                if jobs or wait == left:
                    return [self._held(job) for job in jobs]
                patience = None
            if left is not None:
                left = max(0, ceil(end - self._clock()))

    def _delete_then_reserve(self, job: Job | int, timeout: Duration | None) -> Job | None:
        """Delete and reserve where one write does not do."""
        refused: BeanstalkError | None = None
        command = commands.delete(job)
        try:
            self._ask_of(job, command.request, command.read)
        except CommandError as error:
            refused = error
        found: Job | BeanstalkError | None
        try:
            found = self._reserve_one(timeout)
        except (CommandError, DeadlineSoon) as error:
            found = error
        if refused is not None or isinstance(found, BeanstalkError):
            raise BatchError("delete_and_reserve", [refused, found])
        return found

    def _reserve_one(
        self, timeout: Duration | None, lost: ConnectionLostError | None = None
    ) -> Job | None:
        """Reserve where there is more to do than to send one command."""
        jobs = self._reserve_in_rounds(timeout, lost)
        return jobs[0] if jobs else None

    def _ready(self, count: int) -> list[Job]:
        """Reserve up to so many ready jobs over this thread's connection, in few writes."""
        jobs: list[Job] = []
        connection = self._mine.connection
        while count and connection is not None:
            window = [commands.reserve_with_timeout(0)] * min(count, MOST_COMMANDS)
            for one in connection.results(window, connection.exchange(window)):
                if isinstance(one, Job):
                    jobs.append(one)
                elif isinstance(one, BeanstalkError) and connection.closed:
                    raise one
            count -= len(window)
        return jobs

    def _round(self, left: int | None) -> int:
        """Tell how long to wait at once, in seconds."""
        state, connection = self._state, self._mine.connection
        holding = connection is not None and connection in state.held.values()
        most = ROUND_HOLDING if holding else ROUND
        return most if left is None else min(left, most)

    # -- commands on reserved jobs ------------------------------------------------

    def _ask_of(self, job: Job | int, request: bytes, read: Reader[T], *, keeps: bool = False) -> T:
        """Send a command that needs a reservation, over the connection that has it.

        JobLost if that is gone. ``keeps``: the reservation outlasts the command.
        """
        holder = job.holder if isinstance(job, Job) else None
        if not isinstance(holder, Connection):
            holder = self._holder(job, request)
            if holder is None:
                return self._say(request, read)
        number = job.id if isinstance(job, Job) else job
        while True:
            try:
                answer = holder.converse(request, read)
            except BeanstalkError as error:
                holder = self._repeat_or_raise(error, holder, number, request)
                if isinstance(job, Job):
                    job.holder = holder
            else:
                if not keeps:
                    holder.state.held.pop(number, None)
                    if isinstance(job, Job):
                        job.holder = None
                return answer

    def _repeat_or_raise(
        self, error: BeanstalkError, holder: Connection, job_id: int, request: bytes
    ) -> Connection:
        """Raise what a refused or lost command on a held job means, or send it again over this."""
        if isinstance(error, OutOfMemoryError) and self._has_memory_again(error):
            return holder
        if isinstance(error, NotFoundError):
            holder.state.held.pop(job_id, None)
        # One that is only busy in another thread is not closed: the reservation stands.
        if isinstance(error, ConnectionLostError | ClientClosedError) and holder.closed:
            if isinstance(error, StaleConnection):
                self._connections.check_open()
            elif self._connections.closed:
                raise error
            if holder.token:
                self._go_on_after(error, holder)
            if (heir := holder_now(holder, job_id)) is not holder:
                return heir  # which still holds it: the command was not carried out
            raise lost_with(holder, job_id, written(request), error.outcome) from error
        raise error

    def _go_on_after(
        self, error: ConnectionLostError | ClientClosedError, holder: Connection
    ) -> None:
        """Go on with the session of a connection that broke under a command, if there is time."""
        if isinstance(error, CommandTimeoutError):
            raise error
        try:
            self._connections.heir(holder)
        except ConnectionLostError as failed:
            raise error from failed  # the session may still be gone on with

    def _holder(self, job: Job | int, request: bytes) -> Connection | None:
        """Give the connection that holds a job, closed or not; None if this client holds it not.

        JobLost if it did, and the connection is no more.
        """
        if isinstance(job, Job):
            if isinstance(job.holder, Connection):
                return job.holder
            job = job.id
        holder = self._state.held.get(job)
        if isinstance(holder, Connection):
            return holder
        self._connections.check_open()
        self._state.refuse_lost(job, written(request))
        return None

    def _held(self, job: Job) -> Job:
        """Tie a job that was reserved in this thread to its connection."""
        self._state.hold(job, self._mine.connection, self._encoding)
        return job

    def _seen(self, job: Job) -> Job:
        """Tell a job that was looked at how to read its body."""
        job.encoding = self._encoding
        return job

    # -- what a server takes and buries -------------------------------------------

    def _check_size(self, put: Command[int], size: int) -> None:
        """Refuse a body over the server's limit, after asking for it once a connection."""
        limit = self._known_limit()
        if size > limit:
            raise JobTooBigError(str(put), size, limit)

    def _known_limit(self) -> int:
        """Give the largest body that the server takes, in bytes."""
        connection = self._connections.get()
        if connection.most_body == UNKNOWN_LIMIT:
            limit = self._asked_limit()
            connection = self._connections.get()
            connection.most_body = limit
        return connection.most_body

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

    def _buried(self, job_id: int, depth: int = 2) -> None:
        """Signal a buried job; ``depth`` counts the frames from here to the caller's."""
        signal = BuriedJob(int(job_id))
        if self._on_buried_job is not None:
            self._on_buried_job(signal)
            return
        warnings.warn(signal, stacklevel=depth + 1)


def lost_with(holder: Connection, job_id: int, command: str, outcome: Outcome) -> JobLost:
    """Tell that a job is lost because the connection that held it is no more."""
    return JobLost(command, job_id, outcome, holder.state.lost.get(job_id, BROKE))


def timeout_seconds(timeout: Duration) -> float:
    """Check the timeout of a client, in seconds: more than 0."""
    if not seconds(timeout, "timeout", MAX_TIMEOUT):
        raise BadValueError("timeout 0 would leave no command any time; give more seconds")
    return timeout if isinstance(timeout, int | float) else timeout.total_seconds()


def text_encoding(encoding: str) -> str:
    """Check the encoding of a client: one that Python knows."""
    if not isinstance(encoding, str):
        raise BadTypeError(
            f"an encoding is the name of one, not {encoding!r}; job.body gives bytes in any case"
        )
    try:
        "x".encode(encoding).decode(encoding)
    except LookupError as error:
        raise BadValueError(f"encoding {encoding!r}: {error}") from None
    return encoding
