"""The binlog of beanstalkd 1.12 (version 7): read whole, also what its own replay drops.

The daemon stops reading a file at a job whose body is as large as its limit allows, since it
counts the CR LF behind the body; what comes later is lost to it, deletes among it. Here
nothing is too large, so nothing is.

A file is its version, then records: a whole one begins with the length of the tube's name,
a short one of a job that was told before with 0. Both hold the fields of ``_RECORD`` as C
lays them out on a 64-bit machine, numbers in the machine's order, times in nanoseconds.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from beanrow.engine.job import BURIED, DELAYED, READY, State, new_job
from beanrow.engine.jobs import Jobs
from beanrow.engine.records import TubeRecord
from beanrow.engine.timers import SECOND
from beanrow.engine.tube import Tube
from beanrow.errors import JournalError
from beanrow.protocol.values import MAX_UINT32, is_tube_name

__all__ = ["Binlog", "read_binlog"]

_VERSION = 7
_INT = Struct("=i")
_RECORD = Struct("=QI4xqqi4xqqIIIIIB3x")
"""id, priority, delay, ttr, bytes of the body with its CR LF, created, deadline, reserves,
timeouts, releases, buries, kicks, state."""
_GONE, _READY, _RESERVED, _BURIED, _DELAYED = range(5)
_STATES: dict[int, State] = {
    _READY: READY,
    _RESERVED: READY,  # whoever held it is gone
    _BURIED: BURIED,
    _DELAYED: DELAYED,
}


class Binlog(NamedTuple):
    """What a binlog holds; ``notes`` are lines for people about what cannot be read."""

    jobs: Jobs
    tubes: dict[str, TubeRecord]
    next_id: int
    notes: list[str]


def read_binlog(path: Path) -> Binlog:
    """Read all files of a binlog. JournalError if there is none, or it is in use."""
    try:
        names = [name for name in os.listdir(path) if name.startswith("binlog.")]
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    numbers = sorted(int(name[7:]) for name in names if name[7:].isdigit())
    if not numbers:
        raise JournalError(f"{path} holds no binlog of beanstalkd (files binlog.1, binlog.2 ...)")
    _check_not_in_use(path)
    replay = _Replay()
    for number in numbers:
        file = path / f"binlog.{number}"
        try:
            replay.read(file.name, file.read_bytes())
        except OSError as error:
            raise JournalError(f"cannot read {file}: {error.strerror}") from error
    return Binlog(replay.jobs, replay.tubes, replay.highest_id + 1, replay.notes)


def _check_not_in_use(path: Path) -> None:
    try:
        fd = os.open(path / "lock", os.O_RDWR)
    except OSError:
        return  # a copy, or not ours to write: then nobody can be asked
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise JournalError(f"a beanstalkd is running on {path}: stop it first") from None
    finally:
        os.close(fd)


class _Replay:
    """What the records amount to so far."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.tubes: dict[str, TubeRecord] = {}
        self.highest_id = 0
        self.notes: list[str] = []
        self._burials = 0

    def read(self, name: str, data: bytes) -> None:
        """Take all records of a file, up to its end or to what is none."""
        if len(data) < _INT.size:
            return
        (version,) = _INT.unpack_from(data)
        if version == 0 and not any(data):
            return  # allocated, and never written
        if version != _VERSION:
            raise JournalError(
                f"{name} has version {version}; only {_VERSION} can be read: "
                "let a beanstalkd 1.12 start on it and stop, which makes it that"
            )
        position = _INT.size
        while position < len(data):
            end = self._take(data, position)
            if end == 0:
                break
            position = end
        if any(data[position:]):
            self.notes.append(
                f"{name}: no record at byte {position}; {len(data) - position} bytes are skipped"
            )

    def _take(self, data: bytes, position: int) -> int:
        """Take one record; where it ends, or 0 if there is none."""
        if position + _INT.size + _RECORD.size > len(data):
            return 0
        (length,) = _INT.unpack_from(data, position)
        start = position + _INT.size
        tube = data[start : start + length] if length > 0 else b""
        at = start + len(tube)
        if length < 0 or at + _RECORD.size > len(data) or (tube and not is_tube_name(tube)):
            return 0
        fields: tuple[int, ...] = _RECORD.unpack_from(data, at)
        job_id, size, state = fields[0], fields[4], fields[-1]
        end: int = at + _RECORD.size
        if not job_id or state not in {_GONE, *_STATES}:
            return 0
        self.highest_id = max(self.highest_id, job_id)
        if not tube:
            self._change(fields)
            return end
        body = data[end : end + size]
        if size < 2 or len(body) < size or not body.endswith(b"\r\n"):
            return 0
        self._put(tube.decode("ascii"), fields, body[:-2])
        return end + size

    def _put(self, tube: str, fields: tuple[int, ...], body: bytes) -> None:
        job_id, priority, delay, ttr, _, created, *_ = fields
        record = self.tubes.setdefault(tube, TubeRecord(tube))
        before = self.jobs.find(job_id)
        if before is None:
            record.total_jobs += 1
        else:
            self.jobs.remove(before)
        stand_in: Tube = record  # type: ignore[assignment]  # until an engine takes the job over
        self.jobs.add(
            new_job(
                job_id, stand_in, priority, _seconds(delay), max(1, _seconds(ttr)), body, created
            )
        )
        self._change(fields)

    def _change(self, fields: tuple[int, ...]) -> None:
        job_id, priority, delay, _, _, _, deadline, *counts, state = fields
        job = self.jobs.get(job_id)
        if job is None:
            return  # of a job that an older file told of: it has been deleted or written anew
        if state == _GONE:
            job.tube.cmd_delete += 1
            self.jobs.remove(job)
            return
        job.priority = priority
        job.delay = _seconds(delay)
        job.state = _STATES[state]
        job.reserves, job.timeouts, job.releases, job.buries, job.kicks = counts
        job.deadline = deadline
        if state == _BURIED:
            self._burials = job.deadline = self._burials + 1


def _seconds(nanoseconds: int) -> int:
    return min(max(0, nanoseconds) // SECOND, MAX_UINT32)
