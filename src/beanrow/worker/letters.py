"""Dead letters: a job that was given up, with the reason, in a tube of its own.

A letter is a JSON object:

    job       the id the job had; it gets another one when it is moved back
    tube      where it came from, and goes back to
    priority, ttr   what it was put with
    body      its body as text, or body_base64 where it is not UTF-8
    error     what the last attempt raised: type, text, traceback
    history   the server's counts (reserves, releases, timeouts, buries, kicks, age in seconds),
              and the errors of earlier attempts, as far as this worker process saw them
"""

from __future__ import annotations

import base64
import json
import time
import traceback
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from beanrow.errors import BadValueError

if TYPE_CHECKING:
    from beanrow.protocol.stats import JobStats
    from beanrow.worker.run import Run

__all__ = ["Letter", "PastErrors", "one_line", "read_letter", "write_letter"]

_MOST_REMEMBERED = 1000
_MOST_TRACEBACK = 8000
"""Characters; the body is what matters, and all of it must fit into a job."""
_COUNTS = ("reserves", "releases", "timeouts", "buries", "kicks", "age")


class PastErrors:
    """The errors of earlier attempts that this process saw, of the last thousand jobs."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    def note(self, job_id: int, attempt: int, error: BaseException) -> None:
        """Remember the error of an attempt that is followed by another one."""
        told = {"attempt": attempt, "at": round(time.time(), 3), "error": one_line(error)}
        self._jobs.setdefault(job_id, []).append(told)
        if len(self._jobs) > _MOST_REMEMBERED:
            self._jobs.popitem(last=False)

    def taken(self, job_id: int) -> list[dict[str, Any]]:
        """Give what is remembered of a job, and forget it."""
        return self._jobs.pop(job_id, [])


class Letter(NamedTuple):
    """The job in a dead letter, to be put again."""

    tube: str
    priority: int
    ttr: int
    body: bytes
    error: str


def one_line(error: BaseException) -> str:
    """Tell an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def write_letter(
    run: Run, stats: JobStats, error: BaseException, earlier: list[dict[str, Any]]
) -> bytes:
    """Write the dead letter of a job."""
    trace = "".join(traceback.format_exception(error))
    history: dict[str, Any] = {name: getattr(stats, name) for name in _COUNTS}
    history["errors"] = earlier
    letter: dict[str, Any] = {
        "job": run.id,
        "tube": run.tube,
        "priority": stats.pri,
        "ttr": stats.ttr,
        "error": {
            "type": type(error).__name__,
            "text": str(error),
            "traceback": trace[-_MOST_TRACEBACK:],
        },
        "history": history,
    }
    try:
        letter["body"] = run.body.decode()
    except UnicodeDecodeError:
        letter["body_base64"] = base64.b64encode(run.body).decode()
    return json.dumps(letter, ensure_ascii=False).encode("utf-8", "backslashreplace")


def read_letter(body: bytes) -> Letter:
    """Read a dead letter back; BadValueError if it is none."""
    try:
        told = json.loads(body)
        if "body" in told:
            inner = told["body"].encode()
        else:
            inner = base64.b64decode(told["body_base64"], validate=True)
        error = told["error"]
        shown = f"{error['type']}: {error['text']}"
        return Letter(told["tube"], told["priority"], told["ttr"], inner, shown)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BadValueError(f"this body is no dead letter: {problem!r}") from None
