"""The server's half: bytes into requests, with the daemon's own rules of what is malformed.

Laws:
- ``parse_line`` is total: any line becomes a request, a bad one ``BadFormat`` or
  ``UnknownCommand``, as daemon 1.12 answers it (``docs/compatibility.md`` lists
  where not).
- What a stream of bytes means does not depend on the pieces it came in.
- Memory is bounded: a line by its 224 bytes, a body by the server's limit; what is
  longer is skipped as it comes. A body that comes in pieces is joined once.
- A request without fields is an empty tuple and so falsy: ask whether it is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from beanrow.protocol.values import (
    MAX_ID,
    MAX_LINE,
    MAX_TIMEOUT,
    MAX_UINT32,
    TUBE_NAME_BYTES,
    is_tube_name,
)

__all__ = [
    "BadFormat",
    "Bury",
    "Delete",
    "Ignore",
    "Kick",
    "KickJob",
    "ListTubeUsed",
    "ListTubes",
    "ListTubesWatched",
    "PauseTube",
    "Peek",
    "PeekBuried",
    "PeekDelayed",
    "PeekReady",
    "Put",
    "PutTooBig",
    "PutUnterminated",
    "Quit",
    "Release",
    "Request",
    "RequestStream",
    "Reserve",
    "ReserveJob",
    "ReserveWithTimeout",
    "Stats",
    "StatsJob",
    "StatsTube",
    "Touch",
    "UnknownCommand",
    "Use",
    "Watch",
    "parse_line",
]


class Put(NamedTuple):
    """A whole job. Delay and ttr in seconds."""

    priority: int
    delay: int
    ttr: int
    body: bytes


class PutTooBig(NamedTuple):
    """A put whose body was over the limit and has been skipped."""


class PutUnterminated(NamedTuple):
    """A put whose body was not ended by CR LF."""


class Use(NamedTuple):
    """Put into this tube from now on."""

    tube: str


class Reserve(NamedTuple):
    """Wait for a job for ever."""


class ReserveWithTimeout(NamedTuple):
    """Wait for a job, so many seconds."""

    timeout: int


class ReserveJob(NamedTuple):
    """Reserve this very job."""

    id: int


class Delete(NamedTuple):
    """Delete this job."""

    id: int


class Release(NamedTuple):
    """Put this held job back. Delay in seconds."""

    id: int
    priority: int
    delay: int


class Bury(NamedTuple):
    """Set this held job aside."""

    id: int
    priority: int


class Touch(NamedTuple):
    """Start this held job's ttr anew."""

    id: int


class Watch(NamedTuple):
    """Reserve from this tube too."""

    tube: str


class Ignore(NamedTuple):
    """Reserve from this tube no longer."""

    tube: str


class Peek(NamedTuple):
    """Look at this job."""

    id: int


class PeekReady(NamedTuple):
    """Look at the used tube's next ready job."""


class PeekDelayed(NamedTuple):
    """Look at the used tube's next delayed job."""


class PeekBuried(NamedTuple):
    """Look at the used tube's first buried job."""


class Kick(NamedTuple):
    """Make so many buried or delayed jobs of the used tube ready."""

    bound: int


class KickJob(NamedTuple):
    """Make this buried or delayed job ready."""

    id: int


class Stats(NamedTuple):
    """The server's statistics."""


class StatsJob(NamedTuple):
    """This job's statistics."""

    id: int


class StatsTube(NamedTuple):
    """This tube's statistics."""

    tube: str


class ListTubes(NamedTuple):
    """All tubes."""


class ListTubeUsed(NamedTuple):
    """The tube that puts go into."""


class ListTubesWatched(NamedTuple):
    """The tubes of this connection's reserves."""


class PauseTube(NamedTuple):
    """Hand out no job of this tube for so many seconds."""

    tube: str
    delay: int


class Quit(NamedTuple):
    """Close the connection."""


class BadFormat(NamedTuple):
    """A line that cannot be read. ``counted`` is the command that counts it all the same."""

    counted: str = ""


class UnknownCommand(NamedTuple):
    """A line that begins with no known command."""


class PutLine(NamedTuple):
    """The line of a put; its body is still to come. Never leaves this module."""

    priority: int
    delay: int
    ttr: int
    size: int
    junk: bool


