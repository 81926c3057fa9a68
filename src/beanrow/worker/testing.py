"""Test mode: jobs run as they are put, or a tube is drained, without a worker or processes."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from beanrow.protocol import commands
from beanrow.protocol.values import Job
from beanrow.worker.outcome import TaskFailed
from beanrow.worker.replies import Reply
from beanrow.worker.run import Run, running
from beanrow.worker.slot import Shared, Slot
from beanrow.worker.submitted import plain
from beanrow.worker.task import Task, Terms

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.line import Line

__all__ = ["Inline", "drain"]

_MOST_RUNS = 100
"""Of one job, in a drain: delays are skipped, so a job that is always put back has no end."""


class Inline:
    """A sink that runs what it is given; ids count from 1."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def put(
        self, task: Task[Any, Any], body: bytes, terms: Terms, unique: tuple[str, int] | None
    ) -> int:
        """Run one job; what it raises is raised."""
        return self._run(task, body)[0]

    def _run(self, task: Task[Any, Any], body: bytes) -> tuple[int, Any]:
        job_id = next(self._ids)
        args, kwargs = task.parameters.decode(body)
        with running(Run(job_id, body, task)):
            value = task.function(*args, **kwargs)
            return job_id, _awaited(value) if task.is_async else value

    def submit(self, task: Task[Any, Any], body: bytes, terms: Terms) -> Reply[Any]:
        """Run one job, and give what it returned or raised as its reply."""
        future: Future[Any] = Future()
        job_id = 0
        try:
            job_id, value = self._run(task, body)
            future.set_result(plain(value))
        except Exception as error:  # noqa: BLE001  (told as a worker would tell it)
            future.set_exception(TaskFailed(str(error), type(error).__name__))
        return Reply(job_id, future, task)

    def put_many(self, task: Task[Any, Any], bodies: Iterable[bytes], terms: Terms) -> list[int]:
        """Run many jobs, one after the other."""
        return [self.put(task, body, terms, None) for body in bodies]


def drain(app: App, tasks: Sequence[Task[..., Any]]) -> int:
    """Run the jobs of these tasks, all of the app if none is named; gives how many runs."""
    chosen = tasks or [one for one in app.tasks.values() if one.schedule is None]
    slot = Slot(Shared(app, app.hooks(), 1), {one.tube: one for one in chosen})
    runs: Counter[int] = Counter()
    line = slot.open()
    try:
        line.watch(tuple(slot.tasks))
        while True:
            job_id = slot.run_one(line)
            if job_id is not None:
                runs[job_id] += 1
                if runs[job_id] > _MOST_RUNS:
                    raise RuntimeError(f"job {job_id} was put back {_MOST_RUNS} times")
            elif not _skip_a_delay(slot, line):
                return runs.total()
    finally:
        line.close()
        slot.close()


def _skip_a_delay(slot: Slot, line: Line) -> bool:
    """Make a delayed job ready; false if no tube has one."""
    for tube in slot.tasks:
        _, waiting = line.exchange([commands.use(tube), commands.peek_delayed()])
        if isinstance(waiting, Job):
            line.exchange([commands.kick_job(waiting.id)])
            return True
    return False


def _awaited(coroutine: Any) -> Any:
    """Run a coroutine to its end, also under a loop that runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()
