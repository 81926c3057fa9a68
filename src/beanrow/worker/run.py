"""One run of a job, as its function, the hooks and the keeper see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from beanrow.worker.outcome import LeaseLost

if TYPE_CHECKING:
    import threading

    from beanrow.protocol.stats import JobStats
    from beanrow.worker.submitted import ReplyTo
    from beanrow.worker.task import Task

__all__ = ["CURRENT", "Run", "current_job", "running"]


class Run:
    """A job while its function runs.

    ``id`` and ``body`` are the job's; ``task`` is what runs it. ``began`` and ``seconds``
    are of the monotonic clock: when it began, and how long it took once it has ended.
    ``lease_lost`` turns true when the server has given the job to somebody else, or will;
    nothing that the run returns is acknowledged then. ``stats`` is what the server told of
    the job, if it was asked: before the run where several tubes are watched, later of a
    job that runs for long, and after a failure.
    """

    __slots__ = (
        "abandoned",
        "began",
        "body",
        "guard",
        "id",
        "in_function",
        "lease_lost",
        "limited",
        "on_lease_lost",
        "reply_to",
        "seconds",
        "stats",
        "task",
        "thread",
        "touch_at",
        "ttr",
        "value",
    )  # fmt: skip

    def __init__(self, id: int, body: bytes, task: Task[Any, Any], began: float = 0.0) -> None:
        self.id: int = id
        self.body: bytes = body
        self.task: Task[Any, Any] = task
        self.began: float = began
        self.seconds: float = 0.0
        self.stats: JobStats | None = None
        self.lease_lost: bool = False
        self.abandoned: bool = False
        self.limited: bool = False
        self.reply_to: ReplyTo | None = None
        self.value: Any = None
        self.in_function: bool = False
        self.guard: threading.Lock | None = None
        self.thread: int = 0
        self.ttr: int = 0
        self.touch_at: float = 0.0
        self.on_lease_lost: Callable[[], object] | None = None

    @property
    def tube(self) -> str:
        """The tube that the job came from."""
        return self.task.tube

    @property
    def attempt(self) -> int | None:
        """Which attempt this is, 1 the first, as the server counts; None if it was not asked."""
        return None if self.stats is None else attempts(self.stats)

    def check(self) -> None:
        """Raise LeaseLost if the job is no longer this worker's: for loops that run for long."""
        if self.lease_lost:
            raise LeaseLost(f"job {self.id} of tube {self.tube} is no longer this worker's")

    def lose(self) -> None:
        """Note that the lease is gone, and tell the function."""
        self.lease_lost = True
        if self.on_lease_lost is not None:
            self.on_lease_lost()

    def __repr__(self) -> str:
        return f"Run(job {self.id}, task {self.task.name})"


def attempts(stats: JobStats) -> int:
    """Count the attempts at a job, the one under way with them.

    Closing a connection is counted as neither, so stopping a worker costs no attempt.
    """
    return 1 + stats.releases + stats.timeouts


CURRENT: ContextVar[Run] = ContextVar("beanrow_run")


def current_job() -> Run:
    """Give the run that this code is part of; LookupError outside of one."""
    try:
        return CURRENT.get()
    except LookupError:
        raise LookupError("no job runs here: current_job() is for code that a task calls") from None


@contextmanager
def running(run: Run) -> Iterator[None]:
    """Make this the current run for the block."""
    token = CURRENT.set(run)
    try:
        yield
    finally:
        CURRENT.reset(token)
