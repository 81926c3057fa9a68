"""Compaction: the oldest segment is emptied, a little at a time, and its file used again.

What of it is still needed is written anew at the end, from memory: nothing is read from
the disk. So garbage never hides: after one round through all segments none is left that
was there when it began. A round costs a write of each live job, and comes around after
at least half of their bytes have become garbage.

Laws:
- The disk holds at most twice the live jobs and five files; when compaction has nothing left
  to do, one and a half times the live jobs and three files.
- A step is short: so many bytes and jobs, whatever the segments hold.
- A segment goes when what was moved out of it is synced, not before.
"""

from __future__ import annotations

from beanrow.engine.recording import RecordingEngine
from beanrow.engine.tube import Tube
from beanrow.journal.codec import (
    JOB,
    JOB_SIZE,
    KEY_SIZE,
    SEAL,
    TUBE_SIZE,
    job_record,
    key_record,
    tube_record,
)
from beanrow.journal.space import Segment, Space
from beanrow.journal.writer import Writer

__all__ = ["LONGEST_STEP", "Compaction", "KnownTubes"]

KnownTubes = dict[str, tuple[Tube, Segment]]
"""The tubes that have a record, and the segment with the last one of each."""

_DEAD = 24
"""What a job that is not there any more counts of a step."""
_SLACK = 256
"""Bytes for a few marks."""
_TUBE = TUBE_SIZE + 32
LONGEST_STEP = 1 << 19
"""In bytes: 4,000 jobs of 64 bytes, and some 6 ms."""


class Compaction:
    """Empties the oldest segments of a journal when they hold too little.

    ``moved`` counts the jobs it has written anew. Set ``hard_up`` while puts are refused for
    want of room: then less garbage is enough to begin.
    """

    def __init__(
        self, engine: RecordingEngine, space: Space, writer: Writer, known: KnownTubes
    ) -> None:
        self.moved: int = 0
        self.hard_up = False
        self._engine = engine
        self._space = space
        self._writer = writer
        self._known = known
        self._jobs_done = self._tubes_done = self._keys_done = 0  # of the oldest segment

    @property
    def live_bytes(self) -> int:
        """What the records of all that lives take."""
        engine, keys = self._engine, self._engine.keys
        jobs = engine.size + JOB_SIZE * len(engine.jobs)
        return jobs + _TUBE * len(self._known) + keys.size + KEY_SIZE * len(keys.by_name)

    @property
    def is_wanted(self) -> bool:
        """Whether a step would be of use."""
        space = self._space
        if len(space.segments) < 2:
            return False
        live = self.live_bytes
        if self.hard_up:
            garbage = space.in_segments - space.segments[-1].size - live
            return garbage > space.file_size  # less would not give back a file
        return space.allocated > live + live // 2 + 3 * space.file_size

    def step(self, size: int) -> bool:
        """Look at or move about ``size`` bytes of jobs; False if nothing can be done for now.

        OSError if the disk fails. Call ``rewind`` then: what was moved may not be on it.
        """
        segment = self._space.segments[0]
        if not self._can_have_room():
            return False
        left = self._move_jobs(segment, min(size, LONGEST_STEP))
        if left is not None:
            self._move_keys(segment, self._move_tubes(segment, left))
        self._writer.flush()
        if left is None:
            return False
        if self._jobs_done < len(segment.jobs) or self._tubes_done < len(segment.tubes):
            return True
        if self._keys_done < len(segment.keys):
            return True
        self._writer.sync()
        if self._space.retire():
            self.rewind()
            return True
        return False

    def has_room(self, besides: int) -> bool:
        """Whether the oldest segment can be emptied although ``besides`` bytes are written too."""
        left, segments = self._writer.left, self._space.segments
        if len(segments) < 2:
            return self._space.fits(besides, left)
        oldest = segments[0]
        if self._space.fits(besides + oldest.end, left):
            return True
        sizes = self._live_sizes_in(oldest)
        return self._space.fits(besides + sum(sizes), left, max(sizes))

    def _can_have_room(self) -> bool:
        if self.has_room(0):
            return True
        try:
            self._space.add_spare()
        except OSError:
            return False
        return self.has_room(0)

    def _live_sizes_in(self, segment: Segment) -> list[int]:
        find = self._engine.jobs.find
        jobs = [job for job in map(find, segment.jobs) if job and job.file == segment.number]
        sizes = [JOB_SIZE + len(job.tube.name) + len(job.body) for job in jobs]
        keys = filter(self._engine.keys.holds, segment.keys)
        of_keys = [KEY_SIZE + len(key.tube) + len(key.name) for key in keys]
        return [*sizes, *of_keys, _SLACK, *[_TUBE] * len(segment.tubes)]

    def _can_have_large(self, size: int) -> bool:
        try:
            self._space.add_large(size)
        except OSError:
            return False
        return True

    def rewind(self) -> None:
        """Begin the oldest segment again."""
        self._jobs_done = self._tubes_done = self._keys_done = 0

    def _move_jobs(self, segment: Segment, left: int) -> int | None:
        """Give what is left of the step; None if there is no room for a large job."""
        writer, find = self._writer, self._engine.jobs.find
        ids, done, of_job = segment.jobs, self._jobs_done, self._engine.keys.of_job
        while left > 0 and done < len(ids):
            job = find(ids[done])
            done += 1
            if job is None or job.file != segment.number:
                left -= _DEAD
                continue
            record = job_record(job, JOB)
            key = of_job.get(job.id) if of_job else None
            if key is not None and key.file == segment.number:  # they go on as one record
                record = key_record(key, record)
            else:
                key = None
            size = SEAL.size + len(record)
            if size > self._space.largest_record and not self._can_have_large(size):
                return None
            writer.add(record)
            writer.segment.jobs.append(job.id)
            job.file = writer.segment.number
            if key is not None:
                writer.segment.keys.append(key)
                key.file = writer.segment.number
            self.moved += 1
            left -= size
            self._jobs_done = done
        self._jobs_done = done
        return left

    def _move_tubes(self, segment: Segment, left: int) -> int:
        writer, names = self._writer, segment.tubes
        while left > 0 and self._tubes_done < len(names):
            name = names[self._tubes_done]
            self._tubes_done += 1
            left -= _TUBE
            tube, last = self._known.get(name, (None, None))
            if tube is None or last is not segment:
                continue
            is_needed = tube.jobs or tube.paused_until or tube is self._engine.default_tube
            if not is_needed or self._engine.tubes.get(name) is not tube:
                del self._known[name]  # its next job brings its record along
                continue
            writer.add(tube_record(tube))
            writer.segment.tubes.append(name)
            self._known[name] = tube, writer.segment
        return left

    def _move_keys(self, segment: Segment, left: int) -> None:
        writer, keys = self._writer, segment.keys
        while left > 0 and self._keys_done < len(keys):
            key = keys[self._keys_done]
            self._keys_done += 1
            left -= KEY_SIZE
            if key.file == segment.number and self._engine.keys.holds(key):
                writer.add(key_record(key))
                writer.segment.keys.append(key)
                key.file = writer.segment.number
