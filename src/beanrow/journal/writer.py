"""Records into segments, one after the other.

Laws:
- A segment is begun only when the one before it is synced: what is unsynced is always at
  the end of the last one.
- Every write begins with a mark that tells how far the segment was synced by then. So a
  reader can tell what a crash cut off from what the disk has lost.
- After a failed write or sync nothing more is written to that segment: nobody knows what of
  it is on the disk. The next one tells where it ended, and holds all that was not synced.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from zlib import crc32

from beanrow.journal.codec import (
    HEADER_SIZE,
    MARK_SIZE,
    SEAL,
    Header,
    mark_record,
    write_header,
)
from beanrow.journal.disk import File
from beanrow.journal.space import Segment, Space

__all__ = ["Writer"]

_seal = SEAL.pack
_SEAL_SIZE = SEAL.size
_WASTE = 4
"""A segment that ends with more than 1 / _WASTE unused is cut to what it holds."""


class Writer:
    """Writes records; ``draw(bits)`` gives random numbers.

    ``written`` counts bytes. Set ``next_id``, and ``skew``, the wall clock's time minus the
    engine's, before what they are to be told with is added. Every method raises OSError if
    the disk does not do it; call ``give_up`` then.
    """

    def __init__(self, space: Space, draw: Callable[[int], int]) -> None:
        self.written: int = 0
        self.next_id = 0
        self.skew = 0
        self._space = space
        self._draw = draw
        self._file: File | None = None
        self._pieces: list[bytes] = []
        self._left = 0
        self._segment = Segment(0, 0)
        self._tag = self._salt = 0

    @property
    def segment(self) -> Segment:
        """The segment that is written to."""
        return self._space.segments[-1]

    @property
    def left(self) -> int:
        """Bytes that the segment still has room for."""
        return max(0, self._left)

    @property
    def is_synced(self) -> bool:
        """Whether all that was written is on the disk."""
        return self._file is not None and self.segment.synced == self.segment.end

    def add(self, record: bytes) -> Segment:
        """Take one more record for the next write; gives the segment that it goes to."""
        size = _SEAL_SIZE + len(record)
        if size > self._left:
            self._turn_over(size)
        self._left -= size
        self._pieces += (_seal(self._tag, crc32(record, self._salt)), record)
        return self._segment

    def flush(self) -> None:
        """Write what has been added, as one piece."""
        if self._pieces:
            self._write(b"".join(self._pieces))
            self._pieces.clear()

    def _write(self, records: bytes) -> None:
        assert self._file is not None, "nothing is added before a segment was begun"
        segment = self.segment
        mark = mark_record(self.next_id, segment.synced, self.skew)
        data = _seal(self._tag, crc32(mark, self._salt)) + mark + records
        self._file.write(segment.end, data)
        segment.end += len(data)
        self.written += len(data)
        self._left = segment.size - segment.end - MARK_SIZE

    def sync(self) -> None:
        """Return once all that was written is on the disk."""
        if self._file is not None and self.segment.synced != self.segment.end:
            self._file.sync()
            self.segment.synced = self.segment.end
            self.segment.synced_jobs = len(self.segment.jobs)
            self.segment.synced_keys = len(self.segment.keys)

    def begin(self, name: str, size: int) -> None:
        """Begin a segment in this spare file of so many bytes."""
        space = self._space
        previous = self.segment if space.segments else Segment(0, 0)
        segment = Segment(previous.number + 1, size)
        segment.tag, segment.salt = self._tag, self._salt = self._draw(16), self._draw(32)
        header = Header(
            number=segment.number,
            salt=segment.salt,
            tag=segment.tag,
            previous_salt=previous.salt,
            previous_tag=previous.tag,
            previous_end=previous.end,
            previous_synced=previous.synced,
            next_id=self.next_id,
            skew=self.skew,
        )
        file = None
        try:
            file = space.disk.open(name)
            file.write(0, write_header(header))
            file.sync()
            space.disk.rename(name, segment.name)
        except BaseException:
            if file is not None:
                file.close()
            space.reject(name)
            raise
        self._file = file
        space.append(segment)
        self._segment = segment
        space.disk.sync_names()
        self._left = segment.size - segment.end - MARK_SIZE

    def _turn_over(self, record_size: int) -> None:
        if self._file is not None:
            self.flush()
            self.sync()
            segment, file, self._file = self.segment, self._file, None
            with closing(file):
                if segment.size - segment.end > segment.size // _WASTE:
                    file.truncate(segment.end)
                    self._space.cut(segment)
        self.begin(*self._space.take(record_size))

    def give_up(self, *, keep: bool) -> None:
        """Leave the segment after a failure; the next record begins another one.

        Without ``keep`` one of which nothing was ever synced is removed.
        """
        self._pieces.clear()
        self._left = 0
        if self._file is None:
            return
        self._file.close()
        self._file = None
        segment = self.segment
        is_of_use = segment.synced > HEADER_SIZE or (keep and segment.end > HEADER_SIZE)
        if not is_of_use and len(self._space.segments) > 1:
            with suppress(OSError):  # or it stays
                self._space.disk.remove(segment.name)
                self._space.drop(-1)

    def confirm(self) -> None:
        """Write, if it fits, a mark that tells what was synced."""
        if self._left >= 0:
            self._write(b"")

    def close(self) -> None:
        """Write and sync all; a last mark says so."""
        self.flush()
        self.sync()
        if self._file is not None:
            if self._left < 0:  # not even a mark fits
                self._turn_over(0)
            self.confirm()
            self.sync()
            self._file.close()
            self._file = None
