"""A slot: one connection and one job at a time, in a thread or a process of its own.

Laws:
- A job that was reserved is run, or given back by closing its connection; it is never
  dropped and never kept.
- What a run without a lease returns is not acknowledged; it is counted and told.
- A lost connection is replaced, with pauses that grow, until the slot is stopped.
- Which task a job is for follows from its tube. A line that watches one tube knows it; of
  several the server is asked, since RESERVED does not tell.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from beanrow.errors import BeanstalkError, ConnectionLostError, NotFoundError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_deleted
from beanrow.protocol.values import Job
from beanrow.worker.batch import Batch
from beanrow.worker.introduction import introduction
from beanrow.worker.keeper import keep
from beanrow.worker.letters import PastErrors
from beanrow.worker.line import Line
from beanrow.worker.outcome import TimeLimitExceeded
from beanrow.worker.run import CURRENT, Run
from beanrow.worker.schedule import LOOK_EVERY
from beanrow.worker.settle import after_crash, done, ended_workers, settle, settled
from beanrow.worker.submitted import PREFIX, unwrap
from beanrow.worker.turns import Turns

if TYPE_CHECKING:
    import asyncio

    from beanrow.worker.app import App
    from beanrow.worker.events import Hooks
    from beanrow.worker.task import Task

T = TypeVar("T")

__all__ = ["Board", "Caution", "Counts", "Shared", "Slot"]

_RESERVE_NOW = commands.reserve_with_timeout(0)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_YOUNG = 600.0
"""Seconds for which a worker process is careful with jobs that were here before: one that is
older has met no job that ends it."""


class Counts:
    """What the slots of a process did; read by the health endpoint and by metrics."""

    __slots__ = ("done", "failed", "lost")

    def __init__(self) -> None:
        self.done: int = 0
        self.failed: int = 0
        self.lost: int = 0


class Caution:
    """Which jobs are looked at before they run, as they may have ended a worker before.

    A job that ends its worker is among the first that the next process gets, or the first of a
    new connection, or it comes with an id far behind the newest. Those are looked at in the
    first minutes of a process; looking costs a round trip, so other jobs are spared it.
    """

    __slots__ = ("_left", "_newest", "_until", "_window")

    def __init__(self, slots: int, now: float) -> None:
        self._newest = 0
        self._until = now + _YOUNG
        self._window = 8 * slots
        self._left = 4 * slots

    def suspects(self, job_id: int, now: float, *, first: bool) -> bool:
        """Tell whether to look at this job."""
        behind = job_id < self._newest - self._window
        self._newest = max(self._newest, job_id)
        self._left -= 1
        return (first or behind or self._left >= 0) and now < self._until


class Board(Protocol):
    """Where a child process shows its parent which job runs."""

    def began(self, run: Run) -> None:
        """Show that a job runs."""

    def over(self) -> None:
        """Show that none does."""

    def idle(self) -> None:
        """Show that the server answered, and had no job."""

    def hold(self, ids: tuple[int, ...]) -> None:
        """Show the jobs of a batch."""


class Shared:
    """What all slots of a process share."""

    def __init__(self, app: App, hooks: Hooks, slots: int) -> None:
        self.app = app
        self.hooks = hooks
        self.counts: Counts = Counts()
        self.past: PastErrors = PastErrors()
        self.caution: Caution = Caution(slots, time.monotonic())
        self.stopping: threading.Event = threading.Event()
        self.rates: threading.Lock = threading.Lock()


class Slot:
    """Runs jobs of these tasks, one after the other; ``run`` is the one under way."""

    def __init__(self, shared: Shared, tasks: dict[str, Task[..., Any]]) -> None:
        self._shared = shared
        self._hooks = shared.hooks
        self._before = shared.hooks.before
        self._after = shared.hooks.has_after
        self.tasks = tasks
        self._only = next(iter(tasks.values())) if len(tasks) == 1 else None
        self._turns = Turns(tasks) if any(one.weight for one in tasks.values()) else None
        most = None if self._only is None else self._only.batch
        self._batch = None if most is None else Batch(most)
        self._schedules = [one.schedule for one in tasks.values() if one.schedule is not None]
        self._looked_at = -inf  # when the schedules were
        self._runner: asyncio.Runner | None = None
        self.line: Line | None = None
        self.run: Run | None = None
        self.gone = False
        self.board: Board | None = None

    # -- the loop -----------------------------------------------------------------

    def work(self, opened: Callable[[], Line] | None = None) -> None:
        """Run jobs until the slot is stopped, or taken out of use."""
        shared, tries = self._shared, 0
        opened = opened or self.open
        while not (shared.stopping.is_set() or self.gone):
            try:
                line = opened()
                _carried(introduction(), line.exchange)
                line.watch(tuple(self.tasks))
                self.line = line
                if shared.stopping.is_set():  # it did not see this line
                    line.stop()
                tries = 0
                if self._batch is None:
                    self._serve(line)
                else:
                    self._serve_batches(line, self._batch)
            except BeanstalkError as error:
                if shared.stopping.is_set() or self.gone:
                    break
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries, 20))
                tries += 1
                self._tell_outage(error, tries)
                shared.stopping.wait(pause * random.uniform(0.5, 1))
            finally:
                if self.line is not None:
                    self.line.close()
        self.close()

    def close(self) -> None:
        """End the loop that ran coroutines."""
        if self._runner is not None:
            self._runner.close()

    def run_one(self, line: Line) -> int | None:
        """Run one job if there is one now; gives its id."""
        job = line.ask(_RESERVE_NOW)
        if job is None:
            return None
        finish = self._handle(line, job, first=False)
        if finish is not None:
            line.ask(finish)
        return job.id

    def keep(self, run: Run) -> None:
        """Touch this job if it is time to; called by the keeper's thread."""
        if self.line is not None:
            keep(run, self.line, lambda: self.run is run, self._held)

    def _held(self) -> tuple[int, ...]:
        return () if self._batch is None else self._batch.held

    def open(self) -> Line:
        """Connect."""
        app = self._shared.app
        return Line.open(app.address, float_seconds(app.timeout), app.tls_context())

    def _serve(self, line: Line) -> None:
        """Run the jobs that one connection gets."""
        finish: Command[Any] | None = None
        first, turns, last = True, self._turns, 0
        while True:
            if self._schedules:
                self._look_at_schedules(line)
            try:
                if turns is None:
                    job = line.next(finish)
                else:
                    job = _carried(turns.next(line, finish), line.exchange)
            except ConnectionLostError:
                if finish is not None:
                    self._not_acknowledged(last)
                raise
            if finish is not None and line.refused is not None:
                self._not_acknowledged(last)
            if job is None:
                if line.stopping:
                    return
                finish = None
                if self.board is not None:
                    self.board.idle()
                continue
            if line.stopping:
                return  # it came too late: closing gives it back
            last = job.id
            finish = self._handle(line, job, first=first)
            first = False
            if self._last_run is not None and self._last_run.abandoned:
                return

    def _serve_batches(self, line: Line, batch: Batch) -> None:
        """Run the jobs that one connection gets, a batch at a time."""
        first = True
        try:
            while True:
                jobs, refused = _carried(batch.fetch(), line.exchange)
                self._lose(refused)
                if line.stopping:
                    return  # what came too late goes back
                if self.board is not None:
                    self.board.hold(batch.held)
                    if not jobs:
                        self.board.idle()
                self._run_batch(line, batch, jobs, first=first)
                first = first and not jobs
        except ConnectionLostError:
            self._lose(batch.forget())
            raise
        finally:
            batch.forget()

    def _run_batch(self, line: Line, batch: Batch, jobs: list[Job], *, first: bool) -> None:
        """Run the jobs of a batch; once the slot is to stop, say what is done, start no other."""
        gone: set[int] = set()
        for place, job in enumerate(jobs):
            if line.stopping or batch.is_due():
                left = [] if line.stopping else jobs[place:]
                lost, refused = _carried(batch.say_ends(left), line.exchange)
                gone |= lost
                self._lose(refused)
            if line.stopping:
                return
            if job.id not in gone:
                finish = self._handle(line, job, first=first and not place)
                if self._last_run is not None:
                    batch.end(self._last_run, finish)
        if line.stopping:
            self._lose(_carried(batch.say_ends(()), line.exchange)[1])

    def _look_at_schedules(self, line: Line) -> None:
        """See now and then that each schedule has its token."""
        if time.monotonic() - self._looked_at < LOOK_EVERY or line.stopping:
            return
        self._looked_at = time.monotonic()
        for schedule in self._schedules:
            _carried(schedule.look(time.time()), line.exchange)

    def _not_acknowledged(self, job_id: int) -> None:
        """Count a job whose end the server did not take, or perhaps did not hear."""
        run = self._last_run
        if run is not None and run.id == job_id:
            self._lose([run])

    def _lose(self, runs: list[Run]) -> None:
        """Count runs whose end the server did not take, or perhaps did not hear."""
        for run in runs:
            if not run.lease_lost:
                run.lose()
                self._shared.counts.lost += 1
                self._hooks.tell("on_lease_lost", run)

    def _tell_outage(self, error: BeanstalkError, tries: int) -> None:
        if tries == 1 or tries % 10 == 0:
            from beanrow.worker.logs import LOGGER

            LOGGER.warning("no server, trying again: %s", error)

    # -- one job ------------------------------------------------------------------

    _last_run: Run | None = None

    def _handle(self, line: Line, job: Job, *, first: bool) -> Command[Any] | None:
        """Run a job; gives what ends it, None for nothing."""
        run = self._begun(line, job, first=first)
        if run is None:
            return None  # its ttr has run out already
        self._last_run = run
        if run.task.schedule is not None:
            _carried(run.task.schedule.tick(run.id, run.body, time.time()), line.exchange)
            return None
        if run.stats is not None and ended_workers(run.stats):
            return settled(after_crash(run, self._hooks, self._shared.past), line.ask)
        self.run = run
        if self.board is not None:
            self.board.began(run)
        token = CURRENT.set(run)
        try:
            error = self._called(line, run)
        finally:
            CURRENT.reset(token)
            self.run = None
        run.seconds = time.monotonic() - run.began
        finish = self._ended(line, run, error)
        if self.board is not None:
            self.board.over()
        return finish

    def _begun(self, line: Line, job: Job, *, first: bool) -> Run | None:
        """Find out what a job is for; None if it is not there any more."""
        now, stats = time.monotonic(), None
        task = self._only
        looked = self._shared.caution.suspects(job.id, now, first=first)
        if task is None and self._turns is not None:
            task = self._turns.task
        if task is None or looked:
            try:
                stats = line.ask(commands.stats_job(job.id))
            except NotFoundError:
                return None
            task = task or self.tasks[stats.tube]
        run = Run(job.id, job.body, task, now)
        run.stats = stats
        return run

    def _called(self, line: Line, run: Run) -> BaseException | None:
        """Call the function; gives what it raised."""
        task = run.task
        try:
            if task.limits.rate is not None:
                self._wait_for_turn(task.limits.rate)
                run.abandoned = line.stopping
                if run.abandoned:
                    return None
            body = run.body
            if body.startswith(PREFIX):
                body, run.reply_to = unwrap(body)
            args, kwargs = task.parameters.decode(body)
            for hook in self._before:
                hook(run)
            if task.is_async or task.limits.soft is not None:
                run.value = self._call_with_care(run, args, kwargs)
            else:
                run.value = task.function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001  (all of it is the job's failure)
            return raised
        return None

    def _ended(self, line: Line, run: Run, error: BaseException | None) -> Command[Any] | None:
        """Decide what ends a job whose function is over."""
        counts = self._shared.counts
        if run.abandoned:
            return None
        if run.lease_lost:
            counts.lost += 1
            self._hooks.tell("on_lease_lost", run)
            return None
        if error is None:
            counts.done += 1
            if self._after:
                self._hooks.tell("after", run)
            if run.reply_to is not None:
                return settled(done(run), line.ask)
            return Command(b"delete %d\r\n" % run.id, read_deleted)
        counts.failed += 1
        finish = settled(settle(run, error, self._hooks, self._shared.past), line.ask)
        if run.lease_lost:
            counts.lost += 1
            self._hooks.tell("on_lease_lost", run)
        return finish

    def _wait_for_turn(self, rate: Any) -> None:
        with self._shared.rates:
            pause = rate.wait(time.monotonic())
        if pause > 0:
            self._shared.stopping.wait(pause)

    def _call_with_care(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a coroutine, or a function with a time limit."""
        task = run.task
        if task.is_async:
            return self._run_coroutine(task.function(*args, **kwargs), run)
        if self.limited is None:
            return task.function(*args, **kwargs)
        return self.limited(run, lambda: task.function(*args, **kwargs))

    limited: Callable[[Run, Callable[[], object]], Any] | None = None
    """How a soft time limit is enforced here; set by the kind of worker."""

    def _run_coroutine(self, coroutine: Any, run: Run) -> Any:
        import asyncio
        from contextvars import copy_context

        if self._runner is None:
            self._runner = asyncio.Runner()

        async def limited() -> Any:
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            assert task is not None
            run.on_lease_lost = lambda: loop.call_soon_threadsafe(task.cancel)
            try:
                async with asyncio.timeout(run.task.limits.soft):
                    return await coroutine
            except TimeoutError as error:
                if error.__cause__ is None and not isinstance(
                    error.__context__, asyncio.CancelledError
                ):
                    raise  # the function's own
                raise TimeLimitExceeded(f"longer than {run.task.limits.soft:g} s") from error

        return self._runner.run(limited(), context=copy_context())


def _carried(
    talk: Generator[list[Command[Any]], list[Any], T],
    exchange: Callable[[list[Command[Any]]], list[Any]],
) -> T:
    """Carry a talk through: say what it yields, give it the answers."""
    try:
        said = next(talk)
        while True:
            said = talk.send(exchange(said))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the generator returns


def float_seconds(duration: Any) -> float:
    """Give a duration as a float of seconds."""
    return float(duration.total_seconds() if hasattr(duration, "total_seconds") else duration)
