"""A child process of a worker: one slot in its main thread, told what to do by its parent.

Laws:
- It dies with its parent, however that dies: the kernel kills it when the parent's end of
  its own pipe is closed, also while a function hogs its interpreter. Where the kernel has no
  such service, a thread that waits for the same end does it.
- Signals that are meant for the whole worker do nothing here: the parent tells what they
  mean. A program that the function starts gets them as usual.
- Its socket is its parent's too: the parent touches the job, and settles it if the child
  dies under it. TLS cannot be shared so, as its keys change with each word; there a
  thread of the child touches, and needs the interpreter for it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beanrow.client.wire import open_wire
from beanrow.worker.keeper import Keeper
from beanrow.worker.line import Line
from beanrow.worker.outcome import TimeLimitExceeded
from beanrow.worker.slot import Shared, Slot, float_seconds

if TYPE_CHECKING:
    from types import FrameType

    from beanrow.worker.app import App
    from beanrow.worker.board import BoardLine, FileTurn
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["LOST", "STOP", "Recycle", "run_child"]

STOP = b"S"
LOST = b"L"
_LOOK_AT_MEMORY = 1.0


class Recycle:
    """When a child makes way for a fresh one: after so many jobs, or above so many bytes."""

    def __init__(self, jobs: int | None = None, memory: int | None = None) -> None:
        self.jobs = jobs
        self.memory = memory
        self._done = 0
        self._looked = 0.0

    def is_due(self) -> bool:
        """Tell after each job."""
        self._done += 1
        if self.jobs is not None and self._done >= self.jobs:
            return True
        if self.memory is None or time.monotonic() - self._looked < _LOOK_AT_MEMORY:
            return False
        self._looked = time.monotonic()
        return resident() > self.memory


class _Board:
    """The child's line of the board, and the end of a child that is due to be replaced."""

    def __init__(self, line: BoardLine, slot: Slot, recycle: Recycle) -> None:
        self._line = line
        self._slot = slot
        self._recycle = recycle
        self.began = line.began
        self.idle = line.idle
        self.hold = line.hold

    def over(self) -> None:
        self._line.over()
        slot = self._slot
        if self._recycle.is_due() and slot.line is not None:
            slot.gone = slot.line.stopping = True


def run_child(
    app: App,
    tasks: dict[str, Task[..., Any]],
    board: BoardLine,
    turn: FileTurn,
    control: socket.socket,
    lifeline: int,
    recycle: Recycle,
) -> None:
    """Run jobs until the parent says stop, or this child is due to be replaced."""
    _die_with_parent(lifeline)
    shared = Shared(app, app.hooks(), 1)
    board.write_for(list(app.tasks), shared.counts)
    slot = Slot(shared, tasks)
    slot.board = _Board(board, slot, recycle)
    slot.limited = _limited
    threading.Thread(target=_listen, args=(control, shared, slot), daemon=True).start()
    keeper: Keeper | None = None
    if app.address.tls:
        keeper = Keeper([slot], _nothing, _nothing)
        keeper.start()

    def opened() -> Line:
        wire = open_wire(app.address, float_seconds(app.timeout), app.tls_context())
        if app.address.tls:
            return Line(wire, str(app.address), float_seconds(app.timeout))
        socket.send_fds(control, [b"F"], [wire.fileno()])
        return Line(wire, str(app.address), float_seconds(app.timeout), turn)

    shared.hooks.tell("on_start", app)
    slot.work(opened)
    shared.hooks.tell("on_stop", app)
    if keeper is not None:
        keeper.stop()


def _nothing(*_: object) -> None:
    """Leave limits to the parent, and to the timer."""


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel end this process when nobody holds the other end of the pipe."""
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)  # it died before this was arranged


def _listen(control: socket.socket, shared: Shared, slot: Slot) -> None:
    """Do what the parent says; end with it."""
    while True:
        try:
            said = control.recv(1)
        except OSError:
            said = b""
        if not said:
            os._exit(1)
        if said == STOP:
            shared.stopping.set()
            if slot.line is not None:
                slot.line.stop()
        elif said == LOST and (run := slot.run) is not None:
            run.lose()


def _limited(run: Run, call: Callable[[], object]) -> object:
    """Run a function under a timer that raises in it, also where it waits for the kernel."""
    armed, limit = True, run.task.limits.soft
    assert limit is not None

    def ring(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise TimeLimitExceeded(f"longer than {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return call()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def resident() -> int:
    """Tell how many bytes of memory this process has, shared ones with them."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: the most it ever had
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
