"""Journals with one thing wrong each: what the simulation is worth, it shows by finding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from beanrow.engine.engine import Engine
from beanrow.engine.job import DELETED, Job
from beanrow.engine.jobs import Jobs
from beanrow.engine.recording import RecordingEngine
from beanrow.journal import compaction, journal, recovery, writer
from beanrow.journal.codec import (
    HEADER_SIZE,
    Header,
    job_record,
    mark_record,
    read_header,
    state_record,
)
from beanrow.journal.compaction import Compaction
from beanrow.journal.journal import Journal
from beanrow.journal.recovery import Unsure
from beanrow.journal.scan import Scan
from beanrow.journal.space import Segment, Space
from beanrow.journal.writer import Writer
from tests.simulation.disk import SimulatedDisk

__all__ = ["BUGS"]

Bug = Callable[[], AbstractContextManager[Any]]
BUGS: dict[str, Bug] = {}


def bug(plant: Callable[[], Any]) -> Bug:
    """List a planted bug by its name: a function that gives what ``mock`` undoes."""

    @contextmanager
    def planted() -> Iterator[None]:
        with plant():
            yield

    planted.__doc__ = plant.__doc__
    BUGS[plant.__name__] = planted
    return planted


def patched(owner: object, name: str, replacement: object) -> Any:
    return mock.patch.object(owner, name, replacement)


# -- the engine notes too little -------------------------------------------------------------------


@bug
def reservations_are_not_noted() -> Any:
    return patched(RecordingEngine, "_hand", Engine._hand)


@bug
def a_release_promises_nothing() -> Any:
    def let_go(self: RecordingEngine, job: Job) -> None:
        self._changed[job.id] = job
        Engine._let_go(self, job)

    return patched(RecordingEngine, "_let_go", let_go)


@bug
def kicks_are_not_noted() -> Any:
    return patched(RecordingEngine, "_take_out_of_turn", Engine._take_out_of_turn)


@bug
def pauses_are_not_noted() -> Any:
    return patched(RecordingEngine, "_pause_tube", Engine._pause_tube)


@bug
def a_pause_outlives_its_tube() -> Any:
    return patched(RecordingEngine, "_drop_if_unused", Engine._drop_if_unused)


@bug
def what_came_and_went_in_one_turn_is_not_counted() -> Any:
    def forget(self: RecordingEngine, job: Job) -> None:
        job.state = DELETED
        self._changed[job.id] = job
        self._promised = True
        self.size -= len(job.body) + len(job.tube.name)
        Engine._forget(self, job)

    return patched(RecordingEngine, "_forget", forget)


# -- it is written wrongly -------------------------------------------------------------------------


@bug
def nothing_is_synced() -> Any:
    def sync(self: Writer) -> None:
        self.segment.synced = self.segment.end

    return patched(Writer, "sync", sync)


@bug
def names_are_not_synced() -> Any:
    return patched(SimulatedDisk, "sync_names", lambda _self: None)


@bug
def the_order_of_burials_is_lost() -> Any:
    def without_place(job: Job) -> bytes:
        deadline, job.deadline = job.deadline, 0 if job.state == "buried" else job.deadline
        record = state_record(job)
        job.deadline = deadline
        return record

    return patched(journal, "state_record", without_place)


@bug
def counters_are_lost_when_a_job_is_moved() -> Any:
    def without_releases(job: Job, kind: int) -> bytes:
        releases, job.releases = job.releases, 0
        record = job_record(job, kind)
        job.releases = releases
        return record

    return patched(compaction, "job_record", without_releases)


@bug
def ids_are_not_remembered() -> Any:
    return patched(writer, "mark_record", lambda _id, synced, skew: mark_record(0, synced, skew))


@bug
def ids_are_remembered_too_low() -> Any:
    def prepare_mark(self: Journal) -> bool:
        self._writer.skew, self._writer.next_id = self._skew(), self._engine.next_id
        return False

    return patched(Journal, "_prepare_mark", prepare_mark)


@bug
def the_wall_clock_is_ignored() -> Any:
    return patched(
        writer, "mark_record", lambda next_id, synced, _skew: mark_record(next_id, synced, 0)
    )


@bug
def a_failed_write_is_forgotten() -> Any:
    fail = Journal._fail

    def forget(self: Journal, error: OSError, now: int) -> None:
        self._unsynced.clear()
        fail(self, error, now)

    return patched(Journal, "_fail", forget)


@bug
def writing_goes_on_behind_a_failed_write() -> Any:
    return patched(Writer, "give_up", lambda self, keep: self._pieces.clear())


@bug
def a_failed_sync_is_tried_again() -> Any:
    def give_up(self: Writer, keep: bool) -> None:
        self._pieces.clear()
        try:
            self.sync()
        except OSError:
            self.segment.synced = self.segment.end

    return patched(Writer, "give_up", give_up)


@bug
def jobs_lost_with_a_failed_write_count_as_moved() -> Any:
    rewind = Compaction.rewind
    return mock.patch.multiple(
        Compaction,
        rewind=lambda self: None if self._writer._file is None else rewind(self),
    )


@bug
def counts_are_written_before_what_they_count() -> Any:
    def write(self: Journal) -> bool:
        promised = bool(self._trouble)
        for changes in self._unwritten:
            promised |= changes.promised
            for name in changes.tubes | self._lost_tubes:
                self._write_tube(name)
            self._write_jobs(changes, set())
        return promised

    return patched(Journal, "_write", write)


# -- files come and go wrongly ---------------------------------------------------------------------


@bug
def puts_eat_the_reserve() -> Any:
    return patched(Journal, "_has_room", lambda *_: True)


@bug
def puts_are_refused_for_ever() -> Any:
    def run_out_of_room(self: Journal, _error: OSError, _now: int) -> None:
        self._try_room_at = 1 << 62
        self._compaction.hard_up = True

    return patched(Journal, "_run_out_of_room", run_out_of_room)


@bug
def nothing_is_compacted() -> Any:
    return patched(Compaction, "is_wanted", False)


@bug
def compaction_forgets_tubes() -> Any:
    def move_tubes(self: Compaction, segment: Segment, _left: int) -> None:
        self._tubes_done = len(segment.tubes)

    return patched(Compaction, "_move_tubes", move_tubes)


@bug
def segments_go_before_what_was_moved_is_synced() -> Any:
    step = Compaction.step

    def hasty(self: Compaction, size: int) -> bool:
        with mock.patch.object(Writer, "sync"):
            return step(self, size)

    return patched(Compaction, "step", hasty)


@bug
def backups_are_not_waited_for() -> Any:
    @contextmanager
    def not_held(_self: SimulatedDisk) -> Iterator[bool]:
        yield True

    return patched(SimulatedDisk, "not_held", not_held)


@bug
def surplus_files_stay() -> Any:
    return patched(Space, "has_surplus", False)


# -- it is read wrongly ----------------------------------------------------------------------------


@bug
def checksums_are_not_looked_at() -> Any:
    records = Scan.records

    def trusting(self: Scan) -> Any:
        with mock.patch("beanrow.journal.scan.crc32", _Anything()):
            yield from records(self)

    return patched(Scan, "records", trusting)


class _Anything:
    """A checksum that is equal to every other."""

    def __call__(self, *_: object) -> _Anything:
        return self

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@bug
def reading_ends_at_the_first_gap() -> Any:
    return patched(Scan, "_next_sound", lambda self, _position: self._end)


@bug
def damage_is_not_told() -> Any:
    return patched(recovery._Replay, "_tell_gap", lambda *_: None)


@bug
def old_contents_of_a_file_are_believed() -> Any:
    begin = Writer.begin

    def unsalted(self: Writer, name: str, size: int) -> None:
        with mock.patch.object(self, "_draw", return_value=7):
            begin(self, name, size)

    return patched(Writer, "begin", unsalted)


@bug
def the_end_of_a_segment_is_not_known() -> Any:
    def endless(data: bytes) -> Header | None:
        header = read_header(data)
        return header and header._replace(previous_end=1 << 40, previous_synced=HEADER_SIZE)

    return patched(recovery, "read_header", endless)


@bug
def what_is_not_synced_is_built_upon() -> Any:
    begin = Journal.begin

    def trusting(self: Journal, _unsure: Unsure) -> None:
        begin(self, Unsure(set(), set(), []))

    return patched(Journal, "begin", trusting)


@bug
def a_reserved_job_comes_back_without_its_counts() -> Any:
    restore = RecordingEngine.restore

    def forgetful(self: RecordingEngine, jobs: Jobs, *rest: Any) -> None:
        for job in jobs.values():
            if job.state == "reserved":
                job.reserves -= 1
        restore(self, jobs, *rest)

    return patched(RecordingEngine, "restore", forgetful)


@bug
def spares_are_forgotten_at_the_start() -> Any:
    return patched(Space, "adopt_spares", lambda _self: None)


# -- keys ------------------------------------------------------------------------------------------


@bug
def keys_are_not_moved() -> Any:
    return patched(Compaction, "_move_keys", lambda self, segment, left: None)


@bug
def keys_are_not_noted() -> Any:
    return patched(RecordingEngine, "_put_unique", Engine._put_unique)