Request = (
    Put
    | PutTooBig
    | PutUnterminated
    | Use
    | Reserve
    | ReserveWithTimeout
    | ReserveJob
    | Delete
    | Release
    | Bury
    | Touch
    | Watch
    | Ignore
    | Peek
    | PeekReady
    | PeekDelayed
    | PeekBuried
    | Kick
    | KickJob
    | Stats
    | StatsJob
    | StatsTube
    | ListTubes
    | ListTubeUsed
    | ListTubesWatched
    | PauseTube
    | Quit
    | BadFormat
    | UnknownCommand
)

_PUT = re.compile(rb" *(\d+) +(\d+) +(\d+) +(\d+)(.*)\Z", re.DOTALL)
_RELEASE = re.compile(rb" *(\d+) +(\d+) +(\d+)\Z")
_BURY = re.compile(rb" *(\d+) +(\d+)\Z")
_KICK = re.compile(rb"[ \t\n\v\f\r]*\+?(\d+)")
_PAUSE_TUBE = re.compile(rb" *([%b]+) +(\d+)\Z" % TUBE_NAME_BYTES)
_HTTP = re.compile(rb"[A-Z]+ .* HTTP/1\.[01]\Z|(host|content-length): ", re.IGNORECASE)
"""A browser that a web page has sent here: the page has chosen the body, which must not be
carried out. A page also chooses how long the first line is, and so whether it and the line
behind it can be read: hence the headers that come before each body.
"""

_new: Any = tuple.__new__
# Making a NamedTuple by its own constructor takes 250 ns, this way 100; used where
# there is one for each job.
_DIGITS_OF_MAX_ID = 20
_BAD_FORMAT = BadFormat()
_UNKNOWN_COMMAND = UnknownCommand()
_MAX_KICK = 2**64 - 1
"""Above it the C library's strtoul fails, and with it the daemon's kick."""

Parsed = Request | PutLine


def parse_line(line: bytes) -> Parsed:
    """Turn a command line, without its CR LF, into a request or the line of a put."""
    if 0 in line:
        return _BAD_FORMAT
    space = line.find(b" ") + 1
    parse = _BY_WORD.get(line[:space] if space else line)
    if parse is not None:
        return parse(line[space:] if space else b"")
    for prefix, parse in _BY_PREFIX:
        if line.startswith(prefix):
            return parse(line[len(prefix) :])
    return Quit() if _HTTP.match(line) else _UNKNOWN_COMMAND


def _parse_put(rest: bytes) -> Parsed:
    fields = rest.split(b" ")
    if len(fields) == 4 and b"".join(fields).isdigit() and b"" not in fields:
        numbers, junk = fields, False  # as every client writes it: twice as fast
    else:
        match = _PUT.match(rest)
        if match is None:
            return _BAD_FORMAT
        numbers, junk = list(match.group(1, 2, 3, 4)), match[5] != b""
    priority, delay, ttr, size = map(int, numbers)
    if max(priority, delay, ttr, size) > MAX_UINT32:
        return _BAD_FORMAT
    return PutLine(priority, delay, ttr, size, junk)


def _number(rest: bytes, most: int) -> int | None:
    """Read the one number of a command: spaces before it are allowed, nothing behind it."""
    digits = rest if rest.isdigit() else rest.lstrip(b" ")
    if not digits.isdigit():
        return None
    number = int(digits)
    return number if number <= most else None


def _with_id(request: Callable[[int], Request]) -> Callable[[bytes], Parsed]:
    def parse(rest: bytes) -> Parsed:
        number = _number(rest, MAX_ID)
        return _BAD_FORMAT if number is None else request(number)

    return parse


def _with_tube(request: Callable[[str], Request]) -> Callable[[bytes], Parsed]:
    def parse(rest: bytes) -> Parsed:
        return request(rest.decode("ascii")) if is_tube_name(rest) else _BAD_FORMAT

    return parse


def _bare(request: Request) -> Callable[[bytes], Parsed]:
    def parse(rest: bytes) -> Parsed:
        return _BAD_FORMAT if rest else request

    return parse


def _parse_reserve_with_timeout(rest: bytes) -> Parsed:
    timeout = _number(rest, MAX_TIMEOUT)
    return _BAD_FORMAT if timeout is None else ReserveWithTimeout(timeout)


