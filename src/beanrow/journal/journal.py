"""The journal of an engine: its changes are on the disk before they are promised.

    journal.commit(now)     # True: the outbox may be said
    journal.tidy(now)       # after that: what need not keep a reply waiting
    journal.next_deadline() # when tidy is wanted at the latest

Laws:
- ``commit`` writes what a turn has changed as one piece and, where every promise is to
  outlive a power cut, syncs it: one write and one sync for all requests of the turn.
- When the disk fails nothing is promised: ``commit`` returns False, forgets nothing, and is
  called again.
- Of the disk only that is known which a sync has confirmed: after a failure all that came
  since the last one is written anew, into another segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from beanrow.engine.job import DELETED
from beanrow.engine.keys import Key
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.records import Changes, TubeRecord
from beanrow.engine.timers import SECOND
from beanrow.errors import JournalError
from beanrow.journal.codec import (
    JOB,
    JOB_SIZE,
    PUT,
    delete_record,
    job_record,
    key_record,
    state_record,
    tube_record,
)
from beanrow.journal.compaction import LONGEST_STEP, Compaction, KnownTubes
from beanrow.journal.recovery import Unsure
from beanrow.journal.space import Segment, Space
from beanrow.journal.writer import Writer

__all__ = ["Journal", "JournalFacts"]

_RETRY = SECOND
"""Between two tries of what a disk has refused."""
_LAZY_SYNC = SECOND
"""What no reply waits for is synced after so long where everything else is at once."""
_PACE = 4
"""Bytes of old segments that compaction looks at for each byte written or freed: garbage is
collected faster than it comes, since no more than two thirds of what it looks at is moved."""
_IDS_AHEAD = 100_000
"""Where a reply does not wait for the sync, ids are given out only below a bound that is
synced: so that after a power cut none is given out twice, though its job may be gone."""
_LONGEST_RECORD = 300
"""Bytes of a record without a body, at most: that of a tube with the longest name."""
_STEPS_FOR_ROOM = 50
"""Some 100 ms."""
_SHORT_STEP, _IDLE_STEP = 32 * 1024, 256 * 1024


class JournalFacts(NamedTuple):
    """What ``stats`` tells of a journal."""

    oldest_index: int
    current_index: int
    records_migrated: int
    records_written: int


class Journal:
    """Keeps an engine's changes. ``open_journal`` makes one.

    ``sync_after`` is how long, in nanoseconds, a change may go unsynced although a reply has
    promised it: 0 syncs before the reply, None leaves it to the system. ``skew`` gives the wall
    clock's time minus the engine's, in nanoseconds; ``tell`` is told, in a line, what the people who run this must know.
    """

    def __init__(
        self,
        engine: RecordingEngine,
        space: Space,
        writer: Writer,
        known: KnownTubes,
        *,
        sync_after: int | None,
        skew: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._space = space
        self._writer = writer
        self._known = known
        self._compaction = Compaction(engine, space, writer, known)
        self._sync_after = sync_after
        self._skew = skew
        self._tell = tell
        self._unwritten: list[Changes] = []
        self._unsynced: list[tuple[int, Changes]] = []  # with the segment that holds them
        self._sync_at: int | None = None
        self._records = 0
        self._live = self._compaction.live_bytes
        self._work = 0  # bytes that compaction owes
        self._room = 0
        self._try_room_at = 0
        self._try_removal_at = 0
        self._try_compaction_at = 0
        self._trouble = ""
        self._lost_tubes: set[str] = set()  # whose records may be lost with a failed write
        engine.has_room = self._has_room

    def begin(self, unsure: Unsure) -> None:
        """Begin a segment with all that may not be on the disk yet; OSError if that fails."""
        writer = self._writer
        writer.next_id = 0
        self._prepare_mark()
        writer.begin(*self._space.take_first(self._size_of(unsure)))
        keys = {key.job_id: key for key in filter(self._engine.keys.holds, unsure.keys)}
        for job_id in sorted(unsure.jobs):
            job = self._engine.jobs.find(job_id)
            if job is None:
                writer.add(delete_record(job_id, ""))
                continue
            key, record = keys.pop(job_id, None), job_record(job, JOB)
            if key is None:
                writer.add(record)
            else:
                self._write_key(key, record)
            writer.segment.jobs.append(job_id)
            job.file = writer.segment.number
        for key in keys.values():
            self._write_key(key)
        counted = {name for name, tube in self._engine.tubes.items() if tube.total_jobs}
        for name in unsure.tubes | (counted - self._known.keys()):
            self._write_tube(name)
        writer.flush()
        writer.sync()
        writer.confirm()  # or the next beginning would write all that anew
        writer.sync()
        self._measure_room()

    def _size_of(self, unsure: Unsure) -> int:
        """Bytes that must be written anew, at most."""
        jobs = filter(None, map(self._engine.jobs.find, unsure.jobs))
        bodies = sum(len(job.body) + len(job.tube.name) for job in jobs)
        records = len(unsure.jobs) + len(unsure.tubes) + len(unsure.keys) + len(self._engine.tubes)
        return bodies + records * _LONGEST_RECORD

    @property
    def facts(self) -> JournalFacts:
        """What ``stats`` tells."""
        segments = self._space.segments
        return JournalFacts(
            segments[0].number, segments[-1].number, self._compaction.moved, self._records
        )

    # -- what a reply waits for ---------------------------------------------------

    def commit(self, now: int) -> bool:
        """Write what has changed; False if the disk did not take it: say nothing, try again."""
        engine = self._engine
        if engine.has_changed:
            self._unwritten.append(engine.take_changes())
        if not (self._unwritten or self._trouble):
            return True
        if self._compaction.hard_up and not self._can_write(now):
            self._fill_reserve(now)  # while nothing is written nobody else sees that room came back
            if self._compaction.hard_up and not self._can_write(now):
                self._note_trouble("no room even for deletes")
                return False
        writer = self._writer
        is_out_of_ids = self._prepare_mark()
        before = writer.written
        try:
            promised = self._write()
            writer.flush()
            if is_out_of_ids or (promised and self._sync_after == 0):
                writer.sync()
        except OSError as error:
            self._fail(error, now)
            return False
        if self._trouble:
            self._trouble = ""
            self._lost_tubes.clear()
            self._sync_at = None
            self._tell("the journal can be written again")
        self._count_as_unsynced(now)
        self._count_work(writer.written - before)
        return True

    def _prepare_mark(self) -> bool:
        """Set what the next marks tell; True if they must be synced for the ids' sake."""
        self._writer.skew = self._skew()
        next_id = self._engine.next_id
        if self._sync_after == 0:
            self._writer.next_id = next_id
        elif next_id > self._writer.next_id:
            self._writer.next_id = next_id + _IDS_AHEAD
            return True
        return False

    def _write(self) -> bool:
        """Give the writer what has changed; tells whether any of it is promised."""
        promised = bool(self._trouble)  # then it may have been
        tubes = self._lost_tubes.copy()
        for changes in self._unwritten:
            promised |= changes.promised
            tubes |= changes.tubes
            self._write_jobs(changes, tubes)
        for name in tubes:  # last: each tells the counts as they are after all that
            self._write_tube(name)
        return promised

    def _write_jobs(self, changes: Changes, tubes: set[str]) -> None:
        """Write the jobs, and add the tubes that have no record yet."""
        first_id, next_id, jobs, _, new_keys, _ = changes
        keys = {key.job_id: key for key in filter(self._engine.keys.holds, new_keys)}
        find, known, add = self._engine.jobs.find, self._known, self._writer.add
        looked_at = None  # the tube of the last job
        for job_id in range(first_id, next_id):
            job, key = find(job_id), keys.get(job_id) if keys else None
            if job is None:
                if key is not None:
                    self._write_key(key)
                continue  # its put was refused, or it is gone again
            record = job_record(job, PUT)
            segment = add(record) if key is None else self._write_key(key, record)
            segment.jobs.append(job_id)
            job.file = segment.number
            if job.tube is not looked_at:
                looked_at = job.tube
                name = looked_at.name
                if name not in known or known[name][0] is not looked_at:
                    tubes.add(name)
        for job_id, job in jobs.items():
            if job_id < first_id:
                is_gone = job.state is DELETED
                add(delete_record(job_id, job.tube.name) if is_gone else state_record(job))
        self._records += next_id - first_id + len(jobs)

    def _write_key(self, key: Key, job: bytes = b"") -> Segment:
        """Write a key, and the record of its job in one with it."""
        segment = self._writer.add(key_record(key, job))
        segment.keys.append(key)
        key.file = segment.number
        return segment

    def _write_tube(self, name: str) -> None:
        tube = self._engine.tubes.get(name)
        if tube is not None:
            self._writer.add(tube_record(tube))
            self._writer.segment.tubes.append(name)
            self._known[name] = tube, self._writer.segment
        else:  # or a pause that it had would come back
            self._writer.add(tube_record(TubeRecord(name)))
            self._known.pop(name, None)

    def _count_as_unsynced(self, now: int) -> None:
        writer = self._writer
        if writer.is_synced:
            self._unsynced.clear()
            self._sync_at = None
        else:
            number = writer.segment.number
            if self._unsynced and self._unsynced[0][0] != number:  # that one is synced
                self._unsynced.clear()
            self._unsynced += [(number, changes) for changes in self._unwritten]
            self._sync_soon(now)
        self._unwritten.clear()

    def _sync_soon(self, now: int) -> None:
        if self._sync_at is None and self._sync_after is not None:
            self._sync_at = now + (self._sync_after or _LAZY_SYNC)

    def _fail(self, error: OSError, now: int) -> None:
        """Give the segment up, and see that all is written again that was not synced."""
        segment, find = self._writer.segment, self._engine.jobs.find
        for job in filter(None, map(find, segment.jobs[segment.synced_jobs :])):
            # It was moved from the oldest one, or it is new: then it is written anew.
            job.file = self._space.segments[0].number
        for key in segment.keys[segment.synced_keys :]:
            key.file = self._space.segments[0].number
        self._lost_tubes.update(segment.tubes)
        self._unwritten[:0] = [changes for _, changes in self._unsynced]
        for changes in self._unwritten:  # whose puts and deletes may be counted twice
            new = filter(None, map(find, range(changes.first_id, changes.next_id)))
            self._lost_tubes.update(job.tube.name for job in (*changes.jobs.values(), *new))
        self._unsynced.clear()
        self._sync_at = now + _RETRY
        # What a failed try has written another segment holds too: that of the first failure.
        self._writer.give_up(keep=not self._trouble)
        self._compaction.rewind()
        self._measure_room()
        self._note_trouble(error.strerror or str(error))

    def _note_trouble(self, trouble: str) -> None:
        if self._trouble != trouble:
            self._trouble = trouble
            self._tell(f"cannot write the journal: {trouble}; nothing is answered until it can be")

    def _can_write(self, now: int) -> bool:
        """See that on a full disk what is to be written leaves compaction its room.

        Else compact first; puts and their keys had to have room of their own.
        """
        records = sum(len(one.jobs) + len(one.tubes) for one in self._unwritten)
        if not records:
            return True
        for _ in range(_STEPS_FOR_ROOM):
            if self._compaction.has_room(records * _LONGEST_RECORD):
                return True
            try:
                if not self._compaction.step(_IDLE_STEP):
                    return False
            except OSError as error:
                self._fail(error, now)
                return False
        return False

    # -- what no reply waits for --------------------------------------------------

    def tidy(self, now: int) -> None:
        """Sync what is due, compact a little, keep spare files."""
        if not self.commit(now):
            return
        try:
            if self._sync_at is not None and self._sync_at <= now:
                self._sync()
            if not self._compaction.is_wanted:
                self._work = 0
            elif self._try_compaction_at <= now:
                self._compact(now)
        except OSError as error:
            self._fail(error, now)
            return
        if not self._has_reserve and self._try_room_at <= now:
            self._fill_reserve(now)
        if self._space.has_surplus and self._try_removal_at <= now:
            self._remove_surplus(now)
        self._measure_room()

    def _sync(self) -> None:
        self._writer.sync()
        self._unsynced.clear()
        self._sync_at = None

    def _count_work(self, written: int) -> None:
        live = self._compaction.live_bytes
        self._work += _PACE * (written + max(0, self._live - live))
        self._live = live

    def _compact(self, now: int) -> None:
        self._prepare_mark()
        size = max(_SHORT_STEP, self._work) if self._work else _IDLE_STEP
        self._work = max(0, self._work - LONGEST_STEP)  # what is left the next turn does
        if not self._compaction.step(size):
            self._try_compaction_at = now + _RETRY
        if not self._writer.is_synced:
            self._sync_soon(now)

    def next_deadline(self) -> int | None:
        """Tell when ``tidy`` is wanted at the latest, None if it has nothing to do."""
        times = [] if self._sync_at is None else [self._sync_at]
        if self._compaction.is_wanted:
            times.append(self._try_compaction_at)
        if not self._has_reserve:
            times.append(self._try_room_at)
        if self._space.has_surplus:
            times.append(self._try_removal_at)
        return min(times, default=None)

    @property
    def _has_reserve(self) -> bool:
        return self._space.is_reserve_whole and not self._compaction.hard_up

    # -- room ---------------------------------------------------------------------

    def _measure_room(self) -> None:
        self._room = self._writer.left + self._space.beyond_reserve

    def _has_room(self, size: int, now: int) -> bool:
        """Tell whether a job fits: ``size`` is that of its body and the name of its tube."""
        record = size + JOB_SIZE
        if record > self._space.largest_record:
            return self._has_room_for_large(record, now)
        # A record that finds no room at a segment's end leaves up to a quarter of it empty.
        self._room -= record + record // 3
        return self._room >= 0 or self._make_room(record + record // 3, now)

    def _make_room(self, wanted: int, now: int) -> bool:
        if now >= self._try_room_at:
            try:
                while self._room < 0:
                    self._space.add_spare()
                    self._room += self._space.usable
            except OSError as error:
                self._run_out_of_room(error, now)
            else:
                self._have_room_again()
                return True
        self._room += wanted
        return False

    def _has_room_for_large(self, record: int, now: int) -> bool:
        if now < self._try_room_at:
            return False
        try:
            self._space.add_large(record)
        except OSError as error:
            self._run_out_of_room(error, now)
            return False
        return True

    def _remove_surplus(self, now: int) -> None:
        try:
            self._space.remove_surplus()
        except OSError as error:
            self._try_removal_at = now + _RETRY
            self._tell(f"cannot remove a file that is not needed: {error.strerror or error}")

    def _fill_reserve(self, now: int) -> None:
        try:
            self._space.fill_reserve()
        except OSError as error:
            self._run_out_of_room(error, now)
        else:
            self._have_room_again()

    def _run_out_of_room(self, error: OSError, now: int) -> None:
        self._try_room_at = now + _RETRY
        if not self._compaction.hard_up:
            self._compaction.hard_up = True
            self._tell(
                f"no room for the journal: {error.strerror or error}; puts are answered "
                "OUT_OF_MEMORY, everything else goes on"
            )

    def _have_room_again(self) -> None:
        if self._compaction.hard_up:
            self._compaction.hard_up = False
            self._tell("the journal has room again: puts are taken")

    def compact_all(self) -> int:
        """Empty every segment that is there, at once; gives the bytes of the new ones.

        JournalError if there is no room for that, or somebody makes a backup.
        """
        first = self._writer.segment.number
        while self._space.segments[0].number < first:
            try:
                is_going_on = self._compaction.step(_IDLE_STEP)
            except OSError as error:
                raise JournalError(f"cannot be written: {error.strerror or error}") from error
            if not is_going_on:
                raise JournalError("there is no room for it now, or a backup is being made")
        return self._space.in_segments

    # -- the end ------------------------------------------------------------------

    def close(self, now: int) -> bool:
        """Write and sync what is left; False if the disk did not take it."""
        if not self.commit(now):
            return False
        try:
            self._writer.next_id = self._engine.next_id
            self._writer.close()
        except OSError as error:
            self._fail(error, now)
            return False
        return True
