"""What becomes of a job whose run did not simply return: decided without a connection.

Laws:
- A generator asks: it yields the commands whose answers it needs and returns the one that
  ends the job, so that threads, processes and asyncio tasks decide alike.
- Attempts are what the server counted, of any producer and any worker.
- A job is given up by burying it, or by a dead letter that is stored before the job is
  deleted: in between it exists twice, never not at all.
- A job that ended its worker too often is set aside before it runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from beanrow.errors import BeanstalkError, CommandError, NotFoundError
from beanrow.protocol import commands
from beanrow.worker.letters import PastErrors, one_line, write_letter
from beanrow.worker.outcome import Bury, Release
from beanrow.worker.retry import decide, spread_of
from beanrow.worker.run import attempts

if TYPE_CHECKING:
    from beanrow.protocol.commands import Command
    from beanrow.protocol.stats import JobStats
    from beanrow.worker.events import Hooks
    from beanrow.worker.run import Run

__all__ = ["Asking", "WorkerKilled", "after_crash", "done", "ended_workers", "settle", "settled"]

T = TypeVar("T")
Asking: TypeAlias = "Generator[Command[Any], Any, Command[Any] | None]"
"""Yields what is to be asked; returns the command that ends the job, None for none at all."""

_MOST_ENDED = 10
"""Workers that one job may end. Restarts in a rolling deployment count here too."""


class WorkerKilled(Exception):
    """The job ended its worker too often: the process died, or was killed, under it."""


def settle(run: Run, error: BaseException, hooks: Hooks, past: PastErrors) -> Asking:
    """Decide about a run that raised."""
    if run.lease_lost:
        return None
    try:
        stats = run.stats = yield commands.stats_job(run.id)
    except NotFoundError:
        run.lose()
        return None
    if isinstance(error, Release):
        hooks.tell("on_release", run, float(error.delay))
        priority = stats.pri if error.priority is None else error.priority
        return commands.release(run.id, priority, error.delay)
    if isinstance(error, Bury):
        yield from _told(run, error)
        hooks.tell("on_bury", run, str(error))
        return commands.bury(run.id, stats.pri)
    hooks.tell("on_failure", run, error)
    attempt = attempts(stats)
    try:
        pause = decide(run.task.retry, attempt, error, spread_of(run.id, attempt))
    except Exception as fault:  # noqa: BLE001  (a policy of the program's own; told as the reason)
        hooks.tell("on_bury", run, f"its retry policy failed: {one_line(fault)}")
        return commands.bury(run.id, stats.pri)
    if pause is not None:
        past.note(run.id, attempt, error)
        hooks.tell("on_retry", run, pause)
        return commands.release(run.id, stats.pri, pause)
    return (yield from _give_up(run, stats, error, hooks, past))


def ended_workers(stats: JobStats) -> bool:
    """Tell whether a job that is reserved now has ended more workers than it may.

    A reservation ends in a release, an expiry, a burial, or with its connection: what is left
    of ``reserves`` when the others are taken off are connections that ended under it.
    """
    return stats.reserves - attempts(stats) - stats.buries > _MOST_ENDED


def after_crash(run: Run, hooks: Hooks, past: PastErrors) -> Asking:
    """Decide about a job whose process ended under it, or that may have ended others."""
    try:
        stats = run.stats = yield commands.stats_job(run.id)
    except NotFoundError:
        return None
    if not ended_workers(stats):
        return None
    error = WorkerKilled(
        f"{stats.reserves - attempts(stats) - stats.buries} workers ended while they ran it"
    )
    return (yield from _give_up(run, stats, error, hooks, past))


def _give_up(
    run: Run, stats: JobStats, error: BaseException, hooks: Hooks, past: PastErrors
) -> Asking:
    """Set a job aside for good."""
    yield from _told(run, error)
    earlier, why = past.taken(run.id), one_line(error)
    tube = run.task.dead_letters
    if tube is None:
        hooks.tell("on_bury", run, why)
        return commands.bury(run.id, stats.pri)
    letter = write_letter(run, stats, error, earlier)
    try:
        yield commands.use(tube)
        yield commands.put(letter, stats.pri, 0, stats.ttr)
    except CommandError as refused:
        hooks.tell("on_bury", run, f"{why} (no dead letter in {tube}: {refused})")
        return commands.bury(run.id, stats.pri)
    hooks.tell("on_dead_letter", run, tube)
    return commands.delete(run.id)


def done(run: Run) -> Asking:
    """End a job whose function returned, and whose value somebody waits for."""
    from beanrow.worker.submitted import answer

    assert run.reply_to is not None
    yield from answer(run.reply_to, run.value, None)
    return commands.delete(run.id)


def _told(run: Run, error: BaseException) -> Generator[Command[Any], Any, None]:
    """Tell whoever waits for the result of a job that there will be none."""
    if run.reply_to is not None:
        from beanrow.worker.submitted import answer

        yield from answer(run.reply_to, None, error)


def settled(asking: Asking, ask: Callable[[Command[Any]], Any]) -> Command[Any] | None:
    """Carry a decision through: ask what it wants to know, give what ends the job."""
    try:
        command = next(asking)
        while True:
            try:
                answer = ask(command)
            except BeanstalkError as error:
                command = asking.throw(error)
            else:
                command = asking.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the generator returns
