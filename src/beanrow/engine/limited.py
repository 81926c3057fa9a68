"""A queue that takes only so much: of memory in all, of jobs and bytes in a tube.

It is a class of its own so that a queue without limits pays nothing.

Laws:
- Only a put is refused: whatever is in the queue goes on its way, over the limit or not.
- A put that is refused is answered OUT_OF_MEMORY, as by the daemon where it can get no
  memory for a job: it takes no id and makes its session a producer all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import maxsize
from typing import NamedTuple

from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.engine.job import Job
from beanrow.engine.jobs import Jobs
from beanrow.engine.keys import Key
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.records import TubeRecord
from beanrow.engine.session import Session
from beanrow.protocol import replies, requests
from beanrow.protocol.values import MAX_JOB_SIZE

__all__ = ["JOB_OVERHEAD", "UNBOUNDED", "LimitedEngine", "LimitedRecordingEngine", "Room"]

JOB_OVERHEAD = 400
"""Bytes that a job is counted with besides its body; what it takes in memory is a little less."""


class Room(NamedTuple):
    """Limits of a queue; 0 is none.

    ``memory`` is bytes of bodies with ``JOB_OVERHEAD`` for each, ``tube_jobs`` and
    ``tube_bytes`` (bodies alone) hold for each tube.
    """

    memory: int = 0
    tube_jobs: int = 0
    tube_bytes: int = 0


UNBOUNDED = Room()


class LimitedEngine(Engine):
    """A beanstalk queue with ``room`` for so much. ``memory`` is what it holds, in bytes."""

    def __init__(
        self,
        now: int,
        *,
        room: Room,
        max_job_size: int = MAX_JOB_SIZE,
        host: Callable[[], HostFacts] = HostFacts,
    ) -> None:
        super().__init__(now, max_job_size=max_job_size, host=host)
        self.memory: int = 0
        self._most_memory, self._most_jobs, self._most_bytes = (most or maxsize for most in room)

    def _put(self, session: Session, request: requests.Put, now: int) -> bytes:
        tube, size = session.used, len(request[3])
        if (
            self.memory + size + JOB_OVERHEAD > self._most_memory
            or tube.jobs >= self._most_jobs
            or tube.bytes + size > self._most_bytes
        ) and not self.draining:
            return self._refuse(session)
        reply = super()._put(session, request, now)
        if reply[:8] == b"INSERTED":
            self.memory += size + JOB_OVERHEAD
        return reply

    def _put_unique(self, session: Session, request: requests.PutUnique, now: int) -> bytes:
        weight = self.memory + self.keys.weight + len(request.body) + JOB_OVERHEAD
        if (
            weight > self._most_memory  # keys may outlive their jobs
            and not self.draining
            and self.keys.find(session.used.name, request.key, now) is None
        ):
            return self._refuse(session)
        return super()._put_unique(session, request, now)

    def _refuse(self, session: Session) -> bytes:
        if not session.is_producer:
            self._make_producer(session)
        self.counters.refused_puts += 1
        return replies.OUT_OF_MEMORY

    def _forget(self, job: Job) -> None:
        self.memory -= len(job.body) + JOB_OVERHEAD
        super()._forget(job)


class LimitedRecordingEngine(LimitedEngine, RecordingEngine):
    """Such a queue whose changes can be taken away and remembered."""

    def restore(
        self,
        jobs: Jobs,
        tubes: dict[str, TubeRecord],
        next_id: int,
        keys: Iterable[Key],
        now: int,
    ) -> None:
        """Fill it with what was remembered, also where that is more than there is room for."""
        super().restore(jobs, tubes, next_id, keys, now)
        bodies = sum(tube.bytes for tube in self.tubes.values())
        self.memory: int = bodies + JOB_OVERHEAD * len(self.jobs)
