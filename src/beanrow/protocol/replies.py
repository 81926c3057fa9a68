"""Replies: how a client cuts them out of a stream, and how a server writes them.

Laws:
- A reply is the bytes of one whole reply, its CR LF and its body with it. Reading
  it is the business of the command that it answers (``commands.py``).
- However the bytes arrive, each is copied a bounded number of times: a body that
  comes in pieces is joined once.
"""

from __future__ import annotations

__all__ = [
    "AUTHENTICATED",
    "BAD_FORMAT",
    "BURIED",
    "DEADLINE_SOON",
    "DELETED",
    "DRAINING",
    "EXPECTED_CRLF",
    "FORBIDDEN",
    "INTERNAL_ERROR",
    "JOB_TOO_BIG",
    "KICKED",
    "NOT_FOUND",
    "NOT_IGNORED",
    "OUT_OF_MEMORY",
    "PAUSED",
    "RELEASED",
    "TIMED_OUT",
    "TOUCHED",
    "UNKNOWN_COMMAND",
    "ReplyStream",
    "exists",
    "found",
    "found_in",
    "inserted",
    "kicked",
    "named",
    "ok",
    "reserved",
    "reserved_in",
    "resumed",
    "session",
    "split_lines",
    "truncated",
    "using",
    "watching",
]

AUTHENTICATED = b"AUTHENTICATED\r\n"
BAD_FORMAT = b"BAD_FORMAT\r\n"
BURIED = b"BURIED\r\n"
DEADLINE_SOON = b"DEADLINE_SOON\r\n"
DELETED = b"DELETED\r\n"
DRAINING = b"DRAINING\r\n"
EXPECTED_CRLF = b"EXPECTED_CRLF\r\n"
FORBIDDEN = b"FORBIDDEN\r\n"
INTERNAL_ERROR = b"INTERNAL_ERROR\r\n"
JOB_TOO_BIG = b"JOB_TOO_BIG\r\n"
KICKED = b"KICKED\r\n"
NOT_FOUND = b"NOT_FOUND\r\n"
NOT_IGNORED = b"NOT_IGNORED\r\n"
OUT_OF_MEMORY = b"OUT_OF_MEMORY\r\n"
PAUSED = b"PAUSED\r\n"
RELEASED = b"RELEASED\r\n"
TIMED_OUT = b"TIMED_OUT\r\n"
TOUCHED = b"TOUCHED\r\n"
UNKNOWN_COMMAND = b"UNKNOWN_COMMAND\r\n"

_LONGEST_LINE = 1024
"""Far above any reply line: beyond it the peer does not speak this protocol."""
_WITH_BODY = frozenset({b"RES", b"FOU", b"OK "})
"""How RESERVED and RESUMED, FOUND and OK begin, the replies that carry a body."""


def inserted(job_id: int) -> bytes:
    """INSERTED: the job is stored."""
    return b"INSERTED %d\r\n" % job_id


def exists(job_id: int) -> bytes:
    """EXISTS: this job was put under the same key."""
    return b"EXISTS %d\r\n" % job_id


def using(tube: str) -> bytes:
    """USING: puts go into this tube."""
    return b"USING %b\r\n" % tube.encode()


def watching(count: int) -> bytes:
    """WATCHING: so many tubes are watched."""
    return b"WATCHING %d\r\n" % count


def kicked(count: int) -> bytes:
    """KICKED: so many jobs were kicked."""
    return b"KICKED %d\r\n" % count


def named(name: str) -> bytes:
    """NAMED: the connection is called so."""
    return b"NAMED %b\r\n" % name.encode()


def truncated(count: int) -> bytes:
    """TRUNCATED: so many jobs were deleted."""
    return b"TRUNCATED %d\r\n" % count


def reserved(job_id: int, body: bytes) -> bytes:
    """RESERVED: a job for this connection."""
    return b"RESERVED %d %d\r\n%b\r\n" % (job_id, len(body), body)


def reserved_in(tube: str, job_id: int, body: bytes) -> bytes:
    """RESERVED, for a connection that asked to be told the tube."""
    return b"RESERVED %d %d %b\r\n%b\r\n" % (job_id, len(body), tube.encode(), body)


def found(job_id: int, body: bytes) -> bytes:
    """FOUND: a job to look at."""
    return b"FOUND %d %d\r\n%b\r\n" % (job_id, len(body), body)


def found_in(tube: str, job_id: int, body: bytes) -> bytes:
    """FOUND, for a connection that asked to be told the tube."""
    return b"FOUND %d %d %b\r\n%b\r\n" % (job_id, len(body), tube.encode(), body)


def session(token: str) -> bytes:
    """SESSION: by this token another connection may go on with it."""
    return b"SESSION %b\r\n" % token.encode()


def resumed(count: int, document: bytes) -> bytes:
    """RESUMED: so many jobs are held by this connection now; a list of their ids."""
    return b"RESUMED %d %d\r\n%b\r\n" % (count, len(document), document)


def ok(document: bytes) -> bytes:
    """OK: statistics or a list of tubes."""
    return b"OK %d\r\n%b\r\n" % (len(document), document)


def reply_end(buffer: bytes, start: int) -> int:
    """Tell where the reply at ``start`` ends or will end; 0 while its line is incomplete.

    ValueError if what stands there cannot begin a reply.
    """
    line_end = buffer.find(b"\n", start) + 1
    if line_end == 0:
        if len(buffer) - start > _LONGEST_LINE:
            raise ValueError("the line does not end")
        return 0
    if buffer[start : start + 3] not in _WITH_BODY:
        return line_end
    fields = buffer[start:line_end].split()
    place = 1 if fields[0] == b"OK" else 2
    if len(fields) <= place:
        raise ValueError("the line does not tell the size of the body")
    size = int(fields[place])
    if size < 0:
        raise ValueError("the body has a negative size")
    return line_end + size + 2


def split_lines(data: bytes) -> list[bytes] | None:
    """Cut replies at once if none of them has a body and all are whole, else None.

    A fifth of the cost of a ``ReplyStream`` for the replies to a thousand puts.
    """
    if data[-2:] != b"\r\n" or b"RES" in data or b"FOUND " in data or b"OK " in data:
        return None
    return data.splitlines(keepends=True)


class ReplyStream:
    """Cuts whole replies out of bytes as they arrive."""

    __slots__ = ("_buffer", "_chunks", "_start", "_wanted")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._chunks: list[bytes] = []
        self._wanted = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the connection."""
        if self._chunks:
            self._chunks.append(data)
            self._wanted -= len(data)
            if self._wanted <= 0:
                self._buffer = b"".join(self._chunks)
                self._chunks.clear()
        elif self._start == len(self._buffer):
            self._buffer = data
            self._start = 0
        else:
            self._buffer = self._buffer[self._start :] + data
            self._start = 0

    def next(self) -> bytes | None:
        """Give the next whole reply, or None until more bytes are fed.

        ValueError if the bytes cannot begin a reply; the stream is useless then.
        """
        if self._chunks:
            return None
        buffer, start = self._buffer, self._start
        end = reply_end(buffer, start)
        if end == 0:
            return None
        if end > len(buffer):
            self._chunks.append(buffer[start:])
            self._wanted = end - len(buffer)
            self._start = 0
            return None
        self._start = end
        return buffer[start:end]

    @property
    def rest(self) -> bytes:
        """The bytes that are left over."""
        return b"".join(self._chunks) if self._chunks else self._buffer[self._start :]

    @property
    def idle(self) -> bool:
        """Whether nothing is left over: neither a reply nor a piece of one."""
        return not self._chunks and self._start == len(self._buffer)
