"""A worker of processes: each slot a child, and a parent that keeps them and their jobs.

Laws:
- The parent runs no job, has no thread but the one that tells its health, and does nothing
  for a job that ends in time: a child speaks to the server itself. Its socket is the parent's
  too, and a lock between the two says who speaks. Bare, that is 29,300 jobs/s on two cores,
  and 21,600 where the parent holds the connections and hands each job over: 24 us a job in
  one process.
- Each child has a lifeline of its own: whom the kernel tells of a pipe's end is a property of
  the open pipe, and on one that all share it would tell the last child alone.
- While a function runs the parent touches its job, whatever the child's interpreter does.
- A child that dies is replaced, and its job settled over the parent's copy of the socket:
  set aside if it has ended too many workers, else given back at once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from beanrow.client.wire import Wire
from beanrow.errors import BeanstalkError
from beanrow.protocol import commands
from beanrow.worker.board import BoardLine, FileTurn, SharedBoard, lock_file
from beanrow.worker.child import LOST, STOP, Recycle, run_child
from beanrow.worker.health import Health, serve_health
from beanrow.worker.keeper import TICK, keep, limit_error
from beanrow.worker.line import Line
from beanrow.worker.run import Run
from beanrow.worker.settle import after_crash, settle, settled
from beanrow.worker.shutdown import Signals
from beanrow.worker.slot import Shared, float_seconds
from beanrow.worker.threads import tasks_of_slots

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.task import Task

__all__ = ["ProcessWorker"]

_QUICK_DEATH = 1.0
"""Seconds: a child that lived shorter is replaced after that time, not at once."""


class _Child:
    """What the parent knows of a child."""

    def __init__(self, place: int, pid: int, control: socket.socket, lifeline: int) -> None:
        self.place = place
        self.pid = pid
        self.control = control
        self.lifeline = lifeline
        self.began = time.monotonic()
        self.line: Line | None = None
        self.run: Run | None = None
        self.killed_for: BaseException | None = None

    def let_go(self) -> None:
        """Close the parent's ends of what joins the two."""
        self.control.close()
        os.close(self.lifeline)


