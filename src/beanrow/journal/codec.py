"""The bytes of a journal: the header of a segment, and the records behind it.

A record is ``tag, checksum | length, kind, content``: the seal, then the bare record.
The tag is, and the checksum begins with, a number that the segment drew by chance. So neither
what an earlier use of the file has left behind nor a body that looks like a record is
ever taken for one.

A record tells what something *is*, not what happened to it: the last one wins, and one
that is lost harms nothing that a later one tells.

To change the format: raise VERSION, and go on reading what it was (``docs/journal.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from beanrow.engine.job import BURIED, DELAYED, READY, RESERVED, Job, State
from beanrow.engine.keys import Key
from beanrow.engine.records import TubeRecord
from beanrow.engine.tube import Tube
from beanrow.errors import JournalError
from beanrow.protocol.values import MAX_UINT32

__all__ = [
    "DELETE",
    "DELETE_LAYOUT",
    "FRAME",
    "HEADER_SIZE",
    "JOB",
    "JOB_LAYOUT",
    "JOB_SIZE",
    "KEY",
    "KEY_LAYOUT",
    "KEY_SIZE",
    "MARK",
    "MARK_LAYOUT",
    "MARK_SIZE",
    "PUT",
    "SEAL",
    "STATE",
    "STATES",
    "STATE_LAYOUT",
    "TUBE",
    "TUBE_LAYOUT",
    "TUBE_SIZE",
    "VERSION",
    "Header",
    "delete_record",
    "job_record",
    "key_record",
    "mark_record",
    "read_header",
    "state_record",
    "tube_record",
    "write_header",
]

VERSION = 2
"""Version 1 has no keys."""

PUT, JOB, STATE, DELETE, TUBE, MARK, KEY = range(1, 8)
"""A new job with all there is to it · the same of an old job, moved here · what can
change of a job · a job is gone · a tube · the head of each write · the key of a unique job."""

STATES: tuple[State, ...] = (READY, RESERVED, DELAYED, BURIED)
_NUMBER_OF: dict[State, int] = {state: number for number, state in enumerate(STATES)}

SEAL = Struct("<HI")
"""Tag and checksum."""
FRAME = Struct("<IB")
"""Length of the content, and kind."""


class _Layout:
    """The fields of one kind of record: ``read`` from the content, ``write`` with the frame."""

    def __init__(self, fields: str) -> None:
        content = Struct("<" + fields)
        self.size: int = content.size
        self.read: Callable[[bytes, int], tuple[Any, ...]] = content.unpack_from
        self.write: Callable[..., bytes] = Struct("<IB" + fields).pack


JOB_LAYOUT = _Layout("QqqIIIBIIIIIB")
"""id, created, deadline, priority, delay, ttr, state, reserves, timeouts, releases, buries,
kicks, bytes of the tube's name; then the name, then the body."""
STATE_LAYOUT = _Layout("QqIIBIIIII")
"""id, deadline, priority, delay, state, reserves, timeouts, releases, buries, kicks."""
DELETE_LAYOUT = _Layout("QB")
"""id, bytes of the tube's name; the name: who reads it may know the job no more."""
TUBE_LAYOUT = _Layout("IqQQQB")
"""pause, paused_until, total_jobs, cmd_delete, cmd_pause_tube, bytes of the name; the name."""
MARK_LAYOUT = _Layout("QQq")
"""next id, how far the segment was synced before, wall clock minus the engine's time."""

KEY_LAYOUT = _Layout("QIqBB")
"""id of its job, lifetime, until, bytes of the tube's name and of its own; the names; then the
whole bare record of its job, so that neither is there without the other, or nothing."""

_AROUND = SEAL.size + FRAME.size
JOB_SIZE = _AROUND + JOB_LAYOUT.size
"""Bytes of a job's record besides the name of its tube and its body."""
TUBE_SIZE = _AROUND + TUBE_LAYOUT.size
"""Bytes of a tube's record besides its name."""
MARK_SIZE = _AROUND + MARK_LAYOUT.size
KEY_SIZE = _AROUND + KEY_LAYOUT.size
"""Bytes of a key's record besides the two names."""


_write_job, _JOB_CONTENT = JOB_LAYOUT.write, JOB_LAYOUT.size
_write_state, _STATE_CONTENT = STATE_LAYOUT.write, STATE_LAYOUT.size
_write_delete, _DELETE_CONTENT = DELETE_LAYOUT.write, DELETE_LAYOUT.size


