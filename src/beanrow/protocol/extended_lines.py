"""The lines of our extensions into requests: the server's half beside ``lines.py``.

Law: they are read strictly: one space between fields, nothing behind the last. No client of the
daemon writes them, so nothing has to be forgiven.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from beanrow.protocol.capabilities import (
    CLIENT_NAME,
    LIST_CLIENTS,
    LIST_JOBS,
    LIST_LEASES,
    LIST_SLOW,
    LIST_TIMES,
    PUT_IN_TUBE,
    PUT_UNIQUE,
    RESUME,
    SESSION,
    TRUNCATE,
)
from beanrow.protocol.listing import MAX_LISTED, STATES
from beanrow.protocol.requests import (
    BadFormat,
    ClientName,
    ListClients,
    ListJobs,
    ListLeases,
    ListSlow,
    ListTimes,
    Parsed,
    PutInTube,
    PutLine,
    PutUnique,
    Resume,
    Session,
    Truncate,
)
from beanrow.protocol.values import MAX_GRACE, MAX_ID, MAX_UINT32, TUBE_NAME_BYTES, is_tube_name

__all__ = ["parse_extended_line"]

_PUT_IN_TUBE = re.compile(rb"([%b]+) (\d+) (\d+) (\d+) (\d+)" % TUBE_NAME_BYTES)
_PUT_UNIQUE = re.compile(rb"([%b]+) (\d+) (\d+) (\d+) (\d+) (\d+)" % TUBE_NAME_BYTES)
_LIST_JOBS = re.compile(rb"([%b]+) (%b) (\d+) (\d+)" % (TUBE_NAME_BYTES, "|".join(STATES).encode()))
_PAGE = re.compile(rb"(\d+) (\d+)")
_BAD_FORMAT = BadFormat()
_DIGITS = 20  # of a number, leading zeros and all
_MOST_KNOWN_LINES = 4096
_known_lines: dict[bytes, PutLine] = {}
# As in request_stream.py, and apart from those: a connection that has not asked must not meet them.


def parse_extended_line(line: bytes, words: frozenset[str]) -> Parsed | None:
    """Turn a line that begins with one of ``words`` into its request; None for any other line."""
    word, space, rest = line.partition(b" ")
    parse = _BY_WORD.get(word)
    if parse is None or word.decode("ascii") not in words:
        return None
    known = _known_lines.get(line)
    if known is not None:
        return known
    parsed = parse(rest) if space else _BAD_FORMAT
    if isinstance(parsed, PutLine) and parse is not _parse_put_unique:  # keys do not repeat
        if len(_known_lines) >= _MOST_KNOWN_LINES:
            _known_lines.clear()
        _known_lines[line] = parsed
    return parsed


def _parse_put_in_tube(rest: bytes) -> Parsed:
    match = _PUT_IN_TUBE.fullmatch(rest)
    if match is None or not is_tube_name(match[1]):
        return _BAD_FORMAT
    priority, delay, ttr, size = numbers = [int(digits) for digits in match.group(2, 3, 4, 5)]
    if max(numbers) > MAX_UINT32:
        return _BAD_FORMAT
    tube = match[1].decode("ascii")
    return PutLine(priority, delay, ttr, size, PutInTube(tube, priority, delay, ttr, b""))


def _parse_put_unique(rest: bytes) -> Parsed:
    match = _PUT_UNIQUE.fullmatch(rest)
    if match is None or not is_tube_name(match[1]):  # they are spelled alike
        return _BAD_FORMAT
    lifetime, priority, delay, ttr, size = numbers = [
        int(digits) for digits in match.group(2, 3, 4, 5, 6)
    ]
    if max(numbers) > MAX_UINT32:
        return _BAD_FORMAT
    key = match[1].decode("ascii")
    return PutLine(priority, delay, ttr, size, PutUnique(key, lifetime, priority, delay, ttr, b""))


def _parse_truncate(rest: bytes) -> Parsed:
    return Truncate(rest.decode("ascii")) if is_tube_name(rest) else _BAD_FORMAT


def _parse_list_jobs(rest: bytes) -> Parsed:
    match = _LIST_JOBS.fullmatch(rest)
    if match is None or not is_tube_name(match[1]):
        return _BAD_FORMAT
    after, limit = int(match[3]), int(match[4])
    if after > MAX_ID or not 0 < limit <= MAX_LISTED:
        return _BAD_FORMAT
    return ListJobs(match[1].decode("ascii"), match[2].decode("ascii"), after, limit)


def _parse_session(rest: bytes) -> Parsed:
    grace = int(rest) if rest.isdigit() and len(rest) < _DIGITS else 0
    return Session(grace) if 0 < grace <= MAX_GRACE else _BAD_FORMAT


def _parse_resume(rest: bytes) -> Parsed:
    return Resume(rest.decode("ascii")) if is_tube_name(rest) else _BAD_FORMAT  # spelled alike


def _parse_list_times(rest: bytes) -> Parsed:
    return ListTimes(rest.decode("ascii")) if is_tube_name(rest) else _BAD_FORMAT


def _page_of(kind: type[ListLeases | ListClients]) -> Callable[[bytes], Parsed]:
    def parse(rest: bytes) -> Parsed:
        match = _PAGE.fullmatch(rest)
        if match is None:
            return _BAD_FORMAT
        after, limit = int(match[1]), int(match[2])
        is_page = after <= MAX_ID and 0 < limit <= MAX_LISTED
        return kind(after, limit) if is_page else _BAD_FORMAT

    return parse


def _parse_list_slow(rest: bytes) -> Parsed:
    if not rest.isdigit() or int(rest) > MAX_ID:
        return _BAD_FORMAT
    return ListSlow(int(rest))


def _parse_client_name(rest: bytes) -> Parsed:
    """Read a name; it is spelled like a tube's."""
    return ClientName(rest.decode("ascii")) if is_tube_name(rest) else _BAD_FORMAT


_BY_WORD: dict[bytes, Callable[[bytes], Parsed]] = {
    CLIENT_NAME.encode(): _parse_client_name,
    LIST_CLIENTS.encode(): _page_of(ListClients),
    LIST_JOBS.encode(): _parse_list_jobs,
    LIST_LEASES.encode(): _page_of(ListLeases),
    LIST_SLOW.encode(): _parse_list_slow,
    PUT_IN_TUBE.encode(): _parse_put_in_tube,
    PUT_UNIQUE.encode(): _parse_put_unique,
    RESUME.encode(): _parse_resume,
    SESSION.encode(): _parse_session,
    LIST_TIMES.encode(): _parse_list_times,
    TRUNCATE.encode(): _parse_truncate,
}
