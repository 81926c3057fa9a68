"""A disk in memory that does all that a disk may do: it tears, forgets, reorders, rots, fills up.

Laws:
- What was written is seen by whoever reads, until the power fails. What was synced outlives that;
  of the rest each sector may or may not have come through, whatever the order of the writes.
- Names behave alike: creations, renamings and removals come through in their order, as far as
  they do.
- A sync that fails has forgotten what was dirty: the next one succeeds, and nothing is on the
  disk. (That is what Linux does.)
- What goes wrong follows from the seed.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

from beanrow.journal.disk import File

__all__ = ["CutError", "SimulatedDisk"]

SECTOR = 64
"""Smaller than a real one: so that small writes are torn too."""


class CutError(Exception):
    """The process ended in the middle of an operation."""


class Inode:
    """One file: what is on the disk, what is seen, and the sectors in which they differ."""

    def __init__(self, size: int) -> None:
        self.durable = bytearray(size)
        self.seen = bytearray(size)
        self.dirty: set[int] = set()
        self.is_given_up = False

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > len(self.seen):
            raise AssertionError("a write beyond what was allocated")
        self.seen[offset : offset + len(data)] = data
        if data:
            self.dirty.update(range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1))

    def keep(self, sectors: set[int]) -> None:
        for sector in sectors:
            part = slice(sector * SECTOR, (sector + 1) * SECTOR)
            self.durable[part] = self.seen[part]

    def truncate(self, size: int) -> None:
        del self.seen[size:], self.durable[size:]
        self.dirty = {sector for sector in self.dirty if sector * SECTOR < size}


class SimulatedDisk:
    """A directory for a journal. ``capacity`` in bytes; the rest says how often things fail.

    ``failures`` counts what has gone wrong besides a lack of room.
    """

    def __init__(self, seed: int, capacity: int = 1 << 30) -> None:
        self.capacity = capacity
        self.failures = 0
        self.syncs = 0
        self.fail_one_in = 0  # writes and syncs; 0 for none
        self.cut_after = 0  # operations; 0 for never
        self.held = False
        self._random = random.Random(seed)
        self._files: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._undone: list[tuple[str, str, Inode]] = []  # old and new names, not synced

    @classmethod
    def of(cls, files: dict[str, bytes]) -> SimulatedDisk:
        """A disk with these files."""
        disk = cls(0)
        for name, data in files.items():
            disk._files[name] = inode = Inode(0)
            inode.seen, inode.durable = bytearray(data), bytearray(data)
        disk._durable = dict(disk._files)
        return disk

    # -- what may happen to it ----------------------------------------------------

    def passes(self, *, may_fail: bool) -> None:
        """Count an operation: the process may end in it, or the disk refuse it."""
        if self.cut_after:
            self.cut_after -= 1
            if not self.cut_after:
                raise CutError
        if may_fail and self.fail_one_in and not self._random.randrange(self.fail_one_in):
            self.failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def some(self, sectors: set[int]) -> set[int]:
        """Choose what of a write comes through: all, nothing, the beginning, or anything."""
        ordered = sorted(sectors)
        kind = self._random.randrange(4)
        if kind < 2:
            return sectors if kind else set()
        if kind == 2:
            return set(ordered[: self._random.randrange(len(ordered) + 1)])
        return {sector for sector in ordered if self._random.random() < 0.5}

    def cut(self, size: int) -> int:
        """Choose where a write of this size ends that did not come through whole."""
        return self._random.randrange(size + 1)

    def begin_again(self) -> None:
        """Expect no sync of what an earlier process has left."""
        for inode in self._files.values():
            inode.is_given_up = True

    def fail_power(self) -> None:
        """Lose what was not synced, or some of it."""
        for old, new, inode in self._undone[: self._random.randrange(len(self._undone) + 1)]:
            self._durable.pop(old, None)
            if new:
                self._durable[new] = inode
        self._undone.clear()
        self._files = dict(self._durable)
        for inode in self._files.values():
            inode.keep(self.some(inode.dirty))
            inode.seen[:] = inode.durable
            inode.dirty.clear()

    @property
    def is_synced(self) -> bool:
        """Whether all that was written would outlive the power, files that were given up aside."""
        return not any(inode.dirty and not inode.is_given_up for inode in self._files.values())

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(len(inode.seen) for inode in self._files.values())

    def copy_file(self, name: str) -> bytes:
        """Read a file as a backup does."""
        return bytes(self._files[name].seen)

    # -- what a journal does with it ----------------------------------------------

    def names(self) -> list[str]:
        return list(self._files)

    def size(self, name: str) -> int:
        return len(self._files[name].seen)

    def read(self, name: str) -> bytes:
        return bytes(self._files[name].seen)

    def read_start(self, name: str, size: int) -> bytes:
        return bytes(self._files[name].seen[:size])

    def create(self, name: str, size: int) -> None:
        self.passes(may_fail=False)
        assert name not in self._files, f"{name} is there already"
        if self.used + size > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._files[name] = Inode(size)
        self._undone.append(("", name, self._files[name]))

    def open(self, name: str) -> File:
        self._files[name].is_given_up = False
        return SimulatedFile(self, self._files[name])

    def rename(self, old: str, new: str) -> None:
        self.passes(may_fail=True)
        assert new not in self._files, f"{new} is there already"
        self._files[new] = self._files.pop(old)
        self._undone.append((old, new, self._files[new]))

    def remove(self, name: str) -> None:
        self.passes(may_fail=True)
        self._undone.append((name, "", self._files.pop(name)))

    def sync_names(self) -> None:
        self.passes(may_fail=True)
        self._undone.clear()
        self._durable = dict(self._files)

    @contextmanager
    def not_held(self) -> Iterator[bool]:
        yield not self.held


class SimulatedFile:
    """An open file of the disk."""

    def __init__(self, disk: SimulatedDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, offset: int, data: bytes) -> None:
        try:
            self._disk.passes(may_fail=True)
        except (CutError, OSError):
            self._inode.is_given_up = True
            self._inode.write(offset, data[: self._disk.cut(len(data))])
            raise
        self._inode.write(offset, data)

    def sync(self) -> None:
        try:
            self._disk.passes(may_fail=True)
        except (CutError, OSError) as error:
            self._inode.is_given_up = True
            self._inode.keep(self._disk.some(self._inode.dirty))
            if isinstance(error, OSError):
                self._inode.dirty.clear()  # the law above
            raise
        self._inode.keep(self._inode.dirty)
        self._inode.dirty.clear()
        self._disk.syncs += 1

    def truncate(self, size: int) -> None:
        self._disk.passes(may_fail=True)
        self._inode.truncate(size)

    def close(self) -> None:
        """Nothing is held open."""
