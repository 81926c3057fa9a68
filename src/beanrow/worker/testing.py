"""Test mode: jobs run as they are put, without server, worker or processes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable
from contextvars import copy_context
from typing import Any

from beanrow.worker.run import Run, running
from beanrow.worker.task import Task, Terms

__all__ = ["Inline"]


class Inline:
    """A sink that runs what it is given; ids count from 1."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def put(
        self, task: Task[Any, Any], body: bytes, terms: Terms, unique: tuple[str, int] | None
    ) -> int:
        """Run one job; what it raises is raised."""
        job_id = next(self._ids)
        args, kwargs = task.parameters.decode(body)
        with running(Run(job_id, body, task)):
            if task.is_async:
                _run_async(task.function(*args, **kwargs))
            else:
                task.function(*args, **kwargs)
        return job_id

    def put_many(self, task: Task[Any, Any], bodies: Iterable[bytes], terms: Terms) -> list[int]:
        """Run many jobs, one after the other."""
        return [self.put(task, body, terms, None) for body in bodies]


def _run_async(coroutine: Any) -> None:
    """Run a coroutine to its end, also under a loop that runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:  # noqa: BLE001  (raised below, in the caller's thread)
            raised.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,))
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