class ProcessWorker:
    """Runs the jobs of an app in so many child processes, until it is stopped."""

    def __init__(self, app: App, processes: int, recycle: Recycle | None = None) -> None:
        self.shared: Shared = Shared(app, app.hooks(), processes)
        self._app = app
        self._recycle = recycle or Recycle()
        self._tasks = tasks_of_slots(app, processes)
        self._kinds = list(app.tasks.values())
        self._board = SharedBoard(len(self._tasks))
        self._locks = lock_file()
        self._due: dict[int, float] = {}  # by place: when the next child is started
        self.children: dict[int, _Child] = {}

    # -- children -----------------------------------------------------------------

    def start(self) -> None:
        """Start the children."""
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages of all that is there now
        for place, tasks in enumerate(self._tasks):
            self._start(place, tasks)

    def _start(self, place: int, tasks: dict[str, Task[..., Any]]) -> None:
        ours, theirs = socket.socketpair()
        lifeline, held = os.pipe()
        self._board.line(place).clear()
        pid = os.fork()
        if pid:
            theirs.close()
            os.close(lifeline)
            ours.setblocking(False)
            self.children[place] = _Child(place, pid, ours, held)
            return
        status = 1
        try:
            ours.close()
            os.close(held)
            self._become_child()
            run_child(
                self._app,
                tasks,
                self._board.line(place),
                FileTurn(self._locks, place),
                theirs,
                lifeline,
                self._recycle,
            )
            status = 0
        except BaseException:  # noqa: BLE001  (logged; a child must never go on as its parent)
            from beanrow.worker.logs import LOGGER

            LOGGER.exception("a child process failed")
        finally:
            os._exit(status)

    def _become_child(self) -> None:
        """Let go, in a child, of what is its parent's."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave_to_parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in self.children.values():
            child.let_go()
            if child.line is not None:
                child.line.close()

    def reap(self) -> None:
        """Settle the jobs of children that have ended, and start others in their place."""
        now = time.monotonic()
        for place, child in list(self.children.items()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                del self.children[place]
                self._settle(child, status)
                quick = status and now - child.began < _QUICK_DEATH
                self._due[place] = now + _QUICK_DEATH if quick else now
        for place, due in list(self._due.items()):
            if due <= now and not self.shared.stopping.is_set():
                del self._due[place]
                self._start(place, self._tasks[place])

    def _settle(self, child: _Child, status: int) -> None:
        """See to the job that a child had when it ended; closing the line gives it back."""
        self._take_lines(child)
        child.let_go()
        shown = self._board.line(child.place).read()
        counts = self.shared.counts
        counts.done += shown.done
        counts.failed += shown.failed
        counts.lost += shown.lost
        line, run = child.line, self._run(child, shown.job, shown.began, shown.task)
        try:
            if (
                line is not None
                and run is not None
                and status
                and not self.shared.stopping.is_set()
            ):
                self._settle_job(child, line, run)
        except BeanstalkError:
            pass  # the connection is gone, and the server has put the job back
        finally:
            if line is not None:
                line.interrupt()
                line.close()

    def _settle_job(self, child: _Child, line: Line, run: Run) -> None:
        hooks, past = self.shared.hooks, self.shared.past
        run.seconds = time.monotonic() - run.began
        if run.task.dead_letters is not None:
            run.body = line.ask(commands.peek(run.id)).body
        if child.killed_for is not None:
            self.shared.counts.failed += 1
            finish = settled(settle(run, child.killed_for, hooks, past), line.ask)
        else:
            finish = settled(after_crash(run, hooks, past), line.ask)
            hooks.tell("on_crash", run)
        if finish is not None:
            line.ask(finish)

    # -- jobs ---------------------------------------------------------------------

    def look(self) -> None:
        """Touch the jobs that are due, and end children that are past a hard limit."""
        for child in self.children.values():
            self._take_lines(child)
            shown = self._board.line(child.place).read()
            run = child.run = self._run(child, shown.job, shown.began, shown.task)
            if run is None or child.killed_for is not None:
                continue
            age, hard = time.monotonic() - run.began, run.task.limits.hard
            if hard is not None and age > hard:
                child.killed_for = limit_error(run, hard=True)
                os.kill(child.pid, signal.SIGKILL)
            elif age > TICK / 2 and child.line is not None and not run.lease_lost:
                board = self._board.line(child.place)
                keep(run, child.line, partial(_shows, board, shown.job), board.held)
                if run.lease_lost:
                    self._say(child, LOST)

    def _run(self, child: _Child, job: int, began: float, task: int) -> Run | None:
        """Give what the parent knows of the job that a child runs."""
        if not job:
            return None
        if child.run is not None and child.run.id == job and child.run.began == began:
            return child.run
        return Run(job, b"", self._kinds[task], began)

    def _take_lines(self, child: _Child) -> None:
        """Take the sockets that a child has opened; the newest is the one it uses."""
        while True:
            try:
                said, descriptors, _, _ = socket.recv_fds(child.control, 1, 1)
            except OSError:
                return
            if not said:
                return
            for descriptor in descriptors:
                if child.line is not None:
                    child.line.close()
                wire = Wire(socket.socket(fileno=descriptor))
                child.line = Line(
                    wire,
                    str(self._app.address),
                    float_seconds(self._app.timeout),
                    FileTurn(self._locks, child.place),
                    shared=True,
                )

    def health(self) -> Health:
        """Tell how the worker is."""
        shown = [self._board.line(place).read() for place in list(self.children)]
        counts = self.shared.counts
        return Health(
            len(self._tasks),
            sum(one.job != 0 for one in shown),
            time.monotonic() - max((one.heard for one in shown), default=-inf),
            counts.done + sum(one.done for one in shown),
            counts.failed + sum(one.failed for one in shown),
            counts.lost + sum(one.lost for one in shown),
            self.shared.stopping.is_set(),
        )

    # -- stopping -----------------------------------------------------------------

    def stop(self) -> None:
        """Have the children take no more jobs."""
        self.shared.stopping.set()
        for child in self.children.values():
            self._say(child, STOP)

    def _say(self, child: _Child, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended; reap sees to it
            child.control.send(word)

    def give_back(self) -> None:
        """Kill the children that still run, and close their connections."""
        for child in self.children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in list(self.children.values()):
            os.waitpid(child.pid, 0)
            self._settle(child, 0)
        self.children.clear()

    def close(self) -> None:
        """Let go of what is left."""
        self._board.close()
        os.close(self._locks)


def _shows(board: BoardLine, job: int) -> bool:
    """Tell whether this job still runs."""
    return board.read().job == job


def _leave_to_parent(number: int, frame: object) -> None:
    """Do nothing: the parent heard the same signal, and tells what it means."""


def run_processes(
    app: App, processes: int, grace: float, recycle: Recycle, health: str | None = None
) -> int:
    """Run a worker of processes until it is told to stop; the exit status."""
    signals = Signals()
    signal.signal(signal.SIGCHLD, _wake)
    worker = ProcessWorker(app, processes, recycle)
    served = None if health is None else serve_health(health, worker.health)
    worker.start()
    try:
        while not signals.count:
            _turn(worker, signals)
        worker.stop()
        end = time.monotonic() + grace
        while worker.children and time.monotonic() < end and signals.count < 2:
            _turn(worker, signals)
    finally:
        worker.give_back()
        if served is not None:
            served.close()
        worker.close()
        app.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signals.close()
    return 0


def _turn(worker: ProcessWorker, signals: Signals) -> None:
    """Wait for a signal or a tick, and do what is due."""
    if select.select([signals], [], [], TICK)[0]:
        signals.drain()
    worker.reap()
    worker.look()


def _wake(number: int, frame: object) -> None:
    """Only end the wait: a child has ended."""
