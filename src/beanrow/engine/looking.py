"""What the queue tells of itself: the requests that change nothing.

Law: a look at jobs is bounded, in time too: what would take longer comes in pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import nsmallest
from itertools import chain, islice

from beanrow.engine.counters import (
    HostFacts,
    connected,
    job_listed,
    job_stats,
    lease_of,
    server_stats,
    tube_stats,
    tube_times,
)
from beanrow.engine.job import RESERVED, Job
from beanrow.engine.queue import Queue
from beanrow.engine.session import Session
from beanrow.engine.tube import Tube
from beanrow.protocol import replies, requests
from beanrow.protocol.capabilities import JOBS_WITH_TUBE, MORE_STATS
from beanrow.protocol.holders import SlowCommand, write_rows
from beanrow.protocol.listing import write_page
from beanrow.protocol.stats import write_list

__all__ = ["Looking"]

_MOST_LOOKED_AT = 100_000
"""Jobs for one page: some 5 ms."""
_FEW = 5000
"""Jobs of a tube in a state that are found without a look at those of others: some 5 ms."""

_MOST_SLOW = 128
"""Commands that took long, the latest ones."""


class Looking(Queue):
    """The looking half of ``Engine``, which tells of its arguments and attributes."""

    def __init__(self, now: int, max_job_size: int, host: Callable[[], HostFacts]) -> None:
        super().__init__()
        self.started = now
        self.max_job_size = max_job_size
        self.draining: bool = False
        self.slow_commands: deque[SlowCommand] = deque(maxlen=_MOST_SLOW)
        self._host = host

    # -- jobs ---------------------------------------------------------------------

    def _peek(self, session: Session, request: requests.Peek, now: int) -> bytes:
        return _found(self.jobs.find(request.id), session)

    def _peek_ready(self, session: Session, request: requests.PeekReady, now: int) -> bytes:
        return _found(session.used.ready.first(), session)

    def _peek_delayed(self, session: Session, request: requests.PeekDelayed, now: int) -> bytes:
        return _found(session.used.delayed.first(), session)

    def _peek_buried(self, session: Session, request: requests.PeekBuried, now: int) -> bytes:
        return _found(next(iter(session.used.buried.values()), None), session)

    # -- counting -----------------------------------------------------------------

    def _stats(self, session: Session, request: requests.Stats, now: int) -> bytes:
        more = MORE_STATS in session.words
        return replies.ok(server_stats(self, self._host(), now, more=more).write())

    def _stats_tube(self, session: Session, request: requests.StatsTube, now: int) -> bytes:
        tube = self.tubes.get(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        return replies.ok(tube_stats(tube, now, more=MORE_STATS in session.words).write())

    def _stats_job(self, session: Session, request: requests.StatsJob, now: int) -> bytes:
        job = self.jobs.find(request.id)
        return replies.NOT_FOUND if job is None else replies.ok(job_stats(job, now).write())

    def _list_tubes(self, session: Session, request: requests.ListTubes, now: int) -> bytes:
        return replies.ok(write_list(tube.name for tube in self.tube_order))

    def _list_tubes_watched(
        self, session: Session, request: requests.ListTubesWatched, now: int
    ) -> bytes:
        return replies.ok(write_list(tube.name for tube in session.watched))

    def _list_tube_used(self, session: Session, request: requests.ListTubeUsed, now: int) -> bytes:
        return replies.using(session.used.name)

    # -- our extensions -----------------------------------------------------------

    def _list_jobs(self, session: Session, request: requests.ListJobs, now: int) -> bytes:
        tube_name, state, after, limit = request
        tube, listed, last = self.tubes.get(tube_name), [], after
        if tube is None:
            return replies.NOT_FOUND
        if tube.count(state) <= _FEW:
            jobs = iter([job for job in self._jobs_in(tube, state) if job.id > after])
        else:
            jobs = self.jobs.after(after)
        for job in islice(jobs, _MOST_LOOKED_AT):
            last = job.id
            if job.tube is tube and job.state == state:
                listed.append(job_listed(job, now))
                if len(listed) == limit:
                    return replies.ok(write_page(listed, last))
        return replies.ok(write_page(listed, None if next(jobs, None) is None else last))

    def _jobs_in(self, tube: Tube, state: str) -> list[Job]:
        """Give the jobs of a tube in a state by their ids, without a look at any other tube."""
        if state == RESERVED:
            holders = chain(self.sessions.values(), self.tokens.absent())
            jobs = [job for one in holders for job in one.held.values() if job.tube is tube]
        else:
            jobs = tube.jobs_in(state)
        return sorted(jobs, key=_job_id)

    def _list_times(self, session: Session, request: requests.ListTimes, now: int) -> bytes:
        tube = self.tubes.get(request.tube)
        return replies.NOT_FOUND if tube is None else replies.ok(tube_times(tube).write())

    def _list_leases(self, session: Session, request: requests.ListLeases, now: int) -> bytes:
        after, limit = request
        holders = chain(self.sessions.values(), self.tokens.absent())
        held = [job for one in holders for job in one.held.values() if job.id > after]
        page = nsmallest(limit, held, key=_job_id)
        rest = page[-1].id if len(held) > limit else None
        return replies.ok(write_rows([lease_of(job, now) for job in page], rest))

    def _list_clients(self, session: Session, request: requests.ListClients, now: int) -> bytes:
        """List them by their numbers: the order in which they came, and so stand in the dict."""
        after, limit = request
        rest = (one for number, one in self.sessions.items() if number > after)
        page = list(islice(rest, limit))
        more = page[-1].number if next(rest, None) is not None else None
        return replies.ok(write_rows(map(connected, page), more))

    def _list_slow(self, session: Session, request: requests.ListSlow, now: int) -> bytes:
        rows = [one for one in self.slow_commands if one.number > request.after]
        return replies.ok(write_rows(rows, None))


def _job_id(job: Job) -> int:
    return job.id


def _found(job: Job | None, session: Session) -> bytes:
    if job is None:
        return replies.NOT_FOUND
    if JOBS_WITH_TUBE in session.words:
        return replies.found_in(job.tube.name, job.id, job.body)
    return replies.found(job.id, job.body)
