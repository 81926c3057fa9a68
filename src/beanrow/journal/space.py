"""The files of a journal: its segments, oldest first, and the room for more of them.

Room is allocated before it is promised. What a put may use is what lies beyond two spare
files; those are for what must go on when the disk is full: deletes, and, of the last one,
the compaction that makes room again. A file that is no longer needed becomes a spare, so that in the long
run nothing is allocated at all, and a sync has nothing but data to write.

Laws:
- A segment is removed only after all before it are, and that is on the disk: a job's
  deletion never goes before the job itself.
- Nothing is removed while somebody holds the directory for a backup.
"""

from __future__ import annotations

from array import array
from contextlib import closing

from beanrow.engine.keys import Key
from beanrow.journal.codec import HEADER_SIZE, MARK_SIZE
from beanrow.journal.disk import Disk

__all__ = ["SEGMENT", "Segment", "Space", "number_of"]

SEGMENT = ".journal"
_SPARE = ".spare"
_DAMAGED = ".damaged"
_SPARES = 2
_SMALL_FILE = 8192
"""Bytes of a segment where there is no room for an ordinary one: a beginning, at least."""


class Segment:
    """One file of records. ``size``, ``end`` of the records, and how far it is ``synced``, in bytes.

    ``jobs`` are the ids of the jobs that were given a whole record here, the first
    ``synced_jobs`` of them synced; ``tubes`` the names of the tubes that were given one;
    ``keys`` those that were, the first ``synced_keys`` of them synced.
    """

    __slots__ = (
        "damaged",
        "end",
        "jobs",
        "keys",
        "number",
        "salt",
        "size",
        "synced",
        "synced_jobs",
        "synced_keys",
        "tag",
        "tubes",
    )

    def __init__(self, number: int, size: int) -> None:
        self.number: int = number
        self.size: int = size
        self.end: int = HEADER_SIZE
        self.synced: int = HEADER_SIZE
        self.jobs: array[int] = array("Q")
        self.tubes: list[str] = []
        self.keys: list[Key] = []
        self.damaged: bool = False
        self.tag: int = 0
        self.salt: int = 0
        self.synced_jobs: int = 0
        self.synced_keys: int = 0

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.number:010d}{SEGMENT}"


def number_of(name: str) -> int | None:
    """Read a segment's number from a file's name; None if it is another kind of file."""
    digits = name.removesuffix(SEGMENT)
    return int(digits) if digits != name and digits.isdigit() else None