def _parse_release(rest: bytes) -> Parsed:
    match = _RELEASE.match(rest)
    if match is None:
        return _BAD_FORMAT
    number, priority, delay = map(int, match.groups())
    if number > MAX_ID or max(priority, delay) > MAX_UINT32:
        return _BAD_FORMAT
    return Release(number, priority, delay)


def _parse_bury(rest: bytes) -> Parsed:
    match = _BURY.match(rest)
    if match is None:
        return _BAD_FORMAT
    number, priority = map(int, match.groups())
    return _BAD_FORMAT if number > MAX_ID or priority > MAX_UINT32 else Bury(number, priority)


def _parse_kick(rest: bytes) -> Parsed:
    """Read as C's strtoul does: white space and a plus before it, anything behind it."""
    match = _KICK.match(rest)
    bound = int(match[1]) if match else _MAX_KICK + 1
    return _BAD_FORMAT if bound > _MAX_KICK else Kick(bound & MAX_UINT32)


def _parse_pause_tube(rest: bytes) -> Parsed:
    match = _PAUSE_TUBE.match(rest)
    if match is None or int(match[2]) > MAX_UINT32:
        return _BAD_FORMAT
    if not is_tube_name(match[1]):
        return BadFormat(counted="pause-tube")
    return PauseTube(match[1].decode("ascii"), int(match[2]))


def _parse_quit(rest: bytes) -> Parsed:
    return _UNKNOWN_COMMAND if rest.strip(b" ") else Quit()


_BY_PREFIX: tuple[tuple[bytes, Callable[[bytes], Parsed]], ...] = (
    (b"put ", _parse_put),
    (b"peek ", _with_id(Peek)),
    (b"peek-ready", _bare(PeekReady())),
    (b"peek-delayed", _bare(PeekDelayed())),
    (b"peek-buried", _bare(PeekBuried())),
    (b"reserve-with-timeout ", _parse_reserve_with_timeout),
    (b"reserve-job ", _with_id(ReserveJob)),
    (b"reserve", _bare(Reserve())),
    (b"delete ", _with_id(Delete)),
    (b"release ", _parse_release),
    (b"bury ", _parse_bury),
    (b"kick ", _parse_kick),
    (b"kick-job ", _with_id(KickJob)),
    (b"touch ", _with_id(Touch)),
    (b"stats-job ", _with_id(StatsJob)),
    (b"stats-tube ", _with_tube(StatsTube)),
    (b"stats", _bare(Stats())),
    (b"use ", _with_tube(Use)),
    (b"watch ", _with_tube(Watch)),
    (b"ignore ", _with_tube(Ignore)),
    (b"list-tubes-watched", _bare(ListTubesWatched())),
    (b"list-tube-used", _bare(ListTubeUsed())),
    (b"list-tubes", _bare(ListTubes())),
    (b"quit", _parse_quit),
    (b"pause-tube", _parse_pause_tube),
)
"""Commands by the prefix the daemon knows them by, tried in this order."""

_BY_WORD: dict[bytes, Callable[[bytes], Parsed]] = {
    **dict(_BY_PREFIX),
    b"pause-tube ": _parse_pause_tube,
}
"""The same for a well-formed line: its first word, with the space behind it."""

_WITH_ONLY_AN_ID = {
    b"delete": Delete,
    b"touch": Touch,
    b"reserve-job": ReserveJob,
    b"kick-job": KickJob,
    b"peek": Peek,
    b"stats-job": StatsJob,
}
"""The commands of which there is one for each job: read without a detour."""

_WINDOW = MAX_LINE - 1
_REPEATING = frozenset({PutLine, Reserve, ReserveWithTimeout, Use, Watch, Ignore, Stats, StatsTube})
"""What clients send over and over to the letter. Lines with an id do not repeat."""
_MOST_KNOWN_LINES = 4096
_known_lines: dict[bytes, Parsed] = {}
# Looking a repeated line up costs 40 ns, parsing it anew 400 to 1,000.


def _parse(line: bytes) -> Parsed | None:
    """Parse a line that is not among the known ones; None if it has a stray CR.

    The line is remembered if it is one that may repeat.
    """
    word, _, rest = line.partition(b" ")
    if rest.isdigit() and len(rest) < _DIGITS_OF_MAX_ID:
        kind = _WITH_ONLY_AN_ID.get(word)
        if kind is not None:
            return _new(kind, (int(rest),))  # type: ignore[no-any-return]
    if b"\r" in line:
        return None
    parsed = parse_line(line)
    if parsed.__class__ in _REPEATING:
        if len(_known_lines) >= _MOST_KNOWN_LINES:
            _known_lines.clear()
        _known_lines[line] = parsed
    return parsed


