"""Command lines into requests, with the daemon's own rules of what is malformed.

Law: ``parse_line`` is total: any line becomes a request, a bad one ``BadFormat`` or
``UnknownCommand``, as daemon 1.12 answers it (``docs/compatibility.md`` lists where not).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from beanrow.protocol.requests import (
    Auth,
    BadFormat,
    Bury,
    Capabilities,
    Delete,
    Ignore,
    Kick,
    KickJob,
    ListTubes,
    ListTubesWatched,
    ListTubeUsed,
    Parsed,
    PauseTube,
    Peek,
    PeekBuried,
    PeekDelayed,
    PeekReady,
    PutLine,
    Quit,
    Release,
    Request,
    Reserve,
    ReserveJob,
    ReserveWithTimeout,
    Stats,
    StatsJob,
    StatsTube,
    Touch,
    UnknownCommand,
    Use,
    Watch,
    make,
)
from beanrow.protocol.values import (
    MAX_ID,
    MAX_TIMEOUT,
    MAX_UINT32,
    TUBE_NAME_BYTES,
    is_tube_name,
)

__all__ = ["parse_line", "parse_usual_line"]

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

_DIGITS_OF_MAX_ID = 20
_BAD_FORMAT = BadFormat()
_MALFORMED_PUT = BadFormat(counted="put")
_UNKNOWN_COMMAND = UnknownCommand()
_MAX_KICK = 2**64 - 1
"""Above it the C library's strtoul fails, and with it the daemon's kick."""


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
    match = _PUT.match(rest)
    if match is None:
        return _BAD_FORMAT
    priority, delay, ttr, size = map(int, match.group(1, 2, 3, 4))
    if max(priority, delay, ttr, size) > MAX_UINT32:
        return _BAD_FORMAT
    return PutLine(priority, delay, ttr, size, _MALFORMED_PUT if match[5] else None)


def _usual_put(rest: bytes) -> PutLine | None:
    """Read it as every client writes it, in a third of the time; None if it is not so."""
    fields = rest.split(b" ")
    if len(fields) != 4 or b"" in fields or not b"".join(fields).isdigit():
        return None
    first, second, third, fourth = fields
    delay, ttr = _known_numbers.get(second), _known_numbers.get(third)
    if delay is None:
        delay = _know(second)
    if ttr is None:
        ttr = _know(third)
    priority, size = int(first), int(fourth)
    if priority > MAX_UINT32 or delay > MAX_UINT32 or ttr > MAX_UINT32 or size > MAX_UINT32:
        return None
    return make(PutLine, (priority, delay, ttr, size, None))


_MOST_KNOWN = 256
_known_numbers: dict[bytes, int] = {}
"""Delays and ttrs: always the same few. A job keeps its own, so one object for all is memory too."""


def _know(digits: bytes) -> int:
    if len(_known_numbers) >= _MOST_KNOWN:
        _known_numbers.clear()
    _known_numbers[digits] = number = int(digits)
    return number


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


def _parse_auth(rest: bytes) -> Parsed:
    return Auth(rest)


def _parse_capabilities(rest: bytes) -> Parsed:
    words = rest.split(b" ")
    if not all(map(is_tube_name, words)):  # they are spelled alike
        return _BAD_FORMAT
    return Capabilities(tuple(word.decode("ascii") for word in words))


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
    (b"auth ", _parse_auth),
)
"""Commands by the prefix the daemon knows them by, tried in this order; ours behind them."""

_BY_WORD: dict[bytes, Callable[[bytes], Parsed]] = {
    **dict(_BY_PREFIX),
    b"pause-tube ": _parse_pause_tube,
    b"capabilities": _bare(Capabilities(())),
    b"capabilities ": _parse_capabilities,
}
"""The same for a well-formed line: its first word, with the space behind it.

What is ours begins with its whole word or is unknown. The words that ``capabilities`` switches
on are in ``extended_lines.py``.
"""

_WITH_ONLY_AN_ID: dict[bytes, type[Delete | Touch | ReserveJob | KickJob | Peek | StatsJob]] = {
    b"delete": Delete,
    b"touch": Touch,
    b"reserve-job": ReserveJob,
    b"kick-job": KickJob,
    b"peek": Peek,
    b"stats-job": StatsJob,
}
"""The commands of which there is one for each job: read without a detour."""


def parse_usual_line(line: bytes) -> Parsed | None:
    """Read a command that there is for each job without a detour; None for any other line."""
    word, _, rest = line.partition(b" ")
    kind = _WITH_ONLY_AN_ID.get(word)
    if kind is not None:
        if rest.isdigit() and len(rest) < _DIGITS_OF_MAX_ID:
            return make(kind, (int(rest),))
    elif word == b"put":
        return _usual_put(rest)
    return None
