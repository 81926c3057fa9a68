"""What becomes of each job, told to whoever wants to know: the hooks of a worker.

    hook             called                                                  with
    on_start         a process of the worker begins, before its first job    the app
    on_stop          a process of the worker ends in order                   the app
    before           just before the function; what it raises fails the run  the run
    after            it returned, and the job is about to be deleted         the run
    on_failure       it raised, other than Release and Bury                  the run, the error
    on_retry         the job is released for a next attempt                  the run, seconds
    on_release       the function raised Release                             the run, seconds
    on_bury          the job is buried                                       the run, why
    on_dead_letter   the job is moved to a tube of dead letters              the run, the tube
    on_lease_lost    the server gave the job to another worker, or will      the run
    on_crash         the process that ran the job ended under it             the run
    on_put           this process has put a job, with its task               the task, the id

Laws: this table is what observers may rely on. Hooks are plain functions and are called in
the thread or loop that runs the job; ``on_crash`` in the parent process, ``on_put`` by
whoever puts. A failure past a hard limit is told by the keeper. What a hook other
than ``before`` raises is logged and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["Hooks", "Middleware"]


class Middleware:
    """The hooks, each doing nothing: override the ones you want."""

    def on_start(self, app: App) -> None:
        """Hear that a process of the worker begins."""

    def on_stop(self, app: App) -> None:
        """Hear that a process of the worker ends in order."""

    def before(self, run: Run) -> None:
        """Hear that a job is about to run; an exception here is the run's failure."""

    def after(self, run: Run) -> None:
        """Hear that a job is done."""

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Hear that a job's function raised."""

    def on_retry(self, run: Run, delay: float) -> None:
        """Hear that a failed job is to run again in so many seconds."""

    def on_release(self, run: Run, delay: float) -> None:
        """Hear that a job was put back as its function asked."""

    def on_bury(self, run: Run, why: str) -> None:
        """Hear that a job was set aside."""

    def on_dead_letter(self, run: Run, tube: str) -> None:
        """Hear that a job was moved to a tube of dead letters."""

    def on_lease_lost(self, run: Run) -> None:
        """Hear that a job is no longer this worker's."""

    def on_crash(self, run: Run) -> None:
        """Hear that a child process ended under a job."""

    def on_put(self, task: Task[Any, Any], job_id: int) -> None:
        """Hear that this process has put a job."""


_NAMES = tuple(name for name in vars(Middleware) if not name.startswith("_"))


class Hooks:
    """For each hook the functions to call; empty where nobody listens, so that costs nothing."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._functions: dict[str, tuple[Callable[..., None], ...]] = {
            name: tuple(
                getattr(one, name)
                for one in middleware
                if getattr(type(one), name) is not getattr(Middleware, name)
            )
            for name in _NAMES
        }
        self.before: tuple[Callable[..., None], ...] = self._functions["before"]
        self.has_after: bool = bool(self._functions["after"])

    def tell(self, name: str, *told: Any) -> None:
        """Call the functions of a hook; what they raise is logged."""
        for function in self._functions[name]:
            try:
                function(*told)
            except Exception:  # noqa: BLE001  (logged; an observer must not change a job's fate)
                from beanrow.worker.logs import LOGGER

                LOGGER.exception("hook %s of %s failed", name, getattr(function, "__self__", "?"))