class Space:
    """What a journal has on its disk. ``file_size`` is that of an ordinary segment, in bytes.

    ``segments`` are those that are needed, oldest first. A record of more than
    ``largest_record`` bytes gets a file of its own.
    """

    def __init__(self, disk: Disk, file_size: int) -> None:
        self.disk = disk
        self.file_size = file_size
        self.usable: int = file_size - HEADER_SIZE - MARK_SIZE
        self.largest_record: int = self.usable // 4
        self.segments: list[Segment] = []
        self.in_segments: int = 0  # bytes
        self._spares: list[str] = []
        self._large: dict[str, int] = {}  # spares of another size
        self._rejected: list[str] = []
        self._made = 0
        self._owes_sync = False

    def adopt_spares(self) -> None:
        """Take over the spares that an earlier run has left, and remove what is of no use."""
        for name in sorted(self.disk.names()):
            if not name.endswith(_SPARE):
                continue
            if self.disk.size(name) == self.file_size and len(self._spares) < _SPARES:
                self._spares.append(name)
            else:
                self.disk.remove(name)
        self._made = max((int(name.removesuffix(_SPARE)) for name in self._spares), default=0)

    @property
    def allocated(self) -> int:
        """Bytes on the disk."""
        spares = len(self._spares) * self.file_size
        return self.in_segments + spares + (sum(self._large.values()) if self._large else 0)

    @property
    def is_reserve_whole(self) -> bool:
        """Whether there are as many spare files as there should be."""
        return len(self._spares) >= _SPARES

    @property
    def has_surplus(self) -> bool:
        """Whether there are files that serve nothing."""
        return len(self._spares) > _SPARES or bool(self._large or self._rejected)

    @property
    def beyond_reserve(self) -> int:
        """Bytes in spare files that puts may use; negative while the reserve is not whole."""
        return (len(self._spares) - _SPARES) * self.usable

    def append(self, segment: Segment) -> None:
        """Count one more segment."""
        self.segments.append(segment)
        self.in_segments += segment.size

    def drop(self, place: int) -> Segment:
        """Count a segment no longer: 0 is the oldest, -1 the newest."""
        segment = self.segments.pop(place)
        self.in_segments -= segment.size
        return segment

    def cut(self, segment: Segment) -> None:
        """Count a segment as no larger than what it holds."""
        self.in_segments -= segment.size - segment.end
        segment.size = segment.end

    # -- room ---------------------------------------------------------------------

    def add_spare(self) -> None:
        """Allocate one more file; OSError if the disk is full."""
        self._spares.append(self._make(self.file_size))

    def add_large(self, record_size: int) -> None:
        """Allocate a file for one large record; OSError if the disk is full."""
        size = HEADER_SIZE + MARK_SIZE + record_size
        self._large[self._make(size)] = size

    def fill_reserve(self) -> None:
        """Make the reserve whole; OSError if the disk is full."""
        while len(self._spares) < _SPARES:
            self.add_spare()

    def remove_surplus(self) -> None:
        """Give back what is beyond the reserve; OSError if the disk does not do it."""
        self._rejected += [*self._spares[_SPARES:], *self._large]
        del self._spares[_SPARES:]
        self._large.clear()
        while self._rejected:
            self.disk.remove(self._rejected[-1])
            self._rejected.pop()

    def reject(self, name: str) -> None:
        """Take back a file that turned out not to be usable."""
        self._rejected.append(name)

    def fits(self, size: int, left: int, largest: int = 0) -> bool:
        """Whether records fit into what is ``left`` of a segment, and the spare files.

        The end of a file may stay empty because the next record is too long for it: the
        ``largest`` of these records, in bytes, or one as large as can be.
        """
        waste, files = largest or self.largest_record, len(self._spares)
        return (
            size <= left
            or size <= left + files * (self.usable - waste)
            or (files > 0 and size <= files * self.usable - (files - 1) * waste)
        )

    def take(self, record_size: int) -> tuple[str, int]:
        """Give the name and the size of a file that a record of this size fits into."""
        if record_size > self.largest_record:
            size = HEADER_SIZE + MARK_SIZE + record_size
            for name, there in self._large.items():
                if there >= size:
                    del self._large[name]
                    return name, there
            return self._make(size), size
        if self._spares:
            return self._spares.pop(), self.file_size
        try:
            return self._make(self.file_size), self.file_size
        except OSError:
            return self._make(_SMALL_FILE), _SMALL_FILE

    def take_first(self, records_size: int) -> tuple[str, int]:
        """Give a file to begin with, into which records of this size are to go at once.

        Where the disk is full the spare files stay what they are kept for: however often a server
        is killed there, each beginning costs some hundred bytes, from the unused end of the last segment.
        """
        if self.is_reserve_whole:
            return self.take(0)
        try:
            return self._make(self.file_size), self.file_size
        except OSError:
            pass
        size = max(_SMALL_FILE, HEADER_SIZE + MARK_SIZE + records_size)
        try:
            self._cut_end()
            return self._make(size), size
        except OSError:
            return self.take(0)

    def _cut_end(self) -> None:
        """Cut the last segment off where its records end; of the others the next one tells that."""
        segment = self.segments[-1]
        if segment.end < segment.size and not segment.damaged:
            with closing(self.disk.open(segment.name)) as file:
                file.truncate(segment.end)
                file.sync()
            self.cut(segment)

    def _make(self, size: int) -> str:
        self._made += 1
        name = f"{self._made:010d}{_SPARE}"
        self.disk.create(name, size)
        return name

    # -- segments that are no longer needed ---------------------------------------

    def retire(self) -> bool:
        """Remove the oldest segment; False if that is not allowed now.

        One that was damaged is put aside under another name, for whoever wants to look.
        """
        segment = self.segments[0]
        with self.disk.not_held() as free:
            if not free:
                return False
            if self._owes_sync:
                self.disk.sync_names()
            self._owes_sync = True
            if segment.damaged:
                self.disk.rename(segment.name, segment.name + _DAMAGED)
            elif segment.size == self.file_size and len(self._spares) < _SPARES:
                self._made += 1
                spare = f"{self._made:010d}{_SPARE}"
                self.disk.rename(segment.name, spare)
                self._spares.append(spare)
            else:
                self.disk.remove(segment.name)
            self.drop(0)
            self.disk.sync_names()
            self._owes_sync = False
        return True
