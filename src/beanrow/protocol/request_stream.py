"""Requests out of one connection's bytes.

Laws:
- What a stream of bytes means does not depend on the pieces it came in.
- A word of ours is unknown until the stream itself has switched it on with ``capabilities``.
- Memory is bounded: a line by its 224 bytes (512 once a word is switched on), a body by the server's
  limit; what is longer is skipped as it comes. A body that comes in pieces is joined once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.extended_lines import parse_extended_line
from beanrow.protocol.lines import parse_line, parse_usual_line
from beanrow.protocol.requests import (
    BadFormat,
    Capabilities,
    Ignore,
    Parsed,
    Put,
    PutInTube,
    PutLine,
    PutTooBig,
    PutUnterminated,
    Request,
    Reserve,
    ReserveWithTimeout,
    Stats,
    StatsTube,
    Use,
    Watch,
    make,
)
from beanrow.protocol.values import MAX_LINE

__all__ = ["AT_ONCE", "RequestStream"]

AT_ONCE = 64
"""Lines that are cut at once, bodies among them: requests behind one that waits take several times
their bytes."""
_BAD_FORMAT = BadFormat()
_MAX_EXTENDED_LINE = 512
"""Of a stream that has switched on words of ours: list-jobs of a tube with a long name takes 250."""
_REPEATING = frozenset({PutLine, Reserve, ReserveWithTimeout, Use, Watch, Ignore, Stats, StatsTube})
"""What clients send over and over to the letter. Lines with an id do not repeat."""
_MOST_KNOWN_LINES = 4096
_known_lines: dict[bytes, Parsed] = {}
# Looking a repeated line up costs 40 ns, parsing it anew 400 to 1,000.
_PLACES, _OFTEN = 256, 3
_seen = array("q", bytes(8 * _PLACES))
"""Hashes of the lines that came last, one for each place, and how often they did in a row."""
_times = bytearray(_PLACES)
_SMALL = 1024
"""Pieces of a body below this are gathered: an object for each would weigh 40 times its bytes."""


def _note(line: bytes, parsed: Parsed) -> None:
    """Remember a line that comes again and again, with few others in between.

    So lines that are all different, as with priorities by chance, do not push those out that
    repeat; nor is each kept for a while, an object that holds a whole arena of memory which its
    neighbours have left.
    """
    if len(line) + 2 > MAX_LINE:
        return  # too long for a stream without words of ours, which looks here too
    number = hash(line)
    place = number % _PLACES
    if _seen[place] != number:
        _seen[place] = number
        _times[place] = 1
        return
    _times[place] += 1
    if _times[place] < _OFTEN:
        return
    _times[place] = 0
    if len(_known_lines) >= _MOST_KNOWN_LINES:
        _known_lines.clear()
    _known_lines[line] = parsed


class RequestStream:
    """Cuts requests out of one connection's bytes.

    ``max_job_size`` is the limit of a body in bytes.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_in_long_line",
        "_max_job_size",
        "_max_line",
        "_missing",
        "_put",
        "_skip",
        "_start",
        "_words",
    )

    def __init__(self, max_job_size: int) -> None:
        self._max_job_size = max_job_size
        self._max_line = MAX_LINE
        self._buffer = b""
        self._start = 0
        self._put: PutLine | None = None
        self._chunks: list[bytes | bytearray] = []  # of a body that is still coming
        self._missing = 0  # bytes until the chunks are a whole body
        self._skip = 0  # bytes of a body over the limit that are still coming
        self._in_long_line = False
        self._words: frozenset[str] = frozenset()  # those of ours that are switched on

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the connection."""
        chunks = self._chunks
        if chunks:
            if len(data) >= _SMALL:
                chunks.append(data)
            elif chunks[-1].__class__ is bytearray:
                chunks[-1] += data
            else:
                chunks.append(bytearray(data))
            self._missing -= len(data)
            if self._missing <= 0:
                self._buffer = b"".join(chunks)
                chunks.clear()
        elif self._start == len(self._buffer):
            self._buffer = data
            self._start = 0
        else:
            self._buffer = self._buffer[self._start :] + data
            self._start = 0

    def only(self, data: bytes) -> Request | None:
        """Give the request that the bytes are, if they are just one and none has begun before it.

        None if they are anything else; then they are still to be fed. A peer that waits for each
        reply sends so, and this takes half as long as to feed and to ask.
        """
        if self._start != len(self._buffer) or self._put is not None or self._in_long_line:
            return None
        end = data.find(b"\r\n")
        line = data[:end]
        known = _known_lines.get(line)
        parsed = parse_usual_line(line) if known is None else known
        if parsed is None:
            return None
        if not isinstance(parsed, PutLine):
            return parsed if end + 2 == len(data) else None
        priority, delay, ttr, size, becomes = parsed
        if len(data) != end + size + 4 or data[-2:] != b"\r\n":
            return None
        if size > self._max_job_size or becomes is not None or end + 2 > self._max_line:
            return None
        if known is None:  # only now: a line that is fed after all is noted there
            _note(line, parsed)
        return make(Put, (priority, delay, ttr, data[end + 2 : -2]))

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not yet given out, those of an unfinished body aside."""
        return 0 if self._chunks else len(self._buffer) - self._start

    @property
    def lacking(self) -> int:
        """Bytes that an unfinished request lacks: at least 1 if one has begun, else 0."""
        if self._put is not None:
            return max(self._skip or self._missing, 1)
        return int(self._in_long_line or self._start < len(self._buffer))

    def next(self) -> Request | None:
        """Give the next request, or None until more bytes are fed."""
        if self._put is not None:
            return self._body(self._put)
        buffer, start = self._buffer, self._start
        end = buffer.find(b"\r\n", start, start + self._max_line)
        if end < 0 or self._in_long_line:
            return None if start == len(buffer) else self._unusual_line()
        line = buffer[start:end]
        parsed = _known_lines.get(line)
        if parsed is None:
            parsed = parse_usual_line(line)
            if parsed is None or parsed.__class__ is PutLine:
                parsed = self._note_line(line, parsed)
                if parsed is None:
                    return self._unusual_line()
        if not isinstance(parsed, PutLine):
            self._start = end + 2
            return parsed
        priority, delay, ttr, size, becomes = parsed
        body, end = end + 2, end + 2 + size
        if buffer[end : end + 2] == b"\r\n" and size <= self._max_job_size and becomes is None:
            self._start = end + 2
            return make(Put, (priority, delay, ttr, buffer[body:end]))
        self._start = body
        self._put = parsed
        return self._body(parsed)

    def take(self) -> list[Request] | None:
        """Give the next requests at once, those of AT_ONCE lines, as long as they are whole and usual.

        What comes behind them ``next`` gives; None if nothing does, and there are none. All is split
        at its line ends in one go, a body put together again if it has some: where many came
        together that takes a third less than to ask for each, and for one alone a third more.
        """
        buffer, start, known, most = self._buffer, self._start, _known_lines, self._max_job_size
        if start == len(buffer):
            return None
        requests: list[Request] = []
        if self._put is not None or self._in_long_line:
            return requests
        add: Callable[[Any], None] = requests.append
        pieces = buffer[start:].split(b"\r\n", AT_ONCE)
        rest = pieces.pop()
        at, count = 0, len(pieces)
        while at < count:
            line = pieces[at]
            parsed = known.get(line)
            if parsed is None:
                parsed = parse_usual_line(line)
                if parsed is None or parsed.__class__ is PutLine:
                    parsed = self._note_line(line, parsed)
                    if parsed is None:
                        break
            at += 1
            if parsed.__class__ is not PutLine:
                add(parsed)
                continue
            priority, delay, ttr, size, becomes = parsed
            if at < count and len(pieces[at]) == size <= most and becomes is None:
                add(make(Put, (priority, delay, ttr, pieces[at])))
                at += 1
                continue
            end = 0 if size > most or becomes is not None else _end_of_body(pieces, at, size)
            if not end:
                at -= 1
                break
            add(make(Put, (priority, delay, ttr, b"\r\n".join(pieces[at:end]))))
            at = end
        self._start = len(buffer) - len(rest) - sum(map(len, pieces[at:])) - 2 * (count - at)
        return requests

    def _note_line(self, line: bytes, parsed: Parsed | None) -> Parsed | None:
        """Parse a line that is no usual one, and note one that may repeat.

        None if it has a stray CR, or is too long.
        """
        if b"\r" in line or len(line) + 2 > self._max_line:
            return None
        if parsed is not None:
            _note(line, parsed)
            return parsed
        if self._words:
            extended = parse_extended_line(line, self._words)
            if extended is not None:
                return extended
        parsed = parse_line(line)
        if parsed.__class__ in _REPEATING:
            _note(line, parsed)
        elif isinstance(parsed, Capabilities):
            self._words |= CAPABILITIES.intersection(parsed.words)
            self._max_line = _MAX_EXTENDED_LINE if self._words else MAX_LINE
        return parsed

    def _unusual_line(self) -> Request | None:
        """Go on where no plain line stands: it is incomplete, too long, or has a stray CR.

        The daemon looks at windows of 224 bytes, and in each at the first CR only: a
        window in which LF does not follow it is thrown away, and so is a line that
        fills one. The one BAD_FORMAT for it comes at its end.
        """
        buffer, start, window = self._buffer, self._start, self._max_line
        while True:
            end = buffer.find(b"\r", start, start + window - 1)
            if end >= 0 and buffer[end + 1 : end + 2] == b"\n":
                self._start = end + 2
                self._in_long_line = False
                return _BAD_FORMAT
            if len(buffer) - start < window:
                self._start = start
                return None
            start += window
            self._in_long_line = True

    def _body(self, put: PutLine) -> Request | None:
        """Give the put whose line has been read once its body is there."""
        priority, delay, ttr, size, becomes = put
        tube = becomes.tube if isinstance(becomes, PutInTube) else None
        if size > self._max_job_size:
            return self._skip_body(size + 2, tube)
        if isinstance(becomes, BadFormat):
            self._put = None
            return becomes
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
            return PutUnterminated(tube)
        if becomes is not None:
            return becomes._replace(body=buffer[start:end])
        return make(Put, (priority, delay, ttr, buffer[start:end]))

    def _skip_body(self, size: int, tube: str | None) -> Request | None:
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
        return PutTooBig(tube)


def _end_of_body(pieces: list[bytes], begin: int, size: int) -> int:
    """Tell behind which of the pieces between line ends a body ends; 0 if none of them is its end."""
    for end, piece in enumerate(pieces[begin:], begin + 1):
        size -= len(piece)
        if size <= 0:
            return 0 if size else end
        size -= 2
    return 0
