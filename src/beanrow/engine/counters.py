"""What the server counts over its life, and the statistics made of it.

Laws:
- A count of what happened is kept as it happens; how much there is of what exists (jobs, tubes,
  sessions) is asked of what holds it. Jobs by state are known to their tubes: to add them up takes
  0.1 ms for 1,000 tubes, where counts of their own took 2 % of every command.
- Nothing looks at each job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from beanrow.engine.job import BURIED, DELAYED, READY, RESERVED, Job
from beanrow.engine.timers import SECOND
from beanrow.protocol import requests
from beanrow.protocol.holders import Connected, Lease
from beanrow.protocol.listing import ListedJob
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.times import Histogram, TubeTimes

if TYPE_CHECKING:
    from beanrow.engine.looking import Looking
    from beanrow.engine.session import Session
    from beanrow.engine.tube import Tube

__all__ = [
    "Counters",
    "HostFacts",
    "connected",
    "job_listed",
    "job_stats",
    "lease_of",
    "oldest_ready_age",
    "server_stats",
    "tube_stats",
    "tube_times",
]

_MOST_WATCHED = 20
"""Names of watched tubes that are told of a connection."""


class HostFacts(NamedTuple):
    """What ``stats`` tells of the process, its journal and the machine.

    The engine cannot know it. ``rusage_utime`` and ``rusage_stime`` are seconds of CPU,
    ``binlog_max_size`` bytes. ``store`` and ``promise`` are told only who asked for more
    (``docs/protocol.md`` has their words).
    """

    pid: int = 0
    version: str = ""
    rusage_utime: float = 0.0
    rusage_stime: float = 0.0
    id: str = ""
    hostname: str = ""
    os: str = ""
    platform: str = ""
    binlog_max_size: int = 0
    binlog_oldest_index: int = 0
    binlog_current_index: int = 0
    binlog_records_migrated: int = 0
    binlog_records_written: int = 0
    store: str = "memory"
    promise: str = "none"


class Counters:
    """Counts since the server started, and of its sessions."""

    __slots__ = (
        "connections",
        "job_timeouts",
        "producers",
        "refused_puts",
        "repeated_puts",
        "requests",
        "total_connections",
        "waiting",
        "workers",
    )

    def __init__(self) -> None:
        self.refused_puts: int = 0
        self.repeated_puts: int = 0
        self.job_timeouts: int = 0
        self.connections: int = 0
        self.total_connections: int = 0
        self.producers: int = 0
        self.workers: int = 0
        self.waiting: int = 0
        kinds = requests.Request.__args__
        self.requests: dict[type, int] = dict.fromkeys(kinds, 0)


def server_stats(engine: Looking, host: HostFacts, now: int, *, more: bool = False) -> ServerStats:
    """The figures of ``stats``; ``more``: those of our extensions too."""
    counters, counted = engine.counters, engine.counters.requests
    figures = ServerStats(
        current_jobs_urgent=sum([tube.urgent for tube in engine.tube_order]),
        current_jobs_ready=engine.count(READY),
        current_jobs_reserved=engine.count(RESERVED),
        current_jobs_delayed=engine.count(DELAYED),
        current_jobs_buried=engine.count(BURIED),
        cmd_put=counted[requests.Put]
        + counted[requests.PutInTube]
        + counted[requests.PutUnique]
        + counted[requests.PutTooBig]
        + counted[requests.PutUnterminated],
        cmd_peek=counted[requests.Peek],
        cmd_peek_ready=counted[requests.PeekReady],
        cmd_peek_delayed=counted[requests.PeekDelayed],
        cmd_peek_buried=counted[requests.PeekBuried],
        cmd_reserve=counted[requests.Reserve],
        cmd_reserve_with_timeout=counted[requests.ReserveWithTimeout],
        cmd_delete=counted[requests.Delete],
        cmd_release=counted[requests.Release],
        cmd_use=counted[requests.Use],
        cmd_watch=counted[requests.Watch],
        cmd_ignore=counted[requests.Ignore],
        cmd_bury=counted[requests.Bury],
        cmd_kick=counted[requests.Kick],
        cmd_touch=counted[requests.Touch],
        cmd_stats=counted[requests.Stats],
        cmd_stats_job=counted[requests.StatsJob],
        cmd_stats_tube=counted[requests.StatsTube],
        cmd_list_tubes=counted[requests.ListTubes],
        cmd_list_tube_used=counted[requests.ListTubeUsed],
        cmd_list_tubes_watched=counted[requests.ListTubesWatched],
        cmd_pause_tube=counted[requests.PauseTube],
        job_timeouts=counters.job_timeouts,
        total_jobs=counted[requests.Put]
        + counted[requests.PutInTube]
        + counted[requests.PutUnique]
        - counters.repeated_puts
        - counters.refused_puts,
        max_job_size=engine.max_job_size,
        current_tubes=len(engine.tubes),
        current_connections=counters.connections,
        current_producers=counters.producers,
        current_workers=counters.workers,
        current_waiting=counters.waiting,
        total_connections=counters.total_connections,
        pid=host.pid,
        version=host.version,
        rusage_utime=host.rusage_utime,
        rusage_stime=host.rusage_stime,
        uptime=(now - engine.started) // SECOND,
        binlog_oldest_index=host.binlog_oldest_index,
        binlog_current_index=host.binlog_current_index,
        binlog_records_migrated=host.binlog_records_migrated,
        binlog_records_written=host.binlog_records_written,
        binlog_max_size=host.binlog_max_size,
        draining=engine.draining,
        id=host.id,
        hostname=host.hostname,
        os=host.os,
        platform=host.platform,
    )
    if more:
        figures.store, figures.promise = host.store, host.promise
    return figures


def _time_left(until: int, now: int) -> int:
    """Whole seconds, rounded down; 60 s show as 59 at once, as in the daemon."""
    return max(0, until - now - 1) // SECOND


def oldest_ready_age(tube: Tube, now: int) -> int:
    """How many seconds ago the oldest ready job of a tube was put; 0 if none is ready."""
    job = tube.ready.oldest()
    return 0 if job is None else (now - job.created) // SECOND


def tube_stats(tube: Tube, now: int, *, more: bool = False) -> TubeStats:
    """The figures of ``stats-tube``; ``more``: those of our extensions too."""
    figures = TubeStats(
        name=tube.name,
        current_jobs_urgent=tube.urgent,
        current_jobs_ready=tube.ready.count,
        current_jobs_reserved=tube.reserved,
        current_jobs_delayed=tube.delayed.count,
        current_jobs_buried=len(tube.buried),
        total_jobs=tube.total_jobs,
        current_using=tube.using,
        current_watching=tube.watching,
        current_waiting=len(tube.waiting),
        cmd_delete=tube.cmd_delete,
        cmd_pause_tube=tube.cmd_pause_tube,
        pause=tube.pause,
        pause_time_left=_time_left(tube.paused_until, now),
    )
    if more:
        figures.oldest_ready_age = oldest_ready_age(tube, now)
        figures.jobs_bytes = tube.bytes
    return figures


def job_stats(job: Job, now: int) -> JobStats:
    """The figures of ``stats-job``."""
    timed = job.state in (RESERVED, DELAYED)
    return JobStats(
        id=job.id,
        tube=job.tube.name,
        state=job.state,
        pri=job.priority,
        age=(now - job.created) // SECOND,
        delay=job.delay,
        ttr=job.ttr,
        time_left=_time_left(job.deadline, now) if timed else 0,
        file=job.file,
        reserves=job.reserves,
        timeouts=job.timeouts,
        releases=job.releases,
        buries=job.buries,
        kicks=job.kicks,
    )


def job_listed(job: Job, now: int) -> ListedJob:
    """The figures of a job in ``list-jobs``."""
    return ListedJob(**job_stats(job, now).__dict__, bytes=len(job.body))


def tube_times(tube: Tube) -> TubeTimes:
    """The figures of ``list-times``."""
    waits = Histogram.of_bits(tube.waits, tube.waited)
    return TubeTimes(tube.name, waits, Histogram.of_bits(tube.runs, tube.ran))


def lease_of(job: Job, now: int) -> Lease:
    """Tell who holds a job that is reserved."""
    holder = job.holder
    assert holder is not None, "only asked of reserved jobs"
    return Lease(
        id=job.id,
        tube=job.tube.name,
        connection=holder.number,
        peer=holder.peer,
        client=holder.name,
        held=(now - job.since) // SECOND,
        time_left=_time_left(job.deadline, now),
        ttr=job.ttr,
        reserves=job.reserves,
    )


def connected(session: Session) -> Connected:
    """Tell of a connection."""
    return Connected(
        connection=session.number,
        peer=session.peer,
        client=session.name,
        producer=session.is_producer,
        worker=session.is_worker,
        waiting=session.waiting,
        used=session.used.name,
        watching=len(session.watched),
        watched=tuple(tube.name for tube in session.watched[:_MOST_WATCHED]),
        held=len(session.held),
    )
