"""The few file operations that a journal uses, and the real disk behind them.

``Disk`` and ``File`` are protocols, so that a simulation can put a disk of its own
there: one that tears, loses what was not synced, and fills up.

Laws:
- What was written survives the process; what was synced survives the machine.
- A name that was created, changed or removed survives the machine after ``sync_names``.
- Every failure is an OSError, and ``create`` leaves nothing behind when it fails.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from beanrow.errors import JournalError

__all__ = ["Directory", "Disk", "File"]


class File(Protocol):
    """An open file of a journal."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of it, or raise."""

    def sync(self) -> None:
        """Return once what was written is on the disk."""

    def truncate(self, size: int) -> None:
        """Cut the file off."""

    def close(self) -> None:
        """Let go of the file."""


class Disk(Protocol):
    """A directory of a journal's own."""

    def names(self) -> list[str]:
        """Name the files, in any order."""

    def size(self, name: str) -> int:
        """Tell the bytes of a file."""

    def read(self, name: str) -> bytes:
        """Give all of a file, with zeros for what the disk cannot read any more."""

    def read_start(self, name: str, size: int) -> bytes:
        """Give the first bytes of a file, or fewer if it has no more."""

    def create(self, name: str, size: int) -> None:
        """Make a file with room for so many bytes that nobody can take away."""

    def open(self, name: str) -> File:
        """Open a file for writing."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, one that no file has."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync_names(self) -> None:
        """Return once the names of the files are on the disk."""

    def not_held(self) -> AbstractContextManager[bool]:
        """Tell whether nobody makes a backup, and see that nobody begins one meanwhile."""


_LOCK = "lock"
_HOLD = "hold"
_BLOCK = 4096
_sync = getattr(os, "fdatasync", os.fsync)


class _RealFile:
    """A file by its descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, data: bytes) -> None:
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):  # only a large write, a full disk or a signal cuts it short
            more = os.pwrite(self._fd, data[written:], offset + written)
            if not more:
                raise OSError(errno.EIO, "the disk takes nothing more")
            written += more

    def sync(self) -> None:
        _sync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        os.close(self._fd)


class Directory:
    """A directory of the file system. ``close`` lets go of its locks.

    JournalError, without the directory's name, if it is not there or may not be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise JournalError(f"it cannot be opened: {error.strerror}") from error
        self._lock_fd = self._hold_fd = -1

    @classmethod
    def make(cls, path: Path) -> Directory:
        """Open a directory, or make it for its owner alone; not those above it."""
        try:
            path.mkdir(0o700, exist_ok=True)
        except OSError as error:
            raise JournalError(f"it cannot be made: {error.strerror}") from error
        return cls(path)

    def lock(self) -> None:
        """Take it for this process alone; JournalError names who has it."""
        try:
            self._lock_fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            self._hold_fd = os.open(self.path / _HOLD, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(f"it cannot be written to: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock_fd, 20).decode(errors="replace").strip() or "unknown"
            raise JournalError(f"it is used by process {owner}: a journal has one server") from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, b"%d\n" % os.getpid(), 0)

    def hold(self) -> None:
        """Keep a server from removing anything, as a backup does, until ``close``."""
        try:
            self._hold_fd = os.open(self.path / _HOLD, os.O_RDONLY)
        except FileNotFoundError:
            return  # a copy: no server has ever been here
        except OSError as error:
            raise JournalError(f"it cannot be read: {error.strerror}") from error
        fcntl.flock(self._hold_fd, fcntl.LOCK_SH)

    @contextmanager
    def not_held(self) -> Iterator[bool]:
        """Take the lock that a backup shares, if nobody has it."""
        try:
            fcntl.flock(self._hold_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._hold_fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the directory."""
        for fd in (self._lock_fd, self._hold_fd, self._fd):
            if fd >= 0:
                os.close(fd)
        self._lock_fd = self._hold_fd = self._fd = -1

    def names(self) -> list[str]:
        """Name the files of the journal, its locks aside."""
        return [name for name in os.listdir(self.path) if name not in {_LOCK, _HOLD}]

    def size(self, name: str) -> int:
        """Tell the bytes of a file."""
        return os.stat(self.path / name).st_size

    def read(self, name: str) -> bytes:
        """Give all of a file, with zeros for blocks that cannot be read."""
        with open(self.path / name, "rb", buffering=0) as file:
            try:
                return file.readall()
            except OSError:
                return _readable_blocks(file.fileno())

    def read_start(self, name: str, size: int) -> bytes:
        """Give the first bytes of a file."""
        with open(self.path / name, "rb", buffering=0) as file:
            try:
                return file.read(size)
            except OSError:
                return b""  # told as a header that cannot be read

    def create(self, name: str, size: int) -> None:
        """Make a file and allocate it."""
        fd = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _allocate(fd, size)
        except BaseException:
            os.unlink(self.path / name)
            raise
        finally:
            os.close(fd)

    def open(self, name: str) -> File:
        """Open a file for writing."""
        return _RealFile(os.open(self.path / name, os.O_WRONLY))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        os.rename(self.path / old, self.path / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self.path / name)

    def sync_names(self) -> None:
        """Sync the directory."""
        os.fsync(self._fd)


def _readable_blocks(fd: int) -> bytes:
    blocks = []
    for offset in range(0, os.fstat(fd).st_size, _BLOCK):
        try:
            blocks.append(os.pread(fd, _BLOCK, offset))
        except OSError:
            blocks.append(bytes(_BLOCK))
    return b"".join(blocks)


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(min(size, 1 << 20))
    for offset in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - offset], offset)
