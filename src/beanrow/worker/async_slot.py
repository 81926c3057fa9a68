"""A slot in an asyncio loop: one connection, and the job on it.

Laws:
- It is no task of its own: an answer begins a job, and the end of a job says the next thing.
  What a job costs is one task, one read and one write.
- The rest is as for ``Slot``: a job is run or given back, and what a run without a lease
  returns is not acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.errors import BeanstalkError, NotFoundError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_deleted
from beanrow.protocol.values import Job
from beanrow.worker.async_line import AsyncLine
from beanrow.worker.batch import Batch
from beanrow.worker.introduction import introduction
from beanrow.worker.keeper import limit_error, pause
from beanrow.worker.outcome import TimeLimitExceeded
from beanrow.worker.run import CURRENT, Run
from beanrow.worker.schedule import LOOK_EVERY
from beanrow.worker.settle import Asking, after_crash, done, ended_workers, settle
from beanrow.worker.submitted import PREFIX, unwrap
from beanrow.worker.turns import Turns, watch_changes

if TYPE_CHECKING:
    from beanrow.worker.task import Task
    from beanrow.worker.tasks import TaskWorker

__all__ = ["AsyncSlot"]

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class AsyncSlot:
    """Runs jobs of these tasks, one after the other; ``run`` is the one under way."""

    def __init__(self, worker: TaskWorker, tasks: dict[str, Task[..., Any]]) -> None:
        self._worker = worker
        self._shared = worker.shared
        self._hooks = worker.shared.hooks
        self.tasks = tasks
        self._only = next(iter(tasks.values())) if len(tasks) == 1 else None
        self._turns = Turns(tasks) if any(one.weight for one in tasks.values()) else None
        most = None if self._only is None else self._only.batch
        self._batch = None if most is None else Batch(most)
        self._schedules = [one.schedule for one in tasks.values() if one.schedule is not None]
        self._looked_at = -inf  # when the schedules were
        self._last: Run | None = None
        self._first = True
        self._ending: Run | None = None  # whose end was said, and not answered yet
        self.line: AsyncLine | None = None
        self.run: Run | None = None
        self.running: asyncio.Task[None] | None = None
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    # -- the connection -----------------------------------------------------------

    async def open(self) -> None:
        """Connect, with pauses that grow, and reserve the first job."""
        tries = 0
        while not self._shared.stopping.is_set():
            try:
                wire = await asyncio.to_thread(self._worker.open_wire)
                line = self.line = AsyncLine(
                    wire, str(self._worker.app.address), self._worker.timeout, self._lost
                )
                await _carried(introduction(), line)
                changes = watch_changes(line.watched, tuple(self.tasks))
                for told in await line.exchange(changes) if changes else ():
                    if isinstance(told, BeanstalkError):
                        raise told
                line.watched = tuple(self.tasks)
                self._first = True
                line.stopping = self._shared.stopping.is_set()
                if self._batch is None:
                    await self._reserve(None)
                else:
                    self._worker.begin(self, self._serve_batches(line, self._batch))
                return
            except BeanstalkError as error:
                if self.line is not None:
                    self.line.close()
                self._worker.tell_outage(error, tries)
                wait = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries, 20))
                tries += 1
                await self._worker.pause(wait * random.uniform(0.5, 1))
        self._end()

    async def _reserve(self, finish: Command[Any] | None) -> None:
        """Say what ends the last job, and get the next."""
        line, turns = self.line, self._turns
        assert line is not None
        if self._schedules:
            await self._look_at_schedules(line)
        self._ending = self._last if finish is not None else None
        if line.stopping:
            if finish is not None:
                (told,) = await line.exchange([finish])
                self._acknowledged(told)
            self._end()
        elif turns is None:
            line.refused = None
            line.reserve(finish, self._reserved)
            if line.stopping:
                line.half_close()
        else:
            line.refused = None
            self._reserved(await _carried(turns.next(line, finish), line))

    async def _serve_batches(self, line: AsyncLine, batch: Batch) -> None:
        """Run the jobs that one connection gets, a batch at a time."""
        try:
            while not line.stopping:
                jobs, refused = await _carried(batch.fetch(), line)
                self._lose(refused)
                if not line.stopping:  # what came too late goes back
                    await self._run_batch(line, batch, jobs)
            self._end()
        except BeanstalkError:
            self._lose(batch.forget())
            line.close()
            self._worker.begin(self, self.open())
        finally:
            batch.forget()

    async def _run_batch(self, line: AsyncLine, batch: Batch, jobs: list[Job]) -> None:
        """Run the jobs of a batch; once the slot is to stop, say what is done, start no other."""
        gone: set[int] = set()
        for place, job in enumerate(jobs):
            if line.stopping or batch.is_due():
                left = [] if line.stopping else jobs[place:]
                lost, refused = await _carried(batch.say_ends(left), line)
                gone |= lost
                self._lose(refused)
            if line.stopping:
                return
            if job.id not in gone:
                finish = await self._handle(line, job)
                if self._last is not None:
                    batch.end(self._last, finish)
        if line.stopping:
            self._lose((await _carried(batch.say_ends(()), line))[1])

    async def _look_at_schedules(self, line: AsyncLine) -> None:
        """See now and then that each schedule has its token."""
        if time.monotonic() - self._looked_at < LOOK_EVERY or line.stopping:
            return
        self._looked_at = time.monotonic()
        for schedule in self._schedules:
            await _carried(schedule.look(time.time()), line)

    async def _go_on(self, finish: Command[Any] | None) -> None:
        """Say what ends the last job and get the next; over another line if this one is gone."""
        try:
            await self._reserve(finish)
        except BeanstalkError as error:
            self._acknowledged(error)
            if self.line is not None:
                self.line.close()
            await self.open()

    def _reserved(self, told: Any) -> None:
        """Hear what a reserve gave: a job, None, or an error."""
        line = self.line
        assert line is not None
        self._acknowledged(line.refused)
        if isinstance(told, BeanstalkError):
            line.close()
            self._worker.begin(self, self.open())
        elif isinstance(told, Job) and not line.stopping:
            self._worker.begin(self, self._perform(told))
        elif line.stopping:
            self._end()  # a job that came too late goes back with the connection
        else:
            self._worker.begin(self, self._go_on(None))

    def _acknowledged(self, refused: Any) -> None:
        ending, self._ending = self._ending, None
        if ending is not None and isinstance(refused, BeanstalkError):
            self._lose([ending])

    def _lose(self, runs: list[Run]) -> None:
        """Count runs whose end the server did not take, or perhaps did not hear."""
        for run in runs:
            if not run.lease_lost:
                run.lose()
                self._shared.counts.lost += 1
                self._hooks.tell("on_lease_lost", run)

    def _lost(self, _error: BeanstalkError) -> None:
        """Hear that the connection broke: a job that runs is somebody else's now.

        Whatever the slot waited for has been told already, and goes on by itself.
        """
        if self.run is not None:
            self.run.lose()

    def _end(self) -> None:
        if self.line is not None:
            self.line.close()
        if not self.done.done():
            self.done.set_result(None)

    def stop(self) -> None:
        """Take no more jobs."""
        if self.line is not None:
            self.line.stop()

    # -- one job ------------------------------------------------------------------

    async def _perform(self, job: Job) -> None:
        """Run a job, and say what ends it."""
        line = self.line
        assert line is not None
        try:
            finish = await self._handle(line, job)
        except BeanstalkError:
            finish = None  # the line is gone, or will be closed: the job goes back
            line.close()
        run = self._last
        if run is not None and run.abandoned and run.id == job.id:
            return  # it was taken away, and somebody else goes on
        await self._go_on(finish)

    async def _handle(self, line: AsyncLine, job: Job) -> Command[Any] | None:
        """Run a job; gives what ends it, None for nothing."""
        now, stats, task = time.monotonic(), None, self._only
        looked = self._shared.caution.suspects(job.id, now, first=self._first)
        self._first = False
        if task is None and self._turns is not None:
            task = self._turns.task
        if task is None or looked:
            try:
                stats = await line.ask(commands.stats_job(job.id))
            except NotFoundError:
                return None
            task = task or self.tasks[stats.tube]
        run = self._last = Run(job.id, job.body, task, now)
        run.stats = stats
        if task.schedule is not None:
            await _carried(task.schedule.tick(run.id, run.body, time.time()), line)
            return None
        if stats is not None and ended_workers(stats):
            return await _settled(after_crash(run, self._hooks, self._shared.past), line)
        self.run = run
        CURRENT.set(run)  # the context is this task's own
        error = await self._called(run)
        self.run = None
        run.seconds = time.monotonic() - now
        return await self._ended(line, run, error)

    async def _called(self, run: Run) -> BaseException | None:
        """Call the function; gives what it raised."""
        task = run.task
        try:
            if task.limits.rate is not None:
                await self._worker.pause(task.limits.rate.wait(time.monotonic()))
                run.abandoned = self._shared.stopping.is_set()
                if run.abandoned:
                    self._end()
                    return None
            body = run.body
            if body.startswith(PREFIX):
                body, run.reply_to = unwrap(body)
            args, kwargs = task.parameters.decode(body)
            for hook in self._hooks.before:
                hook(run)
            if not task.is_async:
                run.value = await self._worker.in_thread(run, args, kwargs)
                return None
            current = asyncio.current_task()
            loop = asyncio.get_running_loop()
            run.on_lease_lost = lambda: loop.call_soon_threadsafe(_cancel, current, run)
            if task.limits.soft is None:
                run.value = await task.function(*args, **kwargs)
            else:
                run.value = await _within(task.limits.soft, task.function(*args, **kwargs))
        except asyncio.CancelledError as cancelled:
            if not (run.lease_lost or run.abandoned):
                return cancelled
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()  # it was meant for the function, not for what follows it
        except BaseException as raised:  # noqa: BLE001  (all of it is the job's failure)
            return raised
        return None

    async def _ended(
        self, line: AsyncLine, run: Run, error: BaseException | None
    ) -> Command[Any] | None:
        """Decide what ends a job whose function is over."""
        counts = self._shared.counts
        if run.abandoned:
            return None
        finish: Command[Any] | None = None
        if not run.lease_lost:
            if error is None:
                counts.done += 1
                self._hooks.tell("after", run)
                if run.reply_to is not None:
                    return await _settled(done(run), line)
                return Command(b"delete %d\r\n" % run.id, read_deleted)
            counts.failed += 1
            finish = await _settled(settle(run, error, self._hooks, self._shared.past), line)
        if run.lease_lost:
            counts.lost += 1
            self._hooks.tell("on_lease_lost", run)
        return finish

    # -- the keeper's side --------------------------------------------------------

    def keep(self, run: Run) -> None:
        """Touch this job if it is time to; called by the keeper's thread.

        What the answer tells is heard when the loop is free; until the ttr is known it is
        taken for the shortest there is.
        """
        line, now = self.line, time.monotonic()
        if line is None or line.closed or now < run.touch_at or self.run is not run:
            return
        touch = (commands.touch(run.id), lambda told: _touched(run, told))
        held = () if self._batch is None else self._batch.held
        others = [(commands.touch(one), _nothing) for one in held if one != run.id]
        asked = []
        if not (run.ttr or others):  # each of several may have another one
            asked = [(commands.stats_job(run.id), lambda told: _learn(run, told))]
        try:
            line.say(*asked, touch, *others)
        except BeanstalkError:
            return  # closed under us; the loop has told the run
        run.touch_at = now + pause(run.ttr or 1, 0.0)

    async def take_away(self, run: Run) -> None:
        """Take a job from a function that is past its hard limit."""
        line, running = self.line, self.running
        if line is None or self.run is not run:
            return
        run.abandoned, self.run = True, None
        self._shared.counts.failed += 1
        try:
            error = limit_error(run, hard=True)
            finish = await _settled(settle(run, error, self._hooks, self._shared.past), line)
            if running is not None:
                running.cancel()
        except BeanstalkError:
            finish = None  # whoever gets it next will meet the same limit
        await self._go_on(finish)


def _nothing(_told: Any) -> None:
    """Leave the lease of a job that waits to be told when its end is said."""


def _learn(run: Run, told: Any) -> None:
    if isinstance(told, NotFoundError):
        run.lose()
    elif not isinstance(told, BeanstalkError):
        run.stats, run.ttr = told, told.ttr
        run.touch_at = min(run.touch_at, time.monotonic() + pause(told.ttr, 0.0))
        run.touch_at = max(run.touch_at, run.began + pause(told.ttr, 0.0))


def _touched(run: Run, told: Any) -> None:
    if isinstance(told, NotFoundError) and not run.lease_lost:
        run.lose()


def _cancel(task: asyncio.Task[None] | None, run: Run) -> None:
    if task is not None and run.seconds == 0.0:
        task.cancel()


async def _within(limit: float, coroutine: Any) -> Any:
    """Await a coroutine no longer than this; TimeLimitExceeded after it."""
    own: BaseException | None = None
    try:
        async with asyncio.timeout(limit) as timer:
            try:
                return await coroutine
            except TimeoutError as error:
                own = error
                raise
    except TimeoutError as error:
        if own is not None and not timer.expired():
            raise
        raise TimeLimitExceeded(f"longer than {limit:g} s") from error


async def _carried(talk: Generator[list[Command[Any]], list[Any], T], line: AsyncLine) -> T:
    """Carry a talk through: say what it yields, give it the answers."""
    try:
        said = next(talk)
        while True:
            said = talk.send(await line.exchange(said))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the generator returns


async def _settled(asking: Asking, line: AsyncLine) -> Command[Any] | None:
    """Carry a decision through: ask what it wants to know, give what ends the job."""
    try:
        command = next(asking)
        while True:
            try:
                answer = await line.ask(command)
            except BeanstalkError as error:
                command = asking.throw(error)
            else:
                command = asking.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the generator returns
