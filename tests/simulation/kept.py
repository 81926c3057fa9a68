"""Random histories of an engine with a journal: the process dies, the power fails, the disk too.

Everything of ``simulation`` goes on; in between the journal commits and tidies up, and now and
then all is over and begins again from the disk. Then every job must be what it was at some moment
since the last one that had to survive, and in all its parts the same moment.

Laws:
- What was written when ``commit`` returned survives the process; what had to be synced survives
  the power. Where only one moment fits, nothing may differ at all.
- What was promised is synced when it has to be: at once, or after so long.
- No id is given out twice, whatever happened in between.
- A ``commit`` fails only when the disk has; a put is refused only when the disk is full.
- The disk holds no more than it may, once nothing is left to do.
- A byte that has rotted costs one record at the most, and is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from beanrow.engine.job import BURIED
from beanrow.engine.recording import RecordingEngine
from beanrow.errors import JournalError
from beanrow.journal import journal as journal_module
from beanrow.journal import opening
from beanrow.journal.codec import JOB_SIZE
from beanrow.journal.disk import Disk
from beanrow.journal.journal import Journal
from beanrow.journal.opening import open_journal
from beanrow.journal.recovery import Recovered, recover
from beanrow.journal.space import SEGMENT
from tests.engine.peers import tokens
from tests.simulation.check import check
from tests.simulation.disk import CutError, SimulatedDisk
from tests.simulation.model import SECOND, Model, ModelJob, ModelKey, ModelTube
from tests.simulation.moment import KeptJob, KeptKey, KeptTube, Moment, moment_in, moment_of
from tests.simulation.simulation import MAX_JOB_SIZE, Heard, HistoryError, Simulation

FILE = 8192
SIZE = 5 * FILE
RESERVED_COMMITS = 20
"""Commits without a put that a full disk must still take; some 100 bytes each."""
PROMISES = (b"INSERTED", b"DELETED", b"RELEASED", b"BURIED", b"KICKED", b"PAUSED", b"TRUNCATED")
POLICIES = [0, 0, 0, SECOND // 20, None]
ENDS = ["kill", "power", "power", "cut and kill", "cut and power", "stop"]


@contextmanager
def small_files() -> Iterator[None]:
    """Let a short history fill many segments, and compaction need many steps for each."""
    with ExitStack() as undo:
        undo.enter_context(mock.patch.object(opening, "_SMALLEST_FILE", FILE))
        undo.enter_context(mock.patch.object(journal_module, "_SHORT_STEP", 300))
        undo.enter_context(mock.patch.object(journal_module, "_IDLE_STEP", 600))
        yield


class KeptSimulation(Simulation):
    """One history of an engine, its journal and a disk."""

    _engine: RecordingEngine

    def __init__(
        self,
        seed: int,
        make_engine: Callable[..., RecordingEngine] = RecordingEngine,
        heard: Heard | None = None,
    ) -> None:
        super().__init__(seed, make_engine, heard)
        self._make_engine = make_engine
        self._chance = random.Random(f"disk {seed}")
        self._disk = SimulatedDisk(seed)
        self._sync_after = self._chance.choice(POLICIES)
        self._has_large_bodies = self._chance.random() < 0.2
        self._skew = self._chance.choice([0, 3 * SECOND])  # of the wall clock
        self._skews = {self._skew}  # since the last restart
        self._moments: list[Moment] = []
        self._written = self._durable = 0  # places in them
        self._promised = False
        self._unsynced_since: int | None = None
        self._syncs = 0  # of the disk, then
        self._whole = 0  # the moment when the reserve was last whole
        self._has_failed = False
        self._is_full = False
        self._starts = 0
        self._journal: Journal

    def run(self, steps: int) -> None:
        with small_files():
            try:
                self._moments = [moment_of(self._model, self._last_id, self._now)]
                self._start_journal(self._disk)
            except Exception as error:
                raise HistoryError(f"{error}\n  at the start") from error
            super().run(steps)

    # -- steps --------------------------------------------------------------------

    def _step(self) -> None:
        super()._step()
        pick = self._chance.random()
        if pick < 0.45:
            self._commit()
        if pick < 0.15:
            self._tidy_up()
        elif pick > 0.985:
            self._end()
        elif pick > 0.975:
            self._change_weather()
        elif pick > 0.97:
            self._check_size()
        elif pick > 0.965:
            self._back_up()
        elif pick > 0.96:
            self._check_rot()

    def _change_weather(self) -> None:
        """Let the disk fill up or fail, heal it, or set the wall clock."""
        disk, kind = self._disk, self._chance.randrange(5)
        if kind == 0:
            disk.capacity = disk.used + self._chance.choice([0, 0, FILE // 2, 3 * FILE])
            self._tell(f"the disk has room for {disk.capacity - disk.used}")
            self._is_full = True
        elif kind == 1:
            disk.fail_one_in = self._chance.choice([2, 5, 20])
            self._tell(f"the disk fails once in {disk.fail_one_in}")
        elif kind == 2:
            self._skew += 5 * SECOND
            self._skews.add(self._skew)
            self._tell("the wall clock is set forward")
        else:
            self._heal()

    def _heal(self) -> None:
        self._disk.capacity = 1 << 30
        self._disk.fail_one_in = 0
        self._tell("the disk is well")

    def _body(self) -> bytes:
        """Larger ones than usual, so that segments fill; some so large that each has its own."""
        size = self._chance.choice([1, 30, 150])
        if self._has_large_bodies and self._chance.random() < 0.3:
            size = self._chance.choice([500, 2000])
        return super()._body() * size

    def _hear(self, said: dict[int, list[bytes]]) -> None:
        super()._hear(said)
        self._promised |= any(
            reply.startswith(PROMISES) and reply not in (b"KICKED 0\r\n", b"TRUNCATED 0\r\n")
            for told in said.values()
            for reply in told
        )

    def _has_room(self, has_room: Callable[[int, int], bool]) -> Callable[[int, int], bool]:
        def asked(size: int, now: int) -> bool:
            self._model.has_room = has_room(size, now)
            if not self._model.has_room and not self._is_full:
                raise AssertionError("a put is refused though the disk was never full")
            return self._model.has_room

        return asked

    # -- the journal --------------------------------------------------------------

    def _start_journal(self, disk: Disk) -> Recovered:
        self._starts += 1
        draw = random.Random(f"salt {self._starts}").getrandbits
        self._journal, recovered = open_journal(
            disk,
            self._engine,
            self._now,
            skew=lambda: self._skew,
            draw=draw,
            tell=self._tell,
            size=SIZE,
            sync_after=self._sync_after,
        )
        self._engine.has_room = self._has_room(self._engine.has_room)
        # A function, not a method: a copy of the model must not copy everything.
        self._model.file_of = lambda job_id: self._engine.jobs[job_id].file
        return recovered

    def _remember_moment(self) -> None:
        self._moments.append(moment_of(self._model, self._last_id, self._now))

    def _commit(self) -> None:
        """Commit, and try again while the disk fails."""
        self._remember_moment()
        for _ in range(3):
            failures = self._disk.failures
            if self._journal.commit(self._now):
                self._after_commit()
                return
            self._allow_failure(failures)
        self._heal()
        if not self._journal.commit(self._now):
            raise AssertionError("the disk is well, and still it is not written")
        self._after_commit()

    def _allow_failure(self, failures: int) -> None:
        is_used_up = self._is_full and len(self._moments) - self._whole > RESERVED_COMMITS
        if self._disk.failures == failures and not self._has_failed and not is_used_up:
            raise AssertionError("a commit fails, though the disk does not")
        self._has_failed = True

    def _after_commit(self) -> None:
        self._written = len(self._moments) - 1
        if self._promised and self._sync_after == 0 and not self._disk.is_synced:
            raise AssertionError("a reply may go out, and what it promises is not synced")
        if self._promised and self._unsynced_since is None:
            self._unsynced_since, self._syncs = self._now, self._disk.syncs
        self._promised = False
        self._note_sync()

    def _note_sync(self) -> None:
        if self._journal._space.is_reserve_whole:
            self._whole = len(self._moments)
        if self._disk.is_synced:
            self._durable = self._written
            self._unsynced_since = None

    def _tidy_up(self) -> None:
        self._commit()
        failures = self._disk.failures
        self._journal.tidy(self._now)
        if self._disk.failures != failures:
            self._has_failed = True
            return
        self._note_sync()
        since = self._unsynced_since
        if since is None or self._disk.syncs > self._syncs:
            self._unsynced_since = None
        elif self._sync_after and self._now - since >= self._sync_after:
            raise AssertionError("what was promised should be synced by now")

    def _check_size(self) -> None:
        """Tidy up until nothing is left to do; then see how much the disk holds."""
        self._heal()
        for _ in range(1000):
            self._tidy_up()
            due = self._journal.next_deadline()
            if due is None:
                break
            if due > self._now + 10 * SECOND:
                raise AssertionError("tidying up is put off")
            if due > self._now:
                self._pass_time_until(due)
        else:
            raise AssertionError("tidying up does not end")
        if not self._journal._has_room(1, self._now):
            raise AssertionError("there is room again, and a put would be refused")
        used = sum(
            self._disk.size(name) for name in self._disk.names() if not name.endswith(".damaged")
        )
        live = sum(JOB_SIZE + len(job.tube) + len(job.body) for job in self._model.jobs)
        if used > 2 * live + SIZE:
            raise AssertionError(
                f"{used} bytes on the disk for {live} that live: {sorted(self._disk.names())}"
            )

    # -- the end, and what comes after it -----------------------------------------

    def _end(self) -> None:
        """Let the process or the power fail, and begin again."""
        how = self._chance.choice(ENDS)
        self._tell(how)
        if how == "stop":
            self._stop()
        elif how.startswith("cut"):
            self._cut()
        floor = self._written
        if how.endswith("power"):
            floor = self._durable
            self._disk.fail_power()
        told = self._moments[self._written].last_id
        self._restart(self._moments[floor:], told)

    def _stop(self) -> None:
        self._heal()
        for number in list(self._sessions):
            self._close(number)
        self._remember_moment()
        if not self._journal.close(self._now):
            raise AssertionError("the journal cannot be closed")
        self._written = self._durable = len(self._moments) - 1
        if not self._disk.is_synced:
            raise AssertionError("a journal is closed and not synced")

    def _cut(self) -> None:
        """End in the middle of a commit, or of tidying up."""
        self._disk.cut_after = self._chance.randrange(1, 9)
        try:
            for _ in range(20):
                super()._step()
                self._commit()
                self._tidy_up()
        except CutError:
            self._tell("    in the middle of an operation")
        self._disk.cut_after = 0

    def _restart(self, moments: list[Moment], told: int) -> None:
        down = self._chance.choice([0, 1, SECOND, 10 * SECOND])
        old_skews, wall = self._skews, self._now + self._skew + down
        self._skew = self._chance.choice([0, 0, 2 * SECOND, -7 * SECOND])
        self._now = wall - self._skew
        self._skews = {self._skew}
        self._sessions.clear()
        self._asked.clear()
        self._disk.fail_one_in = 0
        self._disk.begin_again()
        recovered = self._open_again()
        self._tell("begins again")
        self._engine.tick(self._now)
        found = moment_in(self._engine)
        shifts = [skew - self._skew for skew in old_skews]
        wrong = [*self._differences(moments, found, shifts), *recovered.damage]
        if wrong:
            raise AssertionError("; ".join(wrong))
        if found.last_id < told:
            raise AssertionError(f"{found.last_id + 1} would be given out again")
        self._last_id = found.last_id
        self._adopt()
        check(self._engine, [])
        self._moments = [moment_of(self._model, self._last_id, self._now)]
        self._written = self._durable = 0
        # Whoever begins again on a full disk begins with what the reserve had left.
        self._whole = -RESERVED_COMMITS if self._is_full else 0
        self._unsynced_since = None
        self._promised = False
        self._has_failed = False

    def _open_again(self) -> Recovered:
        for capacity in (self._disk.capacity, 1 << 30):
            self._disk.capacity = capacity
            self._engine = self._make_engine(self._now, max_job_size=MAX_JOB_SIZE)
            self._engine.offer_sessions(tokens())
            try:
                return self._start_journal(self._disk)
            except JournalError:
                if capacity == 1 << 30:
                    raise
        raise AssertionError("not reached")

    def _differences(
        self, moments: list[Moment], found: Moment, shifts: list[int]
    ) -> Iterator[str]:
        """Tell each job and tube that is at no moment what was found."""
        for number in sorted(
            {number for one in moments for number in one.jobs} | found.jobs.keys()
        ):
            candidates = [one.jobs.get(number) for one in moments]
            job = found.jobs.get(number)
            if not any(self._same_job(candidate, job, shifts) for candidate in candidates):
                yield f"job {number} is {job} after a restart, but was {set(candidates)}"
        for place in sorted({place for one in moments for place in one.keys} | found.keys.keys()):
            were = [one.keys.get(place) for one in moments]
            key = found.keys.get(place)
            if not any(self._same_key(was, key, found, shifts) for was in were):
                yield f"key {place} is {key} after a restart, but was {set(were)}"
        if len(moments) > 1:
            return
        for name in moments[0].tubes.keys() | found.tubes.keys():
            before, after = moments[0].tubes.get(name), found.tubes.get(name)
            if not self._same_tube(before, after, shifts):
                yield f"tube {name} is {after} after a restart, but was {before}"
        if moments[0].buried != found.buried:
            yield f"buried are {found.buried}, but were {moments[0].buried}"

    def _same_job(self, was: KeptJob | None, job: KeptJob | None, shifts: list[int]) -> bool:
        if was is None or job is None:
            return was is job
        if job.created - was.created not in shifts:
            return False
        if was.state == "delayed":
            ends = {was.deadline + shift for shift in shifts}
            if job.state == "ready" and min(ends) <= self._now:
                was = was._replace(state="ready", deadline=0)
            elif job.deadline in ends:
                was = was._replace(deadline=job.deadline)
        return was == job._replace(created=was.created)

    def _same_key(
        self, was: KeptKey | None, key: KeptKey | None, found: Moment, shifts: list[int]
    ) -> bool:
        if was is None:
            return key is None
        ends = {was.until + shift for shift in shifts}
        if key is None:
            return was.job_id not in found.jobs and min(ends) <= self._now
        ends.add(self._now + was.lifetime * SECOND)  # the longest after a clock was set back
        return (key.job_id, key.lifetime) == (was.job_id, was.lifetime) and key.until in ends

    def _same_tube(self, was: KeptTube | None, tube: KeptTube | None, shifts: list[int]) -> bool:
        paused = set()
        if was is not None and was.paused_until:
            paused = {was.paused_until + shift for shift in shifts}
        over = not paused or min(paused) <= self._now
        if was is None or tube is None:
            return was is tube or (was is not None and over)
        if was.counts != tube.counts:
            return False
        return tube.paused_until in paused or (over and not tube.paused_until)

    def _adopt(self) -> None:
        """Make the model what was found: from here on they go together again."""
        engine, before = self._engine, self._model
        model = self._model = Model(self._now, MAX_JOB_SIZE)
        model.file_of = before.file_of
        model.ids_used = engine.next_id - 1
        model.tubes = [
            ModelTube(
                tube.name,
                tube.pause,
                tube.paused_until,
                tube.total_jobs,
                tube.cmd_delete,
                tube.cmd_pause_tube,
            )
            for tube in engine.tube_order
        ]
        model.keys = {
            place: ModelKey(key.job_id, key.lifetime, key.until)
            for place, key in engine.keys.by_name.items()
        }
        ordered = sorted(
            engine.jobs.values(), key=lambda job: (job.state == BURIED and job.deadline, job.id)
        )
        for job in ordered:
            model.jobs.append(
                ModelJob(
                    job.id,
                    job.tube.name,
                    job.priority,
                    job.delay,
                    job.ttr,
                    job.body,
                    job.created,
                    job.state,
                    job.deadline,
                    since=model.serial(),
                    turned=self._now,
                    reserves=job.reserves,
                    timeouts=job.timeouts,
                    releases=job.releases,
                    buries=job.buries,
                    kicks=job.kicks,
                )
            )

    # -- backups ------------------------------------------------------------------

    def _back_up(self) -> None:
        """Copy file by file while everything goes on; what was copied is one of those moments."""
        disk, chance = self._disk, self._chance
        disk.held = True
        self._commit()
        first = self._written
        names = [name for name in disk.names() if name.endswith(SEGMENT)]
        chance.shuffle(names)
        copies = {}
        for name in names:
            if (
                name in disk.names()
            ):  # one that failed while nothing was in it is not there any more
                copies[name] = disk.copy_file(name)
            for _ in range(chance.randrange(4)):
                super()._step()
                self._tidy_up()
        disk.held = False
        found, told, _ = self._read(copies)
        damage = [line for line in told if "cut off" not in line]
        shifts = [skew - self._skew for skew in self._skews]
        wrong = [*self._differences(self._moments[first:], found, shifts), *damage]
        if wrong:
            raise AssertionError(f"in a backup {'; '.join(wrong)}")

    def _read(self, files: dict[str, bytes]) -> tuple[Moment, list[str], dict[str, int]]:
        """Read a journal out of these files: what there is, the damage, how far each is synced."""
        engine = RecordingEngine(self._now, max_job_size=MAX_JOB_SIZE)
        recovered = recover(SimulatedDisk.of(files), engine, self._now, self._skew)
        engine.tick(self._now)
        synced = {segment.name: segment.synced for segment in recovered.segments}
        return moment_in(engine), recovered.damage + recovered.notes, synced

    def _check_rot(self) -> None:
        """Change a byte of a copy, and see that it costs one record at most, and is told."""
        files = {name: self._disk.copy_file(name) for name in self._disk.names()}
        sound, _, synced = self._read(files)
        name = self._chance.choice([name for name in files if name.endswith(SEGMENT)])
        place = self._chance.randrange(len(files[name]))
        rotten = bytearray(files[name])
        rotten[place] ^= self._chance.randrange(1, 256)
        found, damage, _ = self._read({**files, name: bytes(rotten)})
        # A mark tells how the clock was set; without it the times of one write may be those before.
        shifts = [one - other for one in self._skews for other in self._skews]
        wrong = {
            number
            for number in sound.jobs.keys() | found.jobs.keys()
            if not self._same_job(sound.jobs.get(number), found.jobs.get(number), shifts)
        }
        is_beyond_sync = place >= synced[name]
        if len(wrong) > 1 or (found != sound and not damage and not is_beyond_sync):
            raise AssertionError(
                f"byte {place} of {name} has changed, {wrong} with it, and told is {damage}"
            )
