"""The client's half: each command of protocol 1.13 stated once.

A ``Command[T]`` is the bytes of one request and the function that turns this
command's own replies into a ``T`` or an error. The sync and the async client, the
pipeline and the pool send the same commands; ``requests.py`` is the server's half,
and a test ties the two together.

Laws:
- A command is checked in full before it exists: one that was built can be sent.
- A reader accepts one whole reply and nothing else, so that a client may try what
  came before it measures it. A refusal raises the error of its word; what is none of
  its command's own replies, or not the whole of one, raises ``BadReplyError``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from beanrow.errors import (
    ERROR_WORDS,
    BadReplyError,
    CommandError,
    DeadlineSoon,
    JobTooBigError,
)
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats, read_list
from beanrow.protocol.values import (
    DEFAULT_ENCODING,
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_TIMEOUT,
    MAX_UINT32,
    Duration,
    Job,
    job_id,
    priority_number,
    seconds,
    tube_name,
    whole_number,
)

__all__ = [
    "BuriedId",
    "Command",
    "Reader",
    "bury",
    "delete",
    "ignore",
    "kick",
    "kick_job",
    "list_tube_used",
    "list_tubes",
    "list_tubes_watched",
    "pause_tube",
    "peek",
    "peek_buried",
    "peek_delayed",
    "peek_ready",
    "put",
    "put_request",
    "quit",
    "read_deleted",
    "read_deleted_and_reserve",
    "read_document",
    "read_put",
    "read_reserve",
    "refuse",
    "release",
    "reserve",
    "reserve_job",
    "reserve_with_timeout",
    "stats",
    "stats_job",
    "stats_tube",
    "touch",
    "use",
    "watch",
    "whole_document",
    "written",
]

T = TypeVar("T")
Reader: TypeAlias = Callable[[bytes, bytes], T]
"""``read(request, reply)``: gives the value of a whole reply, or raises what it means."""


class BuriedId(int):
    """The id of a job that the server stored but had to bury for lack of memory."""


class Command(Generic[T]):
    """One request: its bytes, and how to read the reply to it.

    ``read(request, reply)`` gives the value or raises. It may raise a bare ValueError
    for a reply that is malformed or not whole; ``answer`` turns that into
    ``BadReplyError``.
    """

    __slots__ = ("read", "request")

    def __init__(self, request: bytes, read: Reader[T]) -> None:
        self.request: bytes = request
        self.read: Reader[T] = read

    def answer(self, reply: bytes) -> T:
        """Turn one whole reply into this command's value, or raise its error.

        BadReplyError if it is not whole, or no reply to this command.
        """
        try:
            return self.read(self.request, reply)
        except ValueError:
            raise BadReplyError(str(self), reply) from None

    @property
    def name(self) -> str:
        """The protocol's word for this command."""
        return str(self).partition(" ")[0]

    @property
    def may_be_repeated(self) -> bool:
        """Whether carrying it out twice leaves the queue as carrying it out once does.

        A reserve belongs here because the job of one that was lost goes back by itself.
        """
        return self.name not in _NEVER_TWICE

    @property
    def needs_reservation(self) -> bool:
        """Whether it acts on a job that its connection holds: then it begins with the job's id."""
        return self.read in _NEEDS_RESERVATION

    @property
    def reserves(self) -> bool:
        """Whether the job in its answer is held by its connection from then on."""
        return self.read in _RESERVES

    @property
    def wait(self) -> float:
        """How many seconds the command itself lets the server take before it answers."""
        if self.read is not read_reserve:
            return 0.0
        seconds = self.request[len(b"reserve-with-timeout ") : -2]
        return float(seconds) if seconds else inf

    @property
    def job_id(self) -> int:
        """The id in a command that begins with one."""
        return int(self.request.split(None, 2)[1])

    def __str__(self) -> str:
        """The request as a person would write it: no CR LF, no body."""
        return written(self.request)


