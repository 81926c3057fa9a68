"""Our server on a disk that loses what is not synced, and fails now and then.

What is written stays in this process until it is synced, and goes to the file piece by piece in
any order. So `kill -9` does to it what a power cut does to a machine: it loses what is unsynced,
and tears what is being synced. FAIL_ONE_IN lets one write or sync in so many fail, CAPACITY is
the bytes that all files may take.

    python -m tests.crash.fragile [the flags of the server]
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import sys
import time
from unittest import mock

from beanrow.journal.disk import Directory, File
from beanrow.server import __main__ as program

PIECE = 512
FIRST_THAT_FAILS = 20  # operations: until then it has begun
chance = random.Random()
fail_one_in = int(os.environ.get("FAIL_ONE_IN", "0"))
capacity = int(os.environ.get("CAPACITY", str(1 << 40)))


operations = itertools.count()


def fail_now_and_then() -> None:
    if next(operations) > FIRST_THAT_FAILS and fail_one_in and not chance.randrange(fail_one_in):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class FragileFile:
    """Keeps what is written until it is synced."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._pieces: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        fail_now_and_then()
        self._pieces += [
            (offset + start, data[start : start + PIECE]) for start in range(0, len(data), PIECE)
        ]

    def sync(self) -> None:
        pieces, self._pieces = self._pieces, []
        chance.shuffle(pieces)
        fail_now_and_then()  # and nothing of it is on the disk, nor ever will be
        for number, (offset, data) in enumerate(pieces):
            self._file.write(offset, data)
            if number % 8 == 0:
                time.sleep(0)  # let the kill come in between
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class FragileDirectory(Directory):
    """A directory of such files, with an end."""

    def open(self, name: str) -> File:
        return FragileFile(super().open(name))

    def create(self, name: str, size: int) -> None:
        if sum(self.size(one) for one in self.names()) + size > capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().create(name, size)


if __name__ == "__main__":
    with mock.patch("beanrow.server.local.Directory", FragileDirectory):
        sys.exit(program.main())
