"""From the segments of a journal back to an engine.

The records are read in the order in which they were written, and the last one of a job or
a tube wins. Memory holds the jobs and one segment.

Laws:
- A record whose checksum is wrong is skipped; reading goes on at the next sound one.
- What was synced and cannot be read is damage: it is named, and its segment is kept. What
  was not synced and cannot be read a crash has cut off: nobody was promised it.
- The ids of a journal's jobs are never given out again, whatever became of them.
"""

from __future__ import annotations

import gc
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple, cast

from beanrow.engine.job import DELAYED, new_job
from beanrow.engine.jobs import Jobs
from beanrow.engine.keys import Key
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.records import TubeRecord
from beanrow.engine.tube import Tube
from beanrow.errors import JournalError
from beanrow.journal.codec import (
    DELETE,
    DELETE_LAYOUT,
    FRAME,
    HEADER_SIZE,
    JOB,
    JOB_LAYOUT,
    KEY,
    KEY_LAYOUT,
    MARK,
    MARK_LAYOUT,
    PUT,
    SEAL,
    STATE,
    STATE_LAYOUT,
    STATES,
    TUBE,
    TUBE_LAYOUT,
    Header,
    read_header,
)
from beanrow.journal.compaction import KnownTubes
from beanrow.journal.disk import Disk
from beanrow.journal.scan import Gap, Scan
from beanrow.journal.space import Segment, number_of

__all__ = ["Recovered", "Unsure", "recover"]

_CONTENT = FRAME.size  # of a record without its seal
_KIND = _CONTENT - 1
_NAME = _CONTENT + JOB_LAYOUT.size
_MOST_TOLD = 20
"""Records that one line names; the rest is counted."""


class Unsure(NamedTuple):
    """What was read but may not be on the disk: it must be written again before it is used.

    A sync that failed, or never came, tells nothing; and that a file can be read does not
    tell that it would still be there after a power cut. ``jobs`` are ids; what is not in the
    engine was deleted. ``tubes`` are names.
    """

    jobs: set[int]
    tubes: set[str]
    keys: list[Key]


class Recovered(NamedTuple):
    """What was found. ``damage`` and ``notes`` are lines for people.

    ``damage`` tells what was on the disk and is lost, ``notes`` what a crash has cut off.
    """

    segments: list[Segment]
    known: KnownTubes
    unsure: Unsure
    damage: list[str]
    notes: list[str]


def recover(disk: Disk, engine: RecordingEngine, now: int, skew: int) -> Recovered:
    """Fill an engine that is still empty with what a journal holds.

    ``skew`` is the wall clock's time minus the engine's. JournalError if the directory holds
    something else, or a journal of a newer version.
    """
    names = disk.names()
    if any(name.startswith("binlog.") for name in names):
        raise JournalError(
            "it holds a binlog of beanstalkd: name another directory, or make a journal of its "
            "jobs with 'beanrow journal import'"
        )
    segments = [Segment(number, 0) for number in sorted(filter(None, map(number_of, names)))]
    headers = [read_header(disk.read_start(one.name, HEADER_SIZE)) for one in segments]
    replay = _Replay(skew)
    with _collector_off():
        for place, segment in enumerate(segments):
            follower = None
            if place + 1 < len(segments) and segments[place + 1].number == segment.number + 1:
                follower = headers[place + 1]
            replay.read(segment, headers[place], disk.read(segment.name), follower)
        replay.tell_what_is_missing(segments)
        next_id = max(replay.next_id, replay.highest_id + 1)
        engine.restore(replay.jobs, replay.tubes, next_id, replay.keys.values(), now)
    known = {
        name: (engine.tubes[name], segment)
        for name, segment in replay.tube_segments.items()
        if name in engine.tubes
    }
    return Recovered(segments, known, replay.unsure, replay.damage, replay.notes)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the garbage collector off: no job is part of a cycle, and it would walk them all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _header_from(follower: Header) -> Header:
    """Make a header from what the next segment's tells of it."""
    return follower._replace(
        number=follower.number - 1,
        salt=follower.previous_salt,
        tag=follower.previous_tag,
        next_id=0,
    )