_NEVER_TWICE = frozenset(
    {
        "put",
        "put-in-tube",
        "put-unique",
        "reserve-job",
        "delete",
        "release",
        "bury",
        "touch",
        "kick",
        "kick-job",
        "quit",
        "truncate",
    }
)


def written(request: bytes) -> str:
    """Write a request as a person would: no CR LF, no body, no token."""
    for word in ("auth", "resume"):
        if request.startswith(word.encode() + b" "):
            return f"{word} ..."
    return request[: request.find(b"\r\n")].decode()


def refuse(request: bytes, reply: bytes) -> NoReturn:
    """Raise what a reply means that is not one of the command's good ones."""
    raise _refusal(request, reply)


def _refusal(request: bytes, reply: bytes) -> CommandError:
    """Give the error of a refusal; BadReplyError if the reply is none."""
    error = ERROR_WORDS.get(reply[:-2]) if reply[-2:] == b"\r\n" else None
    command = written(request)
    if error is None:
        raise BadReplyError(command, reply)
    name = command.partition(" ")[0]
    if error is JobTooBigError and name.startswith("put"):
        return JobTooBigError(command, int(command.rsplit(" ", 1)[-1]))
    return error(command, _ADVICE.get((name, error.status), ""))


_NOT_HELD = "no such job, or this connection does not hold it (its ttr may have run out)"
_NOT_THERE = "no such job; it was deleted or never existed"
_ADVICE = {
    ("delete", "NOT_FOUND"): "no such job, or another connection has reserved it",
    ("release", "NOT_FOUND"): _NOT_HELD,
    ("bury", "NOT_FOUND"): _NOT_HELD,
    ("touch", "NOT_FOUND"): _NOT_HELD,
    ("reserve-job", "NOT_FOUND"): "no such job, or it is reserved already",
    ("kick-job", "NOT_FOUND"): "no such job, or it is neither buried nor delayed",
    ("peek", "NOT_FOUND"): _NOT_THERE,
    ("stats-job", "NOT_FOUND"): _NOT_THERE,
    ("stats-tube", "NOT_FOUND"): "no such tube: one that is empty and unused does not exist",
    ("truncate", "NOT_FOUND"): "no such tube: one that is empty and unused does not exist",
    ("resume", "NOT_FOUND"): "no such session: its grace is over, or the server was restarted",
    ("pause-tube", "NOT_FOUND"): "no such tube: one that is empty and unused does not exist",
}
"""What a refusal means to whoever sent this very command."""


# -- putting ----------------------------------------------------------------------


def put(
    body: bytes,
    priority: int = DEFAULT_PRIORITY,
    delay: Duration = 0,
    ttr: Duration = DEFAULT_TTR,
) -> Command[int]:
    """Put a job into the used tube; gives its id, a ``BuriedId`` if it was buried."""
    return Command(put_request(body, priority, delay, ttr), read_put)


def put_request(body: bytes, priority: int, delay: Duration, ttr: Duration) -> bytes:
    """Write the request of ``put``."""
    # Only ints are looked up: True and 1.0 equal 1 and are to be refused.
    if priority.__class__ is delay.__class__ is ttr.__class__ is int:
        key = (priority, delay, ttr, len(body))
        line = _put_lines.get(key)
        if line is None:
            line = _put_line(*key)
            if len(_put_lines) < _MOST_PUT_LINES:
                _put_lines[key] = line
    else:
        line = _put_line(priority, delay, ttr, len(body))
    return b"".join((line, body, b"\r\n"))


_MOST_PUT_LINES = 1024
_put_lines: dict[tuple[int, Duration, Duration, int], bytes] = {}
# Programs put with a handful of settings and sizes: checking and writing a line anew for
# each job costs 0.6 µs, a third of the whole call.


def _put_line(priority: int, delay: Duration, ttr: Duration, size: int) -> bytes:
    return b"put %d %d %d %d\r\n" % (
        priority_number(priority),
        seconds(delay, "delay"),
        seconds(ttr, "ttr"),
        size,
    )


