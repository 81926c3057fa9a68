"""The engine's own books, counted anew from what exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from beanrow.engine.engine import Engine
from beanrow.engine.job import BURIED, DELAYED, READY, RESERVED
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.session import Session
from beanrow.engine.tube import Tube
from beanrow.protocol.values import URGENT_PRIORITY


def check(engine: Engine, sessions: Collection[Session]) -> None:
    """AssertionError if the engine breaks one of its laws in this moment."""
    _check_holders(engine, sessions)
    _check_waiters(engine, sessions)
    _check_counters(engine, sessions)
    _check_tubes(engine)
    if isinstance(engine, RecordingEngine):
        size = sum(len(job.body) + len(job.tube.name) for job in engine.jobs.values())
        _demand(engine.size == size, "the size of all jobs")
    _check_keys(engine)
    for tube in engine.tubes.values():
        _check_tube(engine, tube, sessions)


def _demand(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"broken: {law}")


def _check_holders(engine: Engine, sessions: Collection[Session]) -> None:
    for session in engine.tokens.sessions():
        _demand(engine.tokens.find(session.token) is session, "a token has one session")
        is_there = session in sessions
        _demand(is_there != bool(session.absent_until), "a session is there or absent")
        _demand(is_there or session.held != {}, "who is absent holds a job")
    sessions = {*sessions, *engine.tokens.sessions()}
    held = Counter(id(job) for session in sessions for job in session.held.values())
    for job in engine.jobs.values():
        _demand(held.pop(id(job), 0) == (job.state is RESERVED), f"one holder for {job}")
        _demand((job.holder in sessions) == (job.state is RESERVED), f"{job} knows its holder")
    _demand(not held, "nobody holds a job that is gone")
    for session in sessions:
        for number, job in session.held.items():
            _demand(job.holder is session and job.id == number, f"{job} is held by its holder")
            _demand(session.soonest <= job.deadline, "no deadline is before the soonest known")


def _check_waiters(engine: Engine, sessions: Collection[Session]) -> None:
    for session in sessions:
        for tube in engine.tubes.values():
            waits = session.waiting and tube in session.watched
            _demand((session in tube.waiting) == waits, f"{tube} knows who waits")
            if waits and not tube.paused_until:
                _demand(not tube.ready.count, f"nobody waits beside a ready job: {tube}")
    everyone = {session for tube in engine.tubes.values() for session in tube.waiting}
    _demand(everyone <= set(sessions), "who waits is connected")


def _check_counters(engine: Engine, sessions: Collection[Session]) -> None:
    counters = engine.counters
    _demand(counters.connections == len(sessions), "connections")
    _demand(counters.waiting == sum(session.waiting for session in sessions), "who waits")
    _demand(counters.producers == sum(session.is_producer for session in sessions), "producers")
    _demand(counters.workers == sum(session.is_worker for session in sessions), "workers")


def _is_urgent(job: object) -> bool:
    return job.state is READY and job.priority < URGENT_PRIORITY  # type: ignore[attr-defined]


def _check_tubes(engine: Engine) -> None:
    _demand(engine.tube_order == sorted(engine.tubes.values(), key=_place), "tube order")
    for place, tube in enumerate(engine.tube_order):
        _demand(tube.place == place, f"the place of {tube}")
        _demand(engine.tubes[tube.name] is tube, f"the name of {tube}")
        needed = tube.jobs or tube.using or tube.watching or tube.name == "default"
        if isinstance(engine, RecordingEngine):
            needed = needed or tube.paused_until  # which outlives a restart
        _demand(bool(needed), f"{tube} is gone when nobody needs it")


def _place(tube: Tube) -> int:
    return tube.place


def _check_keys(engine: Engine) -> None:
    keys = engine.keys
    held = {key for key in keys.by_name.values() if key.job_id in engine.jobs}
    _demand(set(keys.of_job.values()) == held, "the keys of jobs are those of jobs that exist")
    _demand(all(keys.by_name[key.tube, key.name] is key for key in held), "a key has one job")
    size = sum(len(key.tube) + len(key.name) for key in keys.by_name.values())
    _demand(keys.size == size, "the size of all keys")


def _check_tube(engine: Engine, tube: Tube, sessions: Collection[Session]) -> None:
    jobs = [job for job in engine.jobs.values() if job.tube is tube]
    states = Counter(job.state for job in jobs)
    counted = (tube.ready.count, tube.reserved, tube.delayed.count, len(tube.buried))
    recounted = (states[READY], states[RESERVED], states[DELAYED], states[BURIED])
    _demand(counted == recounted, f"jobs by state in {tube}")
    _demand(tube.jobs == len(jobs), f"jobs in {tube}")
    _demand(tube.bytes == sum(len(job.body) for job in jobs), f"bytes in {tube}")
    _demand(tube.urgent == sum(map(_is_urgent, jobs)), f"urgent jobs in {tube}")
    _demand(tube.using == sum(session.used is tube for session in sessions), f"using {tube}")
    watching = sum(tube in session.watched for session in sessions)
    _demand(tube.watching == watching, f"watching {tube}")
