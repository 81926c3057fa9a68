"""Where jobs lie: partitions, the keys they begin with, ids that tell their partition, job records.

Laws:
- What is stated here can never change for jobs that exist. The engine remembers ``words`` from
  the first start, and a gateway that states something else refuses to start.
- An id alone tells the partition of its job, and so the node that has it.
- A partition lies in one slot; the partitions lie evenly over all slots.
"""

from __future__ import annotations

from binascii import crc32, crc_hqx
from struct import Struct
from typing import NamedTuple

from beanrow.protocol.stats import JobStats

__all__ = [
    "LAYOUT",
    "Given",
    "Layout",
    "Record",
    "head_size",
    "job_stats",
    "read_given",
    "read_record",
    "slot_of",
]

_SLOTS = 16384
_FIRST_TAG = b"460"
"""Of the first partition, whatever the layout: the layout itself is noted there."""
_ID_UNITS = 10_000
"""Of time in a second that ids follow: 53 bits last for more than a hundred years."""


def slot_of(tag: bytes) -> int:
    """Tell the slot of all keys with this hash tag."""
    return crc_hqx(tag, 0) % _SLOTS


class Layout:
    """``partitions`` and how their ids grow: ``id_units`` a second, 0 by one with each job.

    ``bases`` are what the keys of each partition begin with, ``slots`` where these lie.
    """

    def __init__(self, partitions: int, id_units: int) -> None:
        self.partitions = partitions
        self.id_units = id_units
        self.words: str = f"1 partitions={partitions} id-units={id_units}"
        width = _SLOTS // partitions
        tags = {0: _FIRST_TAG}
        number = 0
        while len(tags) < partitions:
            tag = b"%d" % number
            tags.setdefault(slot_of(tag) // width, tag)
            number += 1
        self.bases: list[bytes] = [b"br{%b}:" % tags[partition] for partition in range(partitions)]
        self.slots: list[int] = [slot_of(tags[partition]) for partition in range(partitions)]

    def of_tube(self, tube: str) -> int:
        """Tell the partition of a tube."""
        return crc32(tube.encode()) % self.partitions

    def spread(self, tube: str, count: int) -> list[int]:
        """Tell the partitions of a tube that is spread over so many, its own first."""
        step = self.partitions // count
        return [(self.of_tube(tube) + place * step) % self.partitions for place in range(count)]

    def of_job(self, job_id: int) -> int:
        """Tell the partition of a job."""
        return job_id % self.partitions


LAYOUT = Layout(256, _ID_UNITS)
"""The one in use. Tests have another, whose ids are those of a single server."""

_HEAD = Struct(">BIIIQQIIIIIQBB")
_STATES = ("", "ready", "reserved", "delayed", "buried")


class Record(NamedTuple):
    """A job as the engine keeps it. Times in milliseconds of the engine's clock."""

    state: str
    priority: int
    delay: int
    ttr: int
    created: int
    due: int
    reserves: int
    timeouts: int
    releases: int
    buries: int
    kicks: int
    tube: str
    body: bytes


def read_record(raw: bytes) -> Record:
    """Read a job, or as much of it as there is: its body may have been left out."""
    fields = _HEAD.unpack_from(raw)
    of_tube, of_key = fields[-2:]
    names = _HEAD.size + of_tube
    tube = raw[_HEAD.size : names].decode()
    return Record._make((_STATES[fields[0]], *fields[1:11], tube, raw[names + of_key :]))


class Given(NamedTuple):
    """What a client is given of a job. ``ttr`` in seconds."""

    id: int
    tube: str
    ttr: int
    body: bytes


def read_given(job_id: bytes, raw: bytes) -> Given:
    """Read what a client is given: a third of the time of all of it."""
    tube = raw[_HEAD.size : _HEAD.size + raw[_HEAD.size - 2]].decode()
    ttr = int.from_bytes(raw[9:13], "big")
    return Given(int.from_bytes(job_id, "big"), tube, ttr, raw[head_size(raw) :])


def head_size(raw: bytes) -> int:
    """Tell how many bytes of a job stand before its body."""
    return _HEAD.size + raw[_HEAD.size - 2] + raw[_HEAD.size - 1]


def job_stats(job_id: int, job: Record, now: int) -> JobStats:
    """Write the figures of ``stats-job``; ``now`` by the engine's clock."""
    timed = job.state in ("reserved", "delayed")
    return JobStats(
        id=job_id,
        tube=job.tube,
        state=job.state,
        pri=job.priority,
        age=max(0, now - job.created) // 1000,
        delay=job.delay,
        ttr=job.ttr,
        time_left=max(0, job.due - now - 1) // 1000 if timed else 0,
        file=0,
        reserves=job.reserves,
        timeouts=job.timeouts,
        releases=job.releases,
        buries=job.buries,
        kicks=job.kicks,
    )