def read_put(request: bytes, reply: bytes) -> int:
    """Read the reply to ``put``."""
    if reply[:9] == b"INSERTED " and reply[-1] == 10:
        return int(reply[9:])
    if reply[:7] == b"BURIED " and reply[-1] == 10:
        return BuriedId(reply[7:])
    refuse(request, reply)


def use(tube: str) -> Command[str]:
    """Choose the tube that puts go into; gives its name."""
    return Command(b"use %b\r\n" % tube_name(tube), _read_using)


def _read_using(request: bytes, reply: bytes) -> str:
    if reply[:6] == b"USING " and reply.find(b"\r\n") == len(reply) - 2:
        return reply[6:-2].decode("ascii")
    refuse(request, reply)


# -- reserving --------------------------------------------------------------------


def reserve() -> Command[Job | None]:
    """Wait for a job of the watched tubes, for ever."""
    return Command(b"reserve\r\n", read_reserve)


def reserve_with_timeout(timeout: Duration) -> Command[Job | None]:
    """Wait for a job of the watched tubes, ``timeout`` seconds at most; None if none came."""
    return Command(
        b"reserve-with-timeout %d\r\n" % seconds(timeout, "timeout", MAX_TIMEOUT), read_reserve
    )


def reserve_job(job: Job | int) -> Command[Job]:
    """Reserve this very job, whatever its tube; it must not be reserved."""
    return Command(b"reserve-job %d\r\n" % job_id(job), _read_reserved)


def read_reserve(request: bytes, reply: bytes) -> Job | None:
    """Read the reply to ``reserve`` and ``reserve-with-timeout``."""
    if len(reply) < _SMALL:  # then it is cheaper to copy the body twice than to look for it
        line, _, rest = reply.partition(b"\r\n")
        fields = line.split()
        if fields and fields[0] == b"RESERVED":
            tube = fields.pop().decode("ascii") if len(fields) == 4 else None
            _, number, size = fields
            if len(rest) != (_sizes.get(size) or _size(size)) + 2 or rest[-1] != 10:
                raise ValueError("not whole, or the body is not ended by CR LF")
            job = _new_job(Job)
            job.id = int(number)
            job.body = rest[:-2]
            job.encoding = DEFAULT_ENCODING
            job.holder = None
            job.tube = tube
            return job
    elif reply[:9] == b"RESERVED ":
        return _read_job(reply)
    if reply == b"TIMED_OUT\r\n":
        return None
    if reply == b"DEADLINE_SOON\r\n":
        raise DeadlineSoon
    refuse(request, reply)


def _read_reserved(request: bytes, reply: bytes) -> Job:
    if reply[:9] == b"RESERVED ":
        return _read_job(reply)
    refuse(request, reply)


def _read_job(reply: bytes) -> Job:
    end = reply.index(b"\r\n")
    fields = reply[:end].split()
    tube = fields.pop().decode("ascii") if len(fields) == 4 else None
    _, number, size = fields
    if len(reply) != end + int(size) + 4 or reply[-1] != 10:
        raise ValueError("not whole, or the body is not ended by CR LF")
    job = _new_job(Job)  # its own constructor would cost as much again as all this
    job.id = int(number)
    job.body = reply[end + 2 : -2]
    job.encoding = DEFAULT_ENCODING
    job.holder = None
    job.tube = tube
    return job


_new_job = Job.__new__
_SMALL = 4096
_sizes: dict[bytes, int] = {}  # of small bodies: a look at it costs a third of reading a number


def _size(text: bytes) -> int:
    size = int(text)
    if size < _SMALL and b"%d" % size == text:
        _sizes[text] = size
    return size


# -- finishing --------------------------------------------------------------------


def delete(job: Job | int) -> Command[None]:
    """Delete a job that this connection holds, or that nobody has reserved."""
    return Command(b"delete %d\r\n" % job_id(job), read_deleted)


