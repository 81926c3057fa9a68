"""What a parent process and its children share: who runs what, and who may speak.

Laws:
- The board is shared memory, a line for each child. The child writes its own line; the
  number of the job is written last and taken back first, as one word.
- A turn is a lock on one byte of a file. The kernel gives it back when its holder dies,
  however that dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from beanrow.worker.batch import MOST

if TYPE_CHECKING:
    from beanrow.worker.run import Run
    from beanrow.worker.slot import Counts

__all__ = ["BoardLine", "FileTurn", "Shown", "SharedBoard", "lock_file"]

_LINE = struct.Struct("@QdQ3Qd")  # job, began, number of the task; done, failed, lost; heard
_JOB = struct.Struct("@Q")
_RUN = struct.Struct("@dQ")
_HELD = struct.Struct(f"@{1 + MOST}Q")  # how many, and their ids
_SIZE = _LINE.size + _HELD.size


class Shown(NamedTuple):
    """A line of the board; ``job`` is 0 while none runs. ``heard``: the server, at this time."""

    job: int
    began: float
    task: int
    done: int
    failed: int
    lost: int
    heard: float


class SharedBoard:
    """The memory; made before the children are."""

    def __init__(self, children: int) -> None:
        self._memory = mmap.mmap(-1, children * _SIZE)

    def line(self, place: int) -> BoardLine:
        """Give a child's line."""
        return BoardLine(self._memory, place * _SIZE)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


class BoardLine:
    """One child's line: written by the child, read by the parent."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset
        self._numbers: dict[str, int] = {}
        self._counts: Counts | None = None

    def write_for(self, tubes: list[str], counts: Counts) -> None:
        """Make it the child's: tasks are shown by the place of their tube in ``tubes``."""
        self._numbers = {tube: number for number, tube in enumerate(tubes)}
        self._counts = counts
        self.clear()

    def clear(self) -> None:
        """Show that nothing runs, and nothing was done yet."""
        _LINE.pack_into(self._memory, self._offset, 0, 0.0, 0, 0, 0, 0, time.monotonic())
        self.hold(())

    def began(self, run: Run) -> None:
        """Show that a job runs."""
        _RUN.pack_into(self._memory, self._offset + 8, run.began, self._numbers[run.tube])
        self._heard(run.began)
        _JOB.pack_into(self._memory, self._offset, run.id)

    def idle(self) -> None:
        """Show that the server answered."""
        self._heard(time.monotonic())

    def over(self) -> None:
        """Show that none does, and what was done so far."""
        _JOB.pack_into(self._memory, self._offset, 0)
        counts = self._counts
        assert counts is not None
        struct.pack_into(
            "@3Q", self._memory, self._offset + 24, counts.done, counts.failed, counts.lost
        )

    def _heard(self, at: float) -> None:
        struct.pack_into("@d", self._memory, self._offset + 48, at)

    def hold(self, ids: tuple[int, ...]) -> None:
        """Show the jobs of a batch."""
        at = self._offset + _LINE.size
        _JOB.pack_into(self._memory, at, 0)
        if ids:
            struct.pack_into(f"@{len(ids)}Q", self._memory, at + _JOB.size, *ids)
            _JOB.pack_into(self._memory, at, len(ids))

    def held(self) -> tuple[int, ...]:
        """Read the jobs of a batch."""
        count, *ids = _HELD.unpack_from(self._memory, self._offset + _LINE.size)
        return tuple(ids[:count])

    def read(self) -> Shown:
        """Read the line."""
        return Shown(*_LINE.unpack_from(self._memory, self._offset))


class FileTurn:
    """The turn to speak over one line, between two processes."""

    __slots__ = ("_file", "_place")

    def __init__(self, file: int, place: int) -> None:
        self._file = file
        self._place = place

    def acquire(self, blocking: bool = True) -> bool:
        """Take the turn; gives False if that would have to wait and must not."""
        if blocking:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._place)
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Give it back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._place)


def lock_file() -> int:
    """Open a file that exists only to be locked."""
    if sys.platform == "linux":
        return os.memfd_create("beanrow-turns", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
