"""What the kernel tells of a process that is measured."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_FIRST_FIELD = 3
"""Fields of stat are counted from 1, and a name that may hold spaces is the second."""


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def cpu_seconds(pid: int) -> float:
    """User and system, in steps of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[14 - _FIRST_FIELD], fields[15 - _FIRST_FIELD]
    return (int(user) + int(system)) / _TICK
