"""The queue of a test server: an engine that remembers what was put, and shows what it has."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from beanrow.engine.engine import Engine
from beanrow.engine.job import BURIED, DELAYED, READY, RESERVED, Job
from beanrow.engine.session import Session
from beanrow.protocol import replies, requests

__all__ = ["STATES", "JobSeen", "TestQueue"]

STATES: tuple[str, ...] = (READY, RESERVED, DELAYED, BURIED)


class JobSeen(NamedTuple):
    """A job as a test sees it.

    ``state`` is ready, reserved, delayed, buried or deleted. ``delay`` and ``ttr`` are seconds.
    """

    id: int
    tube: str
    body: bytes
    state: str
    priority: int
    delay: int
    ttr: int

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 becomes escapes."""
        return self.body.decode(errors="backslashreplace")

    @property
    def json(self) -> Any:
        """The body read as JSON; ValueError if it is none."""
        return json.loads(self.body)


class TestQueue(Engine):
    """An engine that keeps a list of all puts, with what has become of each."""

    __test__: bool = False  # not a test of pytest's, whatever its name

    def __init__(self, now: int, max_job_size: int) -> None:
        super().__init__(now, max_job_size=max_job_size)
        self._puts: list[JobSeen] = []

    def _put(self, session: Session, request: requests.Put, now: int) -> bytes:
        before = self._next_id
        reply = super()._put(session, request, now)
        if reply[:8] == b"INSERTED":
            priority, delay, ttr, body = request
            tube = session.used.name
            self._puts.append(JobSeen(before, tube, body, "", priority, delay, ttr or 1))
        return reply

    def puts(self, tube: str | None = None) -> list[JobSeen]:
        """Give all jobs ever put, into one tube if it is named, in their order.

        Priority and delay are those of the put, the state is that of now.
        """
        chosen = [one for one in self._puts if tube in (None, one.tube)]
        return [one._replace(state=self._state(one.id)) for one in chosen]

    def _state(self, job_id: int) -> str:
        job = self.jobs.get(job_id)
        return "deleted" if job is None else job.state

    def seen(self, tube: str | None = None, state: str | None = None) -> list[JobSeen]:
        """Give the jobs that are there, of a tube and in a state if these are named, by id."""
        found = [
            _seen(job)
            for job in self.jobs.values()
            if tube in (None, job.tube.name) and state in (None, job.state)
        ]
        return sorted(found)

    def figure(self, tube: str, name: str) -> int:
        """Tell how many jobs of a tube are in a state, ``deleted`` ones too, or who is waiting."""
        if name == "deleted":
            return sum(one.state == name for one in self.puts(tube))
        if name == "waiting":
            there = self.tubes.get(tube)
            return 0 if there is None else len(there.waiting)
        return len(self.seen(tube, name))

    def end_wait(self, session: Session) -> None:
        """Answer a reserve that waits, as when its timeout is over."""
        self._stop_waiting(session)
        self._say(session, replies.TIMED_OUT)


def _seen(job: Job) -> JobSeen:
    return JobSeen(job.id, job.tube.name, job.body, job.state, job.priority, job.delay, job.ttr)