def job_record(job: Job, kind: int) -> bytes:
    """Write all of a job, without the seal. ``kind`` is PUT or JOB."""
    name, body = job.tube.name.encode(), job.body
    return (
        _write_job(
            _JOB_CONTENT + len(name) + len(body),
            kind,
            job.id,
            job.created,
            job.deadline,
            job.priority,
            job.rarities.delay,
            job.ttr,
            _NUMBER_OF[job.state],
            *_counts(job),
            len(name),
        )
        + name
        + body
    )


def state_record(job: Job) -> bytes:
    """Write what can change of a job, without the seal."""
    return _write_state(
        _STATE_CONTENT,
        STATE,
        job.id,
        job.deadline,
        job.priority,
        job.rarities.delay,
        _NUMBER_OF[job.state],
        *_counts(job),
    )


def _counts(job: Job) -> tuple[int, ...]:
    rare = job.rarities
    counts = (job.reserves, rare.timeouts, rare.releases, rare.buries, rare.kicks)
    # A job is reserved four billion times only by a worker that releases it at once, for days.
    return counts if job.reserves < MAX_UINT32 else tuple(min(n, MAX_UINT32) for n in counts)


def delete_record(job_id: int, tube: str) -> bytes:
    """Write that a job is gone, without the seal; without a tube it was counted before."""
    name = tube.encode()
    return _write_delete(_DELETE_CONTENT + len(name), DELETE, job_id, len(name)) + name


def tube_record(tube: TubeRecord | Tube) -> bytes:
    """Write what is remembered of a tube, without the seal."""
    name = tube.name.encode()
    return (
        TUBE_LAYOUT.write(
            TUBE_LAYOUT.size + len(name),
            TUBE,
            tube.pause,
            tube.paused_until,
            tube.total_jobs,
            tube.cmd_delete,
            tube.cmd_pause_tube,
            len(name),
        )
        + name
    )


def key_record(key: Key, job: bytes = b"") -> bytes:
    """Write a key, without the seal, and in it the record of its ``job``."""
    tube, name = key.tube.encode(), key.name.encode()
    size = KEY_LAYOUT.size + len(tube) + len(name) + len(job)
    head = KEY_LAYOUT.write(size, KEY, key.job_id, key.lifetime, key.until, len(tube), len(name))
    return b"".join((head, tube, name, job))


def mark_record(next_id: int, synced: int, skew: int) -> bytes:
    """Write the head of a write, without the seal."""
    return MARK_LAYOUT.write(MARK_LAYOUT.size, MARK, next_id, synced, skew)


class Header(NamedTuple):
    """The head of a segment.

    ``salt`` begins each checksum and ``tag`` each record; ``next_id`` and ``skew`` are as in a
    mark. What is known of the segment
    before this one: ``end``, where its records end; how far it was certainly synced (what a
    crash or a failing disk has left of the rest is not damage, and nothing of it was promised
    that does not come again further on); salt and tag again, should its own head be lost.
    """

    number: int
    salt: int
    tag: int
    previous_salt: int
    previous_tag: int
    previous_end: int
    previous_synced: int
    next_id: int
    skew: int


_MAGIC = b"beanrow journal\n"
_HEADER = Struct("<16sIQIHIHQQQq")
_CHECKSUM = Struct("<I")
_COPY_AT = 256
HEADER_SIZE = 2 * _COPY_AT
"""Two copies: without salt and tag nothing of a segment can be read."""


def write_header(header: Header) -> bytes:
    """Write the head of a segment."""
    packed = _HEADER.pack(_MAGIC, VERSION, *header)
    copy = (packed + _CHECKSUM.pack(crc32(packed))).ljust(_COPY_AT, b"\0")
    return copy + copy


def read_header(data: bytes) -> Header | None:
    """Read the head of a segment; None if it is none, or damaged in both copies.

    JournalError if a newer beanrow has written it.
    """
    newer = 0
    for start in (0, _COPY_AT):
        end = start + _HEADER.size
        if len(data) < end + _CHECKSUM.size:
            continue
        magic, version, *fields = _HEADER.unpack_from(data, start)
        if magic == _MAGIC and version > VERSION:
            newer = version
        elif magic == _MAGIC and _CHECKSUM.unpack_from(data, end)[0] == crc32(data[start:end]):
            return Header(*fields)
    if newer:
        raise JournalError(
            f"the journal has version {newer}, and this beanrow reads up to {VERSION}: "
            "take the newer one that wrote it"
        )
    return None
