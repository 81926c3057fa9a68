"""Jobs as lines of JSON in a file: what ``dump`` and ``--undo`` write and ``restore`` reads.

The lines are those of ``beanrow journal dump``, so that either can read the other's.

Law: a line of the undo file is with the system before its job is taken away.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from beanrow.errors import BadValueError, JournalError
from beanrow.jobs.search import Found
from beanrow.journal.lines import read_lines

__all__ = [
    "Spec",
    "Undo",
    "body_document",
    "job_line",
    "read_spec",
    "shown",
    "spec_of",
    "undo_file",
]

_SECOND = 10**9
_MOST_SHOWN = 60
_COUNTS = ("reserves", "timeouts", "releases", "buries", "kicks")


class Spec(NamedTuple):
    """A job as it is to be stored; ``delay`` is what is left of it, in seconds."""

    tube: str
    state: str
    priority: int
    delay: int
    ttr: int
    body: bytes


def spec_of(found: Found) -> Spec:
    """Tell how a job is stored that was found; one that is reserved is ready again there."""
    stats = found.stats
    delay = stats.time_left if stats.state == "delayed" else 0
    state = "ready" if stats.state == "reserved" else stats.state
    return Spec(stats.tube, state, stats.pri, delay, stats.ttr, found.known_body)


def body_document(body: bytes) -> dict[str, str]:
    """Write a body for JSON: ``body``, or ``body_base64`` where it is not UTF-8."""
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def shown(body: bytes) -> str:
    """Show the beginning of a body on a line; what could steer a terminal is escaped."""
    text = body[: 4 * _MOST_SHOWN].decode("utf-8", "backslashreplace")
    cut = text[:_MOST_SHOWN]
    told = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut
    )
    return told if cut == text and len(body) <= 4 * _MOST_SHOWN else f"{told}..."


def job_line(found: Found) -> bytes:
    """Write a job that was found."""
    stats, now = found.stats, time.time_ns()
    document: dict[str, Any] = {
        "id": stats.id,
        "tube": stats.tube,
        "state": "ready" if stats.state == "reserved" else stats.state,
        "pri": stats.pri,
        "delay": stats.delay,
        "ttr": stats.ttr,
        "created": now - stats.age * _SECOND,
        **{name: getattr(stats, name) for name in _COUNTS},
    }
    if stats.state == "delayed":
        document["delayed-until"] = now + stats.time_left * _SECOND
    document |= body_document(found.known_body)
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def read_spec(line: bytes, number: int) -> Spec | None:
    """Read a line; None for one that tells no job. JournalError names the line."""
    now = time.time_ns()
    if not line.strip():
        return None
    try:
        contents = read_lines((line,), now)
    except JournalError as error:
        what = str(error).removeprefix("line 1: ")
        raise JournalError(f"line {number}: {what}") from error
    for job in contents.jobs.values():
        left = max(0, -(-(job.deadline - now) // _SECOND)) if job.state == "delayed" else 0
        return Spec(job.tube.name, job.state, job.priority, left, job.ttr, job.body)
    return None


class Undo:
    """The file of jobs that a verb is about to take away, or none."""

    def __init__(self, path: str | None) -> None:
        # Never over another one: it may be all that is left of the jobs in it.
        self._file = None if path is None else open(path, "xb")  # noqa: SIM115  (closed below)

    @property
    def wanted(self) -> bool:
        """Tell whether there is a file."""
        return self._file is not None

    def keep(self, found: Found) -> None:
        """Write a job, with its body."""
        if self._file is not None:
            self._file.write(job_line(found))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


@contextmanager
def undo_file(path: str | None) -> Iterator[Undo]:
    """Open the undo file, where one is wanted; BadValueError if it cannot be made."""
    try:
        undo = Undo(path)
    except OSError as error:
        raise BadValueError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield undo
    finally:
        undo.close()