class RequestStream:
    """Cuts requests out of one connection's bytes.

    ``max_job_size`` is the limit of a body in bytes.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_in_long_line",
        "_max_job_size",
        "_missing",
        "_put",
        "_skip",
        "_start",
    )

    def __init__(self, max_job_size: int) -> None:
        self._max_job_size = max_job_size
        self._buffer = b""
        self._start = 0
        self._put: PutLine | None = None
        self._chunks: list[bytes] = []  # of a body that is still coming
        self._missing = 0  # bytes until the chunks are a whole body
        self._skip = 0  # bytes of a body over the limit that are still coming
        self._in_long_line = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the connection."""
        if self._chunks:
            self._chunks.append(data)
            self._missing -= len(data)
            if self._missing <= 0:
                self._buffer = b"".join(self._chunks)
                self._chunks.clear()
        elif self._start == len(self._buffer):
            self._buffer = data
            self._start = 0
        else:
            self._buffer = self._buffer[self._start :] + data
            self._start = 0

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not yet given out, those of an unfinished body aside."""
        return 0 if self._chunks else len(self._buffer) - self._start

    def next(self) -> Request | None:
        """Give the next request, or None until more bytes are fed."""
        if self._put is not None:
            return self._body(self._put)
        buffer, start = self._buffer, self._start
        end = buffer.find(b"\r\n", start, start + MAX_LINE)
        if end < 0 or self._in_long_line:
            return None if start == len(buffer) else self._unusual_line()
        line = buffer[start:end]
        parsed = _known_lines.get(line)
        if parsed is None:
            parsed = _parse(line)
            if parsed is None:
                return self._unusual_line()
        if not isinstance(parsed, PutLine):
            self._start = end + 2
            return parsed
        priority, delay, ttr, size, junk = parsed
        body, end = end + 2, end + 2 + size
        if buffer[end : end + 2] == b"\r\n" and size <= self._max_job_size and not junk:
            self._start = end + 2
            return _new(Put, (priority, delay, ttr, buffer[body:end]))  # type: ignore[no-any-return]
        self._start = body
        self._put = parsed
        return self._body(parsed)

    def _unusual_line(self) -> Request | None:
        """Go on where no plain line stands: it is incomplete, too long, or has a stray CR.

        The daemon looks at windows of 224 bytes, and in each at the first CR only: a
        window in which LF does not follow it is thrown away, and so is a line that
        fills one. The one BAD_FORMAT for it comes at its end.
        """
        buffer, start = self._buffer, self._start
        while True:
            end = buffer.find(b"\r", start, start + _WINDOW)
            if end >= 0 and buffer[end + 1 : end + 2] == b"\n":
                self._start = end + 2
                self._in_long_line = False
                return _BAD_FORMAT
            if len(buffer) - start < MAX_LINE:
                self._start = start
                return None
            start += MAX_LINE
            self._in_long_line = True

    def _body(self, put: PutLine) -> Request | None:
        """Give the put whose line has been read once its body is there."""
        priority, delay, ttr, size, junk = put
        if size > self._max_job_size:
            return self._skip_body(size + 2)
        if junk:
            self._put = None
            return BadFormat(counted="put")
        if self._chunks:
            return None
        buffer, start = self._buffer, self._start
        end = start + size
        if end + 2 > len(buffer):
            self._missing = end + 2 - len(buffer)
            self._chunks.append(buffer[start:])
            self._start = 0
            return None
        self._put = None
        self._start = end + 2
        if buffer[end : end + 2] != b"\r\n":
            return PutUnterminated()
        return _new(Put, (priority, delay, ttr, buffer[start:end]))  # type: ignore[no-any-return]

    def _skip_body(self, size: int) -> Request | None:
        """Throw away a body over the limit as it comes, then give the refused put."""
        left = self._skip or size
        there = len(self._buffer) - self._start
        if there < left:
            self._skip = left - there
            self._start = len(self._buffer)
            return None
        self._start += left
        self._skip = 0
        self._put = None
        return PutTooBig()