def read_deleted(request: bytes, reply: bytes) -> None:
    """Read the reply to ``delete``."""
    if reply != b"DELETED\r\n":
        refuse(request, reply)


def read_deleted_and_reserve(
    request: bytes, reply: bytes
) -> tuple[CommandError | None, Job | CommandError | DeadlineSoon | None]:
    """Read the replies to ``delete`` and to a reserve behind it: a result for each."""
    if reply[:9] == b"DELETED\r\n":
        refused, rest = None, reply[9:]
    else:
        end = reply.index(b"\r\n") + 2
        refused, rest = _refusal(request, reply[:end]), reply[end:]
    if not rest:
        raise ValueError("the second reply is still to come")
    try:
        return refused, read_reserve(request[request.index(b"\r\n") + 2 :], rest)
    except (CommandError, DeadlineSoon) as error:
        return refused, error


def release(job: Job | int, priority: int = DEFAULT_PRIORITY, delay: Duration = 0) -> Command[bool]:
    """Put a held job back; gives False if the server buried it for lack of memory."""
    return Command(
        b"release %d %d %d\r\n" % (job_id(job), priority_number(priority), seconds(delay, "delay")),
        _read_released,
    )


def _read_released(request: bytes, reply: bytes) -> bool:
    if reply == b"RELEASED\r\n":
        return True
    if reply == b"BURIED\r\n":
        return False
    refuse(request, reply)


def bury(job: Job | int, priority: int = DEFAULT_PRIORITY) -> Command[None]:
    """Set a held job aside until it is kicked."""
    return Command(b"bury %d %d\r\n" % (job_id(job), priority_number(priority)), _read_buried)


def _read_buried(request: bytes, reply: bytes) -> None:
    if reply != b"BURIED\r\n":
        refuse(request, reply)


def touch(job: Job | int) -> Command[None]:
    """Start the ttr of a held job anew."""
    return Command(b"touch %d\r\n" % job_id(job), _read_touched)


def _read_touched(request: bytes, reply: bytes) -> None:
    if reply != b"TOUCHED\r\n":
        refuse(request, reply)


_NEEDS_RESERVATION: frozenset[Reader[Any]] = frozenset(
    {read_deleted, _read_released, _read_buried, _read_touched}
)
_RESERVES: frozenset[Reader[Any]] = frozenset({read_reserve, _read_reserved})


# -- watching ---------------------------------------------------------------------


def watch(tube: str) -> Command[int]:
    """Reserve from this tube too; gives how many are watched."""
    return Command(b"watch %b\r\n" % tube_name(tube), _read_watching)


def ignore(tube: str) -> Command[int]:
    """Reserve from this tube no longer; gives how many are watched."""
    return Command(b"ignore %b\r\n" % tube_name(tube), _read_watching)


def _read_watching(request: bytes, reply: bytes) -> int:
    if reply[:9] == b"WATCHING " and reply[-1] == 10:
        return int(reply[9:])
    refuse(request, reply)


# -- looking ----------------------------------------------------------------------


def peek(job: Job | int) -> Command[Job]:
    """Look at a job without reserving it."""
    return Command(b"peek %d\r\n" % job_id(job), _read_found)


def _read_found(request: bytes, reply: bytes) -> Job:
    if reply[:6] == b"FOUND ":
        return _read_job(reply)
    refuse(request, reply)


def peek_ready() -> Command[Job | None]:
    """Look at the used tube's next ready job; None if there is none."""
    return Command(b"peek-ready\r\n", _read_peek)


def peek_delayed() -> Command[Job | None]:
    """Look at the used tube's delayed job with the least delay left; None if there is none."""
    return Command(b"peek-delayed\r\n", _read_peek)


def peek_buried() -> Command[Job | None]:
    """Look at the job of the used tube that was buried first; None if there is none."""
    return Command(b"peek-buried\r\n", _read_peek)


