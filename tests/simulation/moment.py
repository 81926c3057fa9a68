"""What there is to survive at one moment, of the model and of the engine."""

from __future__ import annotations

from typing import NamedTuple

from beanrow.engine.job import Job
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.tube import Tube
from tests.simulation.model import Model, ModelJob, ModelTube


class KeptJob(NamedTuple):
    """What must survive of a job. Who held one is gone, so it is ready."""

    tube: str
    state: str
    pri: int
    delay: int
    ttr: int
    body: bytes
    created: int
    deadline: int
    counts: tuple[int, ...]


class KeptTube(NamedTuple):
    """What must survive of a tube."""

    pause: int
    paused_until: int
    counts: tuple[int, ...]


class KeptKey(NamedTuple):
    """What must survive of a key until it is free."""

    job_id: int
    lifetime: int
    until: int


class Moment(NamedTuple):
    """What there was to survive at one moment."""

    jobs: dict[int, KeptJob]
    tubes: dict[str, KeptTube]
    buried: dict[str, list[int]]
    last_id: int
    keys: dict[tuple[str, str], KeptKey]


def _kept(job: Job | ModelJob) -> KeptJob:
    return KeptJob(
        job.tube if isinstance(job, ModelJob) else job.tube.name,
        "ready" if job.state == "reserved" else job.state,
        job.pri if isinstance(job, ModelJob) else job.priority,
        job.delay,
        job.ttr,
        job.body,
        job.created,
        job.deadline if job.state == "delayed" else 0,
        (job.reserves, job.timeouts, job.releases, job.buries, job.kicks),
    )


def _kept_tube(tube: Tube | ModelTube) -> KeptTube:
    counts = (tube.total_jobs, tube.cmd_delete, tube.cmd_pause_tube)
    return KeptTube(tube.pause, tube.paused_until, counts)


def moment_of(model: Model, last_id: int, now: int) -> Moment:
    jobs = {job.id: _kept(job) for job in model.jobs}
    used = {job.tube for job in model.jobs}
    tubes = {
        tube.name: _kept_tube(tube)
        for tube in model.tubes
        if tube.name in used | {"default"} or tube.paused_until > now
    }
    buried = {name: [job.id for job in model.jobs_of(name, "buried")] for name in used}
    keys = {
        place: KeptKey(key.job_id, key.lifetime, key.until) for place, key in model.keys.items()
    }
    return Moment(jobs, tubes, buried, last_id, keys)


def moment_in(engine: RecordingEngine) -> Moment:
    jobs = {job.id: _kept(job) for job in engine.jobs.values()}
    tubes = {name: _kept_tube(tube) for name, tube in engine.tubes.items()}
    buried = {tube.name: list(tube.buried) for tube in engine.tubes.values() if tube.jobs}
    keys = {
        place: KeptKey(key.job_id, key.lifetime, key.until)
        for place, key in engine.keys.by_name.items()
    }
    return Moment(jobs, tubes, buried, engine.next_id - 1, keys)
