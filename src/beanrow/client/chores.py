"""Chores of many commands: emptying a tube, kicking what is buried, moving a job.

Each is a generator that both clients run: it gives what is to be said next, all of it in
one write and with this tube in use, and is sent the result of each command.

Laws:
- Only the vanilla protocol, and what that costs stands in the docstring of the method.
- A job is stored in its new place before it is deleted from the old one: a chore that is
  cut short may leave a job twice, never not at all.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from beanrow.client.pipeline import Progress, Result
from beanrow.errors import BeanstalkError, NotFoundError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import Job

__all__ = ["Chore", "Step", "drain_tube", "kick_all", "move"]

T = TypeVar("T")

_RESERVED_AT_ONCE = 100


class Step(NamedTuple):
    """What is to be said next: these commands, while this tube is used."""

    tube: str
    commands: list[Command[Any]]


Chore: TypeAlias = Generator[Step, list[Result[Any]], T]


def drain_tube(tube: str, watched: tuple[str, ...], progress: Progress | None) -> Chore[int]:
    """Delete what a tube holds; ``watched`` are the tubes that the client watches."""
    (stats,) = yield Step(tube, [commands.stats_tube(tube)])
    if isinstance(stats, NotFoundError):
        return 0
    counts = _value(stats)
    most = counts.current_jobs_ready + counts.current_jobs_delayed + counts.current_jobs_buried
    deleted = yield from _drain_ready(tube, watched, counts.current_jobs_ready, progress)
    peeks = [commands.peek_ready(), commands.peek_delayed(), commands.peek_buried()]
    found: list[Job] = []
    while deleted < most:
        results = yield Step(tube, [*(commands.delete(job) for job in found), *peeks])
        deleted += _done(results[: len(found)])
        seen = map(_value, results[len(found) :])
        if progress is not None and found:
            progress(deleted)
        found = [job for job in seen if job is not None]
        if not found:
            break
    return deleted


def _drain_ready(
    tube: str, watched: tuple[str, ...], most: int, progress: Progress | None
) -> Chore[int]:
    """Reserve ready jobs by the hundred and delete them: few round trips for many jobs."""
    others = [commands.ignore(one) for one in watched if one != tube]
    deleted = 0
    while deleted < most:
        count = min(most - deleted, _RESERVED_AT_ONCE)
        reserves = [commands.reserve_with_timeout(0) for _ in range(count)]
        results = yield Step(tube, [commands.watch(tube), *others, *reserves])
        jobs = [one for one in results[-count:] if isinstance(one, Job)]
        if not jobs:
            break  # none is ready, or the tube is paused
        results = yield Step(tube, [commands.delete(job) for job in jobs])
        deleted += _done(results)
        if progress is not None:
            progress(deleted)
    return deleted


def kick_all(tube: str) -> Chore[int]:
    """Kick what is buried in a tube, and nothing that is delayed."""
    (stats,) = yield Step(tube, [commands.stats_tube(tube)])
    if isinstance(stats, NotFoundError):
        return 0
    most = _value(stats).current_jobs_buried
    if most and not _value(stats).current_jobs_delayed:
        (kicked,) = yield Step(tube, [commands.kick(most)])
        return int(_value(kicked))
    done = 0
    found: list[Job] = []
    for _ in range(most + 1):
        kicks = [commands.kick_job(job) for job in found]
        *kicked, seen = yield Step(tube, [*kicks, commands.peek_buried()])
        done += _done(kicked)
        found = [job for job in [_value(seen)] if job is not None]
        if not found:
            break
    return done


def move(job: Job | int, tube: str, *, held: bool) -> Chore[int]:
    """Put a job into another tube and delete it; ``held``: this client has reserved it."""
    look = commands.peek(job) if held else commands.reserve_job(job)
    told, found = yield Step(tube, [commands.stats_job(job), look])
    stats: JobStats = _value(told)
    body = _value(found).body
    delay = stats.time_left if stats.state == "delayed" else 0
    (stored,) = yield Step(tube, [commands.put(body, stats.pri, delay, stats.ttr)])
    if isinstance(stored, BeanstalkError):
        if not held:
            yield Step(tube, [_put_back(job, stats)])
        raise stored
    (deleted,) = yield Step(tube, [commands.delete(job)])
    if isinstance(deleted, BeanstalkError):
        deleted.add_note(f"the job is in tube {tube!r} as {stored}, and its old place may have it")
        raise deleted
    return int(stored)


def _put_back(job: Job | int, stats: JobStats) -> Command[Any]:
    """Bring a job that was reserved for a chore back to the state it was in."""
    if stats.state == "buried":
        return commands.bury(job, stats.pri)
    return commands.release(job, stats.pri, stats.time_left if stats.state == "delayed" else 0)


def _value(result: Result[T]) -> T:
    if isinstance(result, BeanstalkError):
        raise result
    return result


def _done(results: list[Result[Any]]) -> int:
    """Count what was done; a job that somebody else took meanwhile is none of ours."""
    return sum(1 for one in results if not isinstance(_unless_taken(one), NotFoundError))


def _unless_taken(result: Result[T]) -> Result[T]:
    if isinstance(result, BeanstalkError) and not isinstance(result, NotFoundError):
        raise result
    return result
