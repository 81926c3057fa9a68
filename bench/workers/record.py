"""What each job does last: append 32 bytes to one file. The same for all, in any process.

id, when it was put, when it ran (ns of the monotonic clock, which all processes share), pid.
"""

from __future__ import annotations

import os
import struct
import time
from typing import NamedTuple

RECORD = struct.Struct("<4q")
URL = os.environ.get("BENCH_URL", "")
FILE = os.environ.get("BENCH_FILE", os.devnull)
NAP = 0.01

_file = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Ran(NamedTuple):
    id: int
    put_at: int
    ran_at: int
    pid: int


def record(id: int, put_at: int) -> None:
    os.write(_file, RECORD.pack(id, put_at, time.monotonic_ns(), os.getpid()))


def read(path: str) -> list[Ran]:
    with open(path, "rb") as file:
        data = file.read()
    return [Ran(*fields) for fields in RECORD.iter_unpack(data[: len(data) // 32 * 32])]