def _read_peek(request: bytes, reply: bytes) -> Job | None:
    if reply[:6] == b"FOUND ":
        return _read_job(reply)
    if reply == b"NOT_FOUND\r\n":
        return None
    refuse(request, reply)


# -- kicking and pausing ----------------------------------------------------------


def kick(bound: int) -> Command[int]:
    """Make up to ``bound`` buried jobs of the used tube ready, or delayed ones if none is buried.

    Gives how many it were.
    """
    return Command(b"kick %d\r\n" % whole_number(bound, "bound", MAX_UINT32), _read_kicked)


def _read_kicked(request: bytes, reply: bytes) -> int:
    if reply[:7] == b"KICKED " and reply[-1] == 10:
        return int(reply[7:])
    refuse(request, reply)


def kick_job(job: Job | int) -> Command[None]:
    """Make this buried or delayed job ready."""
    return Command(b"kick-job %d\r\n" % job_id(job), _read_kicked_job)


def _read_kicked_job(request: bytes, reply: bytes) -> None:
    if reply != b"KICKED\r\n":
        refuse(request, reply)


def pause_tube(tube: str, delay: Duration) -> Command[None]:
    """Hand out no job of this tube for ``delay`` seconds; 0 ends a pause."""
    return Command(
        b"pause-tube %b %d\r\n" % (tube_name(tube), seconds(delay, "delay")), _read_paused
    )


def _read_paused(request: bytes, reply: bytes) -> None:
    if reply != b"PAUSED\r\n":
        refuse(request, reply)


# -- counting ---------------------------------------------------------------------


def read_document(request: bytes, reply: bytes) -> bytes:
    """Give the body of OK."""
    if reply[:3] != b"OK ":
        refuse(request, reply)
    line, _, rest = reply.partition(b"\r\n")
    return whole_document(rest, int(line[3:]))


def whole_document(rest: bytes, size: int) -> bytes:
    """Give a document of this size out of what stands behind the line of a reply."""
    if len(rest) != size + 2 or rest[-2:] != b"\r\n":
        raise ValueError("not whole, or the document is not ended by CR LF")
    return rest[:-2]


def stats() -> Command[ServerStats]:
    """Ask for the server's statistics."""
    return Command(b"stats\r\n", _read_stats)


def _read_stats(request: bytes, reply: bytes) -> ServerStats:
    return ServerStats.read(read_document(request, reply))


def stats_tube(tube: str) -> Command[TubeStats]:
    """Ask for a tube's statistics."""
    return Command(b"stats-tube %b\r\n" % tube_name(tube), _read_stats_tube)


def _read_stats_tube(request: bytes, reply: bytes) -> TubeStats:
    return TubeStats.read(read_document(request, reply))


def stats_job(job: Job | int) -> Command[JobStats]:
    """Ask for a job's statistics."""
    return Command(b"stats-job %d\r\n" % job_id(job), _read_stats_job)


def _read_stats_job(request: bytes, reply: bytes) -> JobStats:
    return JobStats.read(read_document(request, reply))


def list_tubes() -> Command[list[str]]:
    """Ask for the names of all tubes."""
    return Command(b"list-tubes\r\n", _read_names)


def list_tubes_watched() -> Command[list[str]]:
    """Ask for the names of the tubes this connection watches."""
    return Command(b"list-tubes-watched\r\n", _read_names)


def _read_names(request: bytes, reply: bytes) -> list[str]:
    return read_list(read_document(request, reply))


def list_tube_used() -> Command[str]:
    """Ask for the tube that puts of this connection go into."""
    return Command(b"list-tube-used\r\n", _read_using)


# -- leaving ----------------------------------------------------------------------


def quit() -> Command[None]:
    """Ask the server to close the connection; there is no reply."""
    return Command(b"quit\r\n", _read_nothing)


def _read_nothing(request: bytes, reply: bytes) -> None:
    refuse(request, reply)
