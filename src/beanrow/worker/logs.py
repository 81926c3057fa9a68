"""The worker's log: logger ``beanrow.worker``, each record with job, tube and attempt.

The fields are on the record (``extra``), for a handler of one's own; ``JsonFormatter`` writes
them as lines of JSON.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from beanrow.worker.events import Middleware
from beanrow.worker.letters import one_line
from beanrow.worker.outcome import UnreadableBody
from beanrow.worker.run import Run

__all__ = ["LOGGER", "JsonFormatter", "LogHooks"]

LOGGER = logging.getLogger("beanrow.worker")
_FIELDS = ("job", "tube", "task", "attempt", "seconds")


class JsonFormatter(logging.Formatter):
    """One line of JSON a record: time (UTC), level, message, and the job's fields if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "pid": record.process,
        }
        told.update((name, record.__dict__[name]) for name in _FIELDS if name in record.__dict__)
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class LogHooks(Middleware):
    """Writes what becomes of jobs: done ones at DEBUG, failures with their traceback."""

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Log a failure; of a body that nobody can read there is no more to tell than a line."""
        trace = None if isinstance(error, UnreadableBody) else error
        LOGGER.warning(
            "job %d of tube %s failed: %s", run.id, run.tube, one_line(error),
            exc_info=trace, extra=_extra(run),
        )  # fmt: skip

    def on_retry(self, run: Run, delay: float) -> None:
        """Log a retry."""
        LOGGER.info("job %d of tube %s: again in %g s", run.id, run.tube, delay, extra=_extra(run))

    def on_bury(self, run: Run, why: str) -> None:
        """Log a buried job."""
        LOGGER.error("job %d of tube %s: buried: %s", run.id, run.tube, why, extra=_extra(run))

    def on_dead_letter(self, run: Run, tube: str) -> None:
        """Log a dead letter."""
        LOGGER.error("job %d of tube %s: moved to %s", run.id, run.tube, tube, extra=_extra(run))

    def on_lease_lost(self, run: Run) -> None:
        """Log a lost lease."""
        LOGGER.error(
            "job %d of tube %s: the lease is lost, another worker gets it; nothing of this run "
            "is acknowledged", run.id, run.tube, extra=_extra(run),
        )  # fmt: skip

    def on_crash(self, run: Run) -> None:
        """Log the end of a child under its job."""
        LOGGER.error(
            "job %d of tube %s: the process that ran it ended", run.id, run.tube, extra=_extra(run)
        )


def _extra(run: Run) -> dict[str, object]:
    return {
        "job": run.id,
        "tube": run.tube,
        "task": run.task.name,
        "attempt": run.attempt,
        "seconds": round(run.seconds, 6),
    }
