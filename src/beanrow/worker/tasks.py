"""A worker of asyncio tasks: one loop, each slot a connection and the job on it.

Laws:
- The keeper is a thread and writes by itself, so that a function that blocks the loop keeps
  its lease, and those of its neighbours.
- A plain function runs in a thread, as many at once as there are slots.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from typing import TYPE_CHECKING, Any

from beanrow.client.wire import Wire, open_wire
from beanrow.worker.async_slot import AsyncSlot
from beanrow.worker.health import Health, serve_health
from beanrow.worker.keeper import TICK, Keeper
from beanrow.worker.slot import Shared, float_seconds
from beanrow.worker.threads import interrupt, limited, tasks_of_slots

if TYPE_CHECKING:
    from beanrow.errors import BeanstalkError
    from beanrow.worker.app import App
    from beanrow.worker.run import Run

__all__ = ["TaskWorker", "run_tasks"]

_LOOK_EVERY = 1.0


class TaskWorker:
    """Runs the jobs of an app as so many asyncio tasks, until it is stopped."""

    def __init__(self, app: App, tasks: int) -> None:
        self.app = app
        self.timeout: float = float_seconds(app.timeout)
        self._tls = app.tls_context()
        self.shared: Shared = Shared(app, app.hooks(), tasks)
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._pool = ThreadPoolExecutor(tasks, "beanrow-task")
        self._begun: set[asyncio.Task[None]] = set()
        self.slots: list[AsyncSlot] = [AsyncSlot(self, one) for one in tasks_of_slots(app, tasks)]
        self._keeper = Keeper(self.slots, interrupt, self._take_away)
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the slots."""
        self.shared.hooks.tell("on_start", self.app)
        self._keeper.start()
        self._watch = asyncio.create_task(self._watch_lines())
        for slot in self.slots:
            self.begin(slot, slot.open())

    def begin(self, slot: AsyncSlot, work: Any) -> None:
        """Have a slot do the next thing, as a task that is not forgotten."""
        task = slot.running = self._loop.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._begun.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "a slot of the worker failed", "exception": error, "task": task}
            )

    def open_wire(self) -> Wire:
        """Connect; called in a thread."""
        return open_wire(self.app.address, self.timeout, self._tls)

    def tell_outage(self, error: BeanstalkError, tries: int) -> None:
        """Log that there is no server, at first and then now and again."""
        if tries % 10 == 0:
            from beanrow.worker.logs import LOGGER

            LOGGER.warning("no server, trying again: %s", error)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the worker is to stop."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
            except TimeoutError:
                pass  # the usual end

    async def in_thread(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain function in a thread."""
        function, context = run.task.function, copy_context()

        def call() -> Any:
            if run.task.limits.soft is None:
                return function(*args, **kwargs)
            return limited(run, lambda: function(*args, **kwargs))

        return await self._loop.run_in_executor(self._pool, context.run, call)

    def _take_away(self, slot: AsyncSlot, run: Run) -> None:
        self._loop.call_soon_threadsafe(lambda: self._begin_apart(slot.take_away(run)))

    def _begin_apart(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._over)

    async def _watch_lines(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            for slot in self.slots:
                if slot.line is not None:
                    slot.line.check(self._loop.time())

    def health(self) -> Health:
        """Tell how the worker is."""
        lines = [slot.line for slot in self.slots]
        heard = max((line.heard_at for line in lines if line is not None), default=-inf)
        counts = self.shared.counts
        return Health(
            len(lines),
            sum(slot.run is not None for slot in self.slots),
            self._loop.time() - heard,
            counts.done,
            counts.failed,
            counts.lost,
            self.shared.stopping.is_set(),
        )

    # -- stopping -----------------------------------------------------------------

    def stop(self) -> None:
        """Have the slots take no more jobs."""
        self.shared.stopping.set()
        self._stopping.set()
        for slot in self.slots:
            slot.stop()

    async def wait(self, seconds: float) -> bool:
        """Wait until all slots are done; false after so many seconds."""
        _, left = await asyncio.wait([slot.done for slot in self.slots], timeout=seconds)
        return not left

    def give_back(self) -> None:
        """Close the connections of the jobs that still run: the server puts them back."""
        for slot in self.slots:
            run, line = slot.run, slot.line
            if line is not None:
                line.close()
            if run is not None:
                run.lose()

    async def close(self) -> None:
        """End what is left."""
        self._keeper.stop()
        if self._watch is not None:
            self._watch.cancel()
        for task in list(self._begun):
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)
        for slot in self.slots:
            if slot.line is not None:
                slot.line.close()
        await asyncio.to_thread(self._keeper.join, TICK * 10)
        self._pool.shutdown(wait=False)
        self.shared.hooks.tell("on_stop", self.app)


def run_tasks(app: App, tasks: int, grace: float, health: str | None = None) -> bool:
    """Run a worker of asyncio tasks until it is told to stop; whether all ended in time."""
    return asyncio.run(_run(app, tasks, grace, health))


async def _run(app: App, tasks: int, grace: float, health: str | None) -> bool:
    import signal

    loop, told = asyncio.get_running_loop(), [asyncio.Event(), asyncio.Event()]

    def hear() -> None:
        (told[1] if told[0].is_set() else told[0]).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    worker = TaskWorker(app, tasks)
    served = None if health is None else serve_health(health, worker.health)
    worker.start()
    await told[0].wait()
    worker.stop()
    ended = asyncio.create_task(worker.wait(grace))
    now = asyncio.create_task(told[1].wait())
    await asyncio.wait({ended, now}, return_when=asyncio.FIRST_COMPLETED)
    in_time = ended.done() and ended.result()
    for one in (ended, now):
        one.cancel()
    if not in_time:
        worker.give_back()
        in_time = await worker.wait(1.0)
    await worker.close()
    if served is not None:
        served.close()
    app.close()
    return in_time
