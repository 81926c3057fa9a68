"""A journal as lines of JSON: for people, for other programs, and to make a journal again.

The first line is ``{"beanrow-journal": 1, "next-id": ...}``, then come the tubes that have
something to remember, each with its ``total-jobs``, then the jobs by their ids, then the keys of
unique jobs (``unique``, with ``tube``, ``job``, ``lifetime``, ``until``). Keys are those of
``stats-job`` and ``stats-tube``; times (``created``, ``delayed-until``, ``paused-until``) are
nanoseconds of the wall clock, ``burial`` is a buried job's place among them. A body that is
not UTF-8 is ``body_base64``.

Law: what was written is read back the same. Who writes such lines himself needs no more of
a job than an ``id`` and a ``body``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from beanrow.engine.job import BURIED, DELAYED, READY, Job, State, new_job
from beanrow.engine.jobs import Jobs
from beanrow.engine.keys import Key
from beanrow.engine.recording import RecordingEngine
from beanrow.engine.records import TubeRecord
from beanrow.engine.tube import Tube
from beanrow.errors import JournalError
from beanrow.protocol.values import DEFAULT_PRIORITY, DEFAULT_TTR, MAX_ID, MAX_UINT32, is_tube_name

__all__ = ["Contents", "read_lines", "write_lines"]

_FORMAT = "beanrow-journal"
_VERSION = 1
_MOST_TIME = 2**63 - 1
_COUNTS = ("reserves", "timeouts", "releases", "buries", "kicks")
_STATES: dict[str, State] = {state: state for state in (READY, DELAYED, BURIED)}


class Contents(NamedTuple):
    """What a journal holds."""

    jobs: Jobs
    tubes: dict[str, TubeRecord]
    next_id: int
    keys: Sequence[Key] = ()


def write_lines(engine: RecordingEngine) -> Iterator[bytes]:
    """Write what an engine holds, a line at a time."""
    yield _line({_FORMAT: _VERSION, "next-id": engine.next_id})
    for tube in engine.tube_order:
        yield _line(
            {
                "tube": tube.name,
                "total-jobs": tube.total_jobs,
                "cmd-delete": tube.cmd_delete,
                "cmd-pause-tube": tube.cmd_pause_tube,
                "pause": tube.pause,
                "paused-until": tube.paused_until,
            }
        )
    for job_id in sorted(engine.jobs):
        yield _line(_job(engine.jobs[job_id]))
    for key in engine.keys.by_name.values():
        yield _line(
            {
                "unique": key.name,
                "tube": key.tube,
                "job": key.job_id,
                "lifetime": key.lifetime,
                "until": key.until,
            }
        )


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _job(job: Job) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": job.id,
        "tube": job.tube.name,
        "state": job.state,
        "pri": job.priority,
        "delay": job.delay,
        "ttr": job.ttr,
        "created": job.created,
        **{name: getattr(job, name) for name in _COUNTS},
    }
    if job.state is DELAYED:
        document["delayed-until"] = job.deadline
    elif job.state is BURIED:
        document["burial"] = job.deadline
    try:
        document["body"] = job.body.decode("utf-8")
    except UnicodeDecodeError:
        document["body_base64"] = base64.b64encode(job.body).decode()
    return document


def read_lines(lines: Iterable[bytes], now: int) -> Contents:
    """Read such lines; a job that does not tell when it was created was so ``now``.

    JournalError names the line that cannot be read, and why.
    """
    contents = _Reader(now)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            contents.read(line)
        except ValueError as error:
            raise JournalError(f"line {number}: {error}") from error
    next_id = max(contents.next_id, max(contents.jobs, default=0) + 1)
    return Contents(contents.jobs, contents.tubes, next_id, contents.keys)


class _Reader:
    """What the lines amount to so far. ValueError tells what is wrong with one."""

    def __init__(self, now: int) -> None:
        self.jobs = Jobs()
        self.tubes: dict[str, TubeRecord] = {}
        self.keys: list[Key] = []
        self.next_id = 1
        self._now = now

    def read(self, line: bytes) -> None:
        """Take one line."""
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004  # of a file, not of a caller
        if _FORMAT in document:
            if _number(document, _FORMAT, MAX_UINT32) > _VERSION:
                raise ValueError("it was written by a newer beanrow, which must read it too")
            self.next_id = max(1, _number(document, "next-id", MAX_ID, 1))
        elif "id" in document:
            self._add_job(document)
        elif "unique" in document:
            self._add_key(document)
        elif "tube" in document:
            self._add_tube(document)
        else:
            raise ValueError("it tells neither a job (with id and body) nor a tube")

    def _add_tube(self, document: dict[str, Any]) -> None:
        tube = self._tube(document)
        tube.total_jobs = _number(document, "total-jobs", MAX_ID, 0)
        tube.cmd_delete = _number(document, "cmd-delete", MAX_ID, 0)
        tube.cmd_pause_tube = _number(document, "cmd-pause-tube", MAX_ID, 0)
        tube.pause = _number(document, "pause", MAX_UINT32, 0)
        tube.paused_until = _number(document, "paused-until", _MOST_TIME, 0)

    def _add_key(self, document: dict[str, Any]) -> None:
        tube, name = _name(document, "tube"), _name(document, "unique")
        job_id = _number(document, "job", MAX_ID)
        lifetime = _number(document, "lifetime", MAX_UINT32, 0)
        until = _number(document, "until", _MOST_TIME, 0)
        self.keys.append(Key(tube, name, job_id, lifetime, until))

    def _add_job(self, document: dict[str, Any]) -> None:
        job_id = _number(document, "id", MAX_ID - 1)
        if job_id == 0 or job_id in self.jobs:
            raise ValueError(f"there is a job {job_id} already" if job_id else "there is no job 0")
        stand_in: Tube = self._tube(document)  # type: ignore[assignment]  # until an engine has it
        job = new_job(
            job_id,
            stand_in,
            _number(document, "pri", MAX_UINT32, DEFAULT_PRIORITY),
            _number(document, "delay", MAX_UINT32, 0),
            max(1, _number(document, "ttr", MAX_UINT32, DEFAULT_TTR)),
            _body(document),
            _number(document, "created", _MOST_TIME, self._now),
        )
        state = document.get("state", READY)
        if state not in _STATES:
            raise ValueError(f"state {state!r} is none of {', '.join(_STATES)}")
        job.state = _STATES[state]
        if job.state is DELAYED:
            job.deadline = _number(document, "delayed-until", _MOST_TIME)
        elif job.state is BURIED:
            job.deadline = _number(document, "burial", _MOST_TIME, job_id)
        for name in _COUNTS:
            setattr(job, name, _number(document, name, MAX_UINT32, 0))
        self.jobs.add(job)

    def _tube(self, document: dict[str, Any]) -> TubeRecord:
        name = _name({"tube": "default", **document}, "tube")
        return self.tubes.setdefault(name, TubeRecord(name))


def _name(document: dict[str, Any], key: str) -> str:
    name = document.get(key)
    if not isinstance(name, str) or not name.isascii() or not is_tube_name(name.encode()):
        raise ValueError(f"{key} {name!r} has no name that a tube can have")
    return name


def _number(document: dict[str, Any], key: str, most: int, default: int | None = None) -> int:
    value = document.get(key, default)
    if value is None:
        raise ValueError(f"it has no {key}")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{key} is {value!r}, not a whole number from 0 to {most}")
    return value


def _body(document: dict[str, Any]) -> bytes:
    body, encoded = document.get("body"), document.get("body_base64")
    if isinstance(body, str) and encoded is None:
        return body.encode()
    if isinstance(encoded, str) and body is None:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"body_base64 is not base64: {error}") from error
    raise ValueError("it has neither a body nor a body_base64, as a string")
