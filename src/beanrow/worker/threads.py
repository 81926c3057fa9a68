"""A worker of threads: one process, each slot a thread with a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from beanrow.errors import BeanstalkError
from beanrow.worker.health import Health
from beanrow.worker.keeper import Keeper, limit_error
from beanrow.worker.outcome import TimeLimitExceeded
from beanrow.worker.settle import settle, settled
from beanrow.worker.slot import Shared, Slot

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["ThreadWorker", "interrupt", "limited", "tasks_of_slots"]


def tasks_of_slots(app: App, slots: int) -> list[dict[str, Task[..., Any]]]:
    """Give the tasks of each slot: all of them, but a limited one only to so many slots.

    ``at_once`` is so kept without a lock: a slot that does not watch a tube gets no job of it.
    The limited tasks begin at different slots, so that the last ones do not all fall on the
    first. A task with a rate runs in one slot unless it says otherwise: a job over the rate
    is held.
    """
    given: list[dict[str, Task[..., Any]]] = [{} for _ in range(slots)]
    start = 0
    for task in app.tasks.values():
        limits = task.limits
        most = limits.at_once or (1 if limits.rate is not None else slots)
        for place in range(min(most, slots)):
            given[(start + place) % slots][task.tube] = task
        if most < slots:
            start += most
    return [tasks for tasks in given if tasks]


class ThreadWorker:
    """Runs the jobs of an app in so many threads, until it is stopped."""

    def __init__(self, app: App, threads: int) -> None:
        self.shared: Shared = Shared(app, app.hooks(), threads)
        self.slots: list[Slot] = [
            Slot(self.shared, tasks) for tasks in tasks_of_slots(app, threads)
        ]
        for slot in self.slots:
            slot.limited = limited
        self._keeper = Keeper(self.slots, interrupt, self._take_away)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the slots and their keeper."""
        self.shared.hooks.tell("on_start", self.shared.app)
        self._keeper.start()
        for slot in self.slots:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        thread = threading.Thread(target=slot.work, name="beanrow-slot", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Have the slots take no more jobs."""
        self.shared.stopping.set()
        for slot in list(self.slots):
            line = slot.line
            if line is not None:
                line.stop()

    def wait(self, seconds: float, wake: Callable[[], bool] = lambda: False) -> bool:
        """Wait until all slots are done; false after so many seconds, or if ``wake`` says so."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            while thread.is_alive():
                left = end - time.monotonic()
                if left <= 0 or wake():
                    return False
                thread.join(min(left, 0.05))
        return True

    def give_back(self) -> None:
        """Close the connections of the jobs that still run: the server puts them back."""
        for slot in list(self.slots):
            run, line = slot.run, slot.line
            if run is not None:
                run.lose()
            if line is not None:
                line.interrupt()

    def close(self) -> None:
        """End what is left."""
        self._keeper.stop()
        self._keeper.join(5)
        self.shared.hooks.tell("on_stop", self.shared.app)

    def health(self) -> Health:
        """Tell how the worker is."""
        lines = [slot.line for slot in list(self.slots)]
        heard = max((line.heard_at for line in lines if line is not None), default=-inf)
        counts = self.shared.counts
        return Health(
            len(lines),
            sum(slot.run is not None for slot in list(self.slots)),
            time.monotonic() - heard,
            counts.done,
            counts.failed,
            counts.lost,
            self.shared.stopping.is_set(),
        )

    def _take_away(self, slot: Slot, run: Run) -> None:
        """Take a job from a function that is past its hard limit, and the thread out of use."""
        line = slot.line
        if line is None:
            return
        run.abandoned = slot.gone = True
        error = limit_error(run, hard=True)
        self.shared.counts.failed += 1
        try:
            finish = settled(settle(run, error, self.shared.hooks, self.shared.past), line.ask)
            if finish is not None:
                line.ask(finish)
        except BeanstalkError:
            run.lose()  # whoever gets it next will meet the same limit
        line.interrupt()
        fresh = Slot(self.shared, slot.tasks)
        fresh.limited = limited
        self.slots[self.slots.index(slot)] = fresh
        if not self.shared.stopping.is_set():
            self._start(fresh)


def limited(run: Run, call: Callable[[], object]) -> object:
    """Run a function that the keeper may interrupt, and nothing but that function."""
    run.thread = threading.get_ident()
    run.guard = threading.Lock()
    run.in_function = True
    try:
        return call()
    finally:
        with run.guard:
            run.in_function = False


def interrupt(run: Run) -> None:
    """Raise TimeLimitExceeded in the function of a run, at its next step in Python."""
    import ctypes

    if run.task.is_async or run.guard is None or not run.guard.acquire(timeout=1):
        return  # a coroutine has its own timer
    try:
        if run.in_function:
            kind = ctypes.py_object(TimeLimitExceeded)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(run.thread), kind)
    finally:
        run.guard.release()
