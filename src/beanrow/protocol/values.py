"""The values that commands carry: limits, tube names, numbers, durations, bodies, jobs.

Law: whatever would be refused or misread on the wire is refused here, before a
byte is sent, with an error that names the value and the range.
"""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from beanrow.errors import BadTypeError, BadValueError

if TYPE_CHECKING:
    from datetime import timedelta  # not at run time: it costs a program 1 ms and 0.4 MiB

__all__ = [
    "DEFAULT_ENCODING",
    "DEFAULT_PRIORITY",
    "DEFAULT_TTR",
    "MAX_GRACE",
    "MAX_ID",
    "MAX_JOB_SIZE",
    "MAX_LINE",
    "MAX_TIMEOUT",
    "MAX_TUBE_NAME",
    "MAX_UINT32",
    "TUBE_NAME_BYTES",
    "URGENT_PRIORITY",
    "Duration",
    "Job",
    "body_bytes",
    "is_tube_name",
    "job_id",
    "priority_number",
    "seconds",
    "tube_name",
    "whole_number",
]

MAX_TUBE_NAME = 200
"""Bytes of the longest tube name."""
MAX_LINE = 224
"""Bytes of the longest command line, its CR LF included."""
MAX_UINT32 = 2**32 - 1
"""The largest priority, delay, ttr, pause and body size."""
MAX_GRACE = 86_400
"""The longest grace of a session, in seconds."""
MAX_ID = 2**64 - 1
"""The largest job id."""
MAX_TIMEOUT = 2**31 - 1
"""The longest reserve-with-timeout, in seconds (daemon 1.13)."""
MAX_JOB_SIZE = 65535
"""Bytes of the largest body a server takes unless it was started with another limit."""
URGENT_PRIORITY = 1024
"""Jobs below this priority are counted as urgent."""
DEFAULT_ENCODING = "utf-8"
"""Of bodies given and read as text."""
DEFAULT_PRIORITY = 2**16
DEFAULT_TTR = 60

Duration: TypeAlias = "int | float | timedelta"
"""Seconds, or a timedelta, for annotations: ``durations.py`` has it as a type."""

TUBE_NAME_BYTES = rb"A-Za-z0-9\-+/;.$_()"
"""The bytes of a tube name, as the inside of a regular expression's brackets."""
_TUBE_NAME = re.compile(rb"(?!-)[%b]{1,%d}\Z" % (TUBE_NAME_BYTES, MAX_TUBE_NAME))


class Job:
    """A job as the server handed it out.

    ``id`` is its number, ``body`` its bytes, ``text`` the body decoded with the
    client's encoding. ``holder`` is the connection that reserved the job, or None
    for a job that was only peeked at. ``tube`` is its tube, None where the server was not
    asked to tell it (``Client.capabilities``), or does not.
    """

    __slots__ = ("body", "encoding", "holder", "id", "tube")

    def __init__(
        self,
        id: int,
        body: bytes,
        encoding: str = DEFAULT_ENCODING,
        holder: object | None = None,
        tube: str | None = None,
    ) -> None:
        self.id: int = id
        self.body: bytes = body
        self.encoding: str = encoding
        self.holder: object | None = holder
        self.tube: str | None = tube

    @property
    def text(self) -> str:
        """The body as text, in the client's encoding; UnicodeDecodeError if it is none."""
        return self.body.decode(self.encoding)

    def __repr__(self) -> str:
        shown = repr(self.body) if len(self.body) <= 40 else f"{self.body[:40]!r}..."
        return f"Job(id={self.id}, body={shown})"


def is_tube_name(name: bytes) -> bool:
    """Tell whether a server takes these bytes as a tube name."""
    return _TUBE_NAME.match(name) is not None


def tube_name(name: str) -> bytes:
    """Check a tube name: 1 to 200 of ``A-Z a-z 0-9 - + / ; . $ _ ( )``, no leading ``-``."""
    if not isinstance(name, str):
        raise BadTypeError(f"a tube name is a str, not {type(name).__name__}: {name!r}")
    try:
        encoded = name.encode("ascii")
    except UnicodeEncodeError:
        raise BadValueError(f"tube name {name!r} is not ASCII") from None
    if is_tube_name(encoded):
        return encoded
    if not encoded:
        problem = "is empty"
    elif len(encoded) > MAX_TUBE_NAME:
        problem = f"has {len(encoded)} bytes, at most {MAX_TUBE_NAME} are allowed"
    elif encoded.startswith(b"-"):
        problem = "begins with '-'"
    else:
        problem = "may hold only letters, digits and - + / ; . $ _ ( )"
    raise BadValueError(f"tube name {name[:220]!r} {problem}")


def whole_number(value: int, what: str, most: int = MAX_UINT32) -> int:
    """Check an int from 0 to ``most``; ``what`` names it in the error."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadTypeError(f"{what} is an int, not {type(value).__name__}: {value!r}")
    if not 0 <= value <= most:
        raise BadValueError(f"{what} {value} is not in 0..{most}")
    return value


def priority_number(value: int) -> int:
    """Check a priority: 0 (most urgent) to 2**32-1."""
    return whole_number(value, "priority")


def seconds(value: Duration, what: str, most: int = MAX_UINT32) -> int:
    """Turn a duration into whole seconds from 0 to ``most``, rounded up."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number: float = value
    elif hasattr(value, "total_seconds"):
        number = value.total_seconds()
    else:
        raise BadTypeError(
            f"{what} is a number of seconds or a timedelta, not {type(value).__name__}: {value!r}"
        )
    if not 0 <= number <= most:
        raise BadValueError(f"{what} {value} is not in 0..{most} seconds")
    return ceil(number)


def body_bytes(body: bytes | str, encoding: str) -> bytes:
    """Turn a body into bytes: text is encoded, bytes stay as they are."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode(encoding)
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    raise BadTypeError(f"a body is bytes or str, not {type(body).__name__}: {str(body)[:80]!r}")


def job_id(job: Job | int) -> int:
    """Give the id of a job: wherever an id goes, a Job goes too."""
    if isinstance(job, Job):
        return job.id
    if not isinstance(job, int) or isinstance(job, bool):
        raise BadTypeError(f"a job is a Job or an id, not {type(job).__name__}: {job!r}")
    return whole_number(job, "job id", MAX_ID)
