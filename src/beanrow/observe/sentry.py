"""Failures of jobs for Sentry: ``App(middleware=[SentryReports()])``, after ``sentry_sdk.init``.

Each failure is reported with tube, task, job id and attempt as tags, one that will be tried
again as a warning and not as an error. So are a lost lease and a child that ended under its
job, as messages. The body of a job goes nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sentry_sdk

from beanrow.worker.events import Middleware

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.run import Run

__all__ = ["SentryReports"]

_FLUSH_SECONDS = 2.0
_MOST_KEPT = 1000


class SentryReports(Middleware):
    """Reports what goes wrong."""

    def __init__(self) -> None:
        self._failed: dict[int, BaseException] = {}  # until it is known what follows

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Keep the error until it is known whether it was the last."""
        if len(self._failed) >= _MOST_KEPT:
            self._failed.pop(next(iter(self._failed)), None)
        self._failed[run.id] = error

    def on_retry(self, run: Run, delay: float) -> None:
        """Report a failure that is followed by another attempt."""
        self._report(run, "warning", f"again in {delay:g} s")

    def on_bury(self, run: Run, why: str) -> None:
        """Report a failure that was the last; a job that its function buried is none."""
        self._report(run, "error", f"buried: {why}")

    def on_dead_letter(self, run: Run, tube: str) -> None:
        """Report a failure that was the last."""
        self._report(run, "error", f"moved to {tube}")

    def on_lease_lost(self, run: Run) -> None:
        """Report a run whose result was not acknowledged."""
        self._failed.pop(run.id, None)
        self._tell(run, f"job of tube {run.tube}: the lease is lost")

    def on_crash(self, run: Run) -> None:
        """Report a child that ended under its job."""
        self._tell(run, f"job of tube {run.tube}: the process that ran it ended")

    def on_stop(self, app: App) -> None:
        """Send what is still to be sent."""
        sentry_sdk.flush(_FLUSH_SECONDS)

    def _report(self, run: Run, level: str, outcome: str) -> None:
        error = self._failed.pop(run.id, None)
        if error is None:
            return
        with sentry_sdk.new_scope() as scope:
            _describe(scope, run)
            scope.set_extra("outcome", outcome)
            scope.set_level("error" if level == "error" else "warning")
            scope.capture_exception(error)

    def _tell(self, run: Run, message: str) -> None:
        with sentry_sdk.new_scope() as scope:
            _describe(scope, run)
            scope.capture_message(message, "error")


def _describe(scope: sentry_sdk.Scope, run: Run) -> None:
    scope.set_transaction_name(run.task.name)
    scope.set_tag("beanrow.tube", run.tube)
    scope.set_tag("beanrow.task", run.task.name)
    scope.set_tag("beanrow.job", run.id)
    if run.attempt is not None:
        scope.set_tag("beanrow.attempt", run.attempt)
