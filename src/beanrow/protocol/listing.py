"""Pages of ``list-jobs``: a line of JSON for each job, and one that tells where to go on.

Law: a page without such a last line is the end. A page may end early, so that a server that looks
through many jobs lets others go first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from beanrow.errors import StatsParsingError
from beanrow.protocol.stats import JobStats

__all__ = ["MAX_LISTED", "STATES", "ListedJob", "Page", "read_page", "write_page"]

MAX_LISTED = 1000
"""Jobs on one page."""
STATES = ("ready", "reserved", "delayed", "buried")


class ListedJob(JobStats):
    """What ``list-jobs`` tells of a job: all of ``stats-job``, and the bytes of its body."""

    bytes: int


class Page(NamedTuple):
    """Jobs by their ids. ``after`` is the id to go on behind, None at the end."""

    jobs: list[ListedJob]
    after: int | None


def write_page(jobs: Iterable[ListedJob], after: int | None) -> bytes:
    """Write a page. Names of tubes and states hold nothing that JSON would escape."""
    lines = [_object(job.as_dict().items()) for job in jobs]
    if after is not None:
        lines.append(_object([("after-id", after)]))
    return "".join(lines).encode("ascii")


def _object(items: Iterable[tuple[str, object]]) -> str:
    fields = (
        f'"{key}":"{value}"' if isinstance(value, str) else f'"{key}":{value}'
        for key, value in items
    )
    return "{" + ",".join(fields) + "}\n"


def read_page(document: bytes) -> Page:
    """Read a page; StatsParsingError if it is none."""
    import json

    jobs: list[ListedJob] = []
    after = None
    for line in document.splitlines():
        try:
            values = json.loads(line)
            if "after-id" in values:
                after = int(values["after-id"])
            else:
                jobs.append(
                    ListedJob(**{key.replace("-", "_"): value for key, value in values.items()})
                )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise StatsParsingError(document, f"no job in the line {line[:80]!r}") from None
    return Page(jobs, after)