class _Replay:
    """What the records amount to so far."""

    def __init__(self, skew: int) -> None:
        self.jobs = Jobs()
        self.tubes: dict[str, TubeRecord] = {}
        self.tube_segments: dict[str, Segment] = {}
        self.next_id = 1  # as the last one that tells it says
        self.highest_id = 0  # of the jobs that were seen
        self.damage: list[str] = []
        self.notes: list[str] = []
        self._skew = skew
        self._shift = 0  # from the times of a record to those of the engine
        self._created = self._created_here = 0  # of the last job: its record's, and the engine's
        self._ttrs: dict[int, int] = {}
        self._segment = Segment(0, 0)
        self._tubes_by_bytes: dict[bytes, Tube] = {}
        self.keys: dict[tuple[str, str], Key] = {}
        self.unsure = Unsure(set(), set(), [])
        self._unsynced_keys: list[tuple[int, Key]] = []
        self._unsynced: deque[tuple[int, int, str, bool]] = deque()  # as given to _note
        self._stray: dict[int, tuple[Segment, int]] = {}  # states of jobs that are not there
        self._take: dict[int, Callable[[bytes, int], None]] = {
            PUT: self._job,
            JOB: self._job,
            STATE: self._state,
            DELETE: self._delete,
            TUBE: self._tube,
            MARK: self._mark,
            KEY: self._key,
        }

    def read(
        self, segment: Segment, header: Header | None, data: bytes, follower: Header | None
    ) -> None:
        """Take all records of a segment; ``follower`` is the header of the next one."""
        self._segment = segment
        segment.size = len(data)
        if header is None and follower is not None:
            self._tell_damage(segment, "its head is damaged; the next segment tells what was in it")
            header = _header_from(follower)
        if header is None:
            self._tell_damage(segment, "its head is damaged, and nothing of it can be read")
            return
        segment.salt, segment.tag = header.salt, header.tag
        self.next_id = max(self.next_id, header.next_id)
        self._set_shift(header.skew)
        limit = len(data)
        if follower is not None:
            segment.synced = follower.previous_synced
            limit = follower.previous_end
            if limit > len(data):
                self._tell_damage(segment, f"{limit - len(data)} bytes are missing at its end")
                limit = len(data)
        scan = Scan(data, header, limit)
        take, position, record = self._take, HEADER_SIZE - SEAL.size, b""
        for position, kind, record in scan.records():
            try:
                take[kind](record, position)
            except (KeyError, IndexError, UnicodeDecodeError, struct.error):
                self._tell_damage(segment, f"a record at byte {position} makes no sense")
        segment.end = position + SEAL.size + len(record)
        for _, job_id, name, _ in self._unsynced:
            if name:
                self.unsure.tubes.add(name)
            if job_id:
                self.unsure.jobs.add(job_id)
        self._unsynced.clear()
        unsure = (key for position, key in self._unsynced_keys if position >= segment.synced)
        self.unsure.keys.extend(unsure)
        self._unsynced_keys.clear()
        for gap in scan.gaps:
            self._tell_gap(segment, gap, gap.end == limit)

    # -- records ------------------------------------------------------------------

    def _set_shift(self, skew: int) -> None:
        self._shift = skew - self._skew
        self._created_here = self._created + self._shift

    def _mark(self, record: bytes, position: int) -> None:
        next_id, synced, skew = MARK_LAYOUT.read(record, _CONTENT)
        self._set_shift(skew)
        self.next_id = next_id
        if synced > self._segment.synced:
            self._segment.synced = synced
            unsynced = self._unsynced
            while unsynced and unsynced[0][0] < synced:
                _, job_id, name, is_whole = unsynced.popleft()
                if is_whole:
                    self._be_sure(job_id, name)

    def _job(self, record: bytes, position: int) -> None:
        (
            job_id,
            created,
            deadline,
            priority,
            delay,
            ttr,
            state,
            reserves,
            timeouts,
            releases,
            buries,
            kicks,
            length,
        ) = JOB_LAYOUT.read(record, _CONTENT)
        end = _NAME + length
        name = record[_NAME:end]
        tube = self._tubes_by_bytes.get(name) or self._tube_of(name)
        if created != self._created:  # one number for all that came together: 48 bytes a job
            self._created = created
            self._created_here = created + self._shift
        ttr = self._ttrs.setdefault(ttr, ttr)  # likewise
        job = new_job(job_id, tube, priority, delay, ttr, record[end:], self._created_here)
        segment, jobs = self._segment, self.jobs
        job.file = segment.number
        if state:
            job.state = state = STATES[state]
            job.deadline = deadline + self._shift if state is DELAYED else deadline
        if reserves or kicks:
            job.reserves = reserves
            job.timeouts = timeouts
            job.releases = releases
            job.buries = buries
            job.kicks = kicks
        before = None
        if job_id > self.highest_id:
            self.highest_id = job_id
        else:
            before = jobs.find(job_id)
        if before is not None:
            jobs.remove(before)
        elif record[_KIND] == PUT:  # else it had to be written twice
            tube.total_jobs += 1
        jobs.add(job)
        segment.jobs.append(job_id)
        if self._stray:
            self._stray.pop(job_id, None)
        if position >= segment.synced:
            self._unsynced.append((position, job_id, tube.name, True))
        elif self.unsure.jobs:
            self.unsure.jobs.discard(job_id)

    def _state(self, record: bytes, position: int) -> None:
        (job_id, deadline, priority, delay, state, reserves, timeouts, releases, buries, kicks) = (
            STATE_LAYOUT.read(record, _CONTENT)
        )
        job = self.jobs.find(job_id)
        if job is None:  # it comes further on if compaction has moved it
            self._stray.setdefault(job_id, (self._segment, position))
            return
        job.state = state = STATES[state]
        job.deadline = deadline + self._shift if state is DELAYED else deadline
        job.priority = priority
        job.delay = delay
        job.reserves = reserves
        job.timeouts = timeouts
        job.releases = releases
        job.buries = buries
        job.kicks = kicks
        self._note(position, job_id, job.tube.name, is_whole=False)

    def _delete(self, record: bytes, position: int) -> None:
        job_id, _ = DELETE_LAYOUT.read(record, _CONTENT)
        name = record[_CONTENT + DELETE_LAYOUT.size :]
        if name:
            tube = self._tubes_by_bytes.get(name) or self._tube_of(name)
            tube.cmd_delete += 1
        self._note(position, job_id, name.decode("ascii"), is_whole=True)
        job = self.jobs.find(job_id)
        if job is None:
            self._stray.pop(job_id, None)
        else:
            self.jobs.remove(job)

    def _tube(self, record: bytes, position: int) -> None:
        pause, paused_until, total_jobs, cmd_delete, cmd_pause_tube, _ = TUBE_LAYOUT.read(
            record, _CONTENT
        )
        name = record[_CONTENT + TUBE_LAYOUT.size :]
        tube = self._tubes_by_bytes.get(name) or self._tube_of(name)
        tube.pause = pause
        tube.paused_until = paused_until + self._shift if paused_until else 0
        tube.total_jobs = total_jobs
        tube.cmd_delete = cmd_delete
        tube.cmd_pause_tube = cmd_pause_tube
        self.tube_segments[tube.name] = self._segment
        self._segment.tubes.append(tube.name)
        self._note(position, 0, tube.name, is_whole=True)

    def _note(self, position: int, job_id: int, tube: str, *, is_whole: bool) -> None:
        """Note a record of a job, or of a tube (job 0), by whether it is synced.

        A ``is_whole`` one needs none of those before it: where they are unsure no longer matters.
        """
        if position >= self._segment.synced:
            self._unsynced.append((position, job_id, tube, is_whole))
        elif is_whole:
            self._be_sure(job_id, tube)

    def _be_sure(self, job_id: int, tube: str) -> None:
        if job_id:
            self.unsure.jobs.discard(job_id)
        else:
            self.unsure.tubes.discard(tube)

    def _key(self, record: bytes, position: int) -> None:
        job_id, lifetime, until, length, own = KEY_LAYOUT.read(record, _CONTENT)
        start = _CONTENT + KEY_LAYOUT.size
        end = start + length + own
        tube = record[start : start + length].decode("ascii")
        name = record[start + length : end].decode("ascii")
        key = self.keys[tube, name] = Key(tube, name, job_id, lifetime, until + self._shift)
        key.file = self._segment.number
        self._segment.keys.append(key)
        if position >= self._segment.synced:
            self._unsynced_keys.append((position, key))
        if end < len(record):
            job = record[end:]
            _, kind = FRAME.unpack_from(job)
            self._take[kind](job, position)

    def _tube_of(self, name: bytes) -> Tube:
        record = self.tubes[name.decode("ascii")] = TubeRecord(name.decode("ascii"))
        # Stands for the tube until the engine takes the jobs over: a tube weighs ten times as much.
        tube = self._tubes_by_bytes[name] = cast("Tube", record)
        return tube

    # -- what people are told -----------------------------------------------------

    def tell_what_is_missing(self, segments: list[Segment]) -> None:
        """Name the segments that are not there, and the jobs that only a state is left of."""
        for before, after in pairwise(segments):
            for number in range(before.number + 1, after.number):
                self._tell_damage(Segment(number, 0), "is missing, with all that was in it")
        lost = [job for job, (segment, at) in self._stray.items() if at < segment.synced]
        if lost:
            shown = ", ".join(map(str, lost[:_MOST_TOLD]))
            more = f" and {len(lost) - _MOST_TOLD} more" if len(lost) > _MOST_TOLD else ""
            self.damage.append(f"lost, though once put: job {shown}{more}")

    def _tell_gap(self, segment: Segment, gap: Gap, is_last: bool) -> None:
        if gap.start >= segment.synced:
            if gap.lost or not is_last:
                self.notes.append(f"{segment.name}: a write at byte {gap.start} was cut off")
            return
        end = min(gap.end, segment.synced) if is_last else gap.end
        names = "; ".join(gap.lost[:_MOST_TOLD])
        if len(gap.lost) > _MOST_TOLD:
            names += f"; and {len(gap.lost) - _MOST_TOLD} more"
        self._tell_damage(
            segment,
            f"{end - gap.start} damaged bytes at byte {gap.start} are skipped"
            + (f": {names}" if names else ""),
        )

    def _tell_damage(self, segment: Segment, what: str) -> None:
        segment.damaged = True
        self.damage.append(f"{segment.name}: {what}")
