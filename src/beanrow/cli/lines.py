"""``put --lines``: each line of an input a job, read, put and told one at a time.

Laws: memory is bounded by the server's largest body, however long the input and its lines are;
the id of every job that was put is printed, and an error tells how many were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self

import click

from beanrow.cli.input import read_line
from beanrow.cli.output import write
from beanrow.cli.progress import show_progress
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError, BuriedJob, JobTooBigError
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.values import MAX_JOB_SIZE

__all__ = ["put_lines"]


def put_lines(
    client: Client,
    source: BinaryIO,
    as_json: bool,
    *,
    tube: str,
    priority: int,
    delay: int,
    ttr: int,
) -> None:
    """Put a job for each line of ``source``, and print the ids as they come."""
    count = 0
    try:
        with show_progress(source, tube) as advance, _IdList(tube, as_json) as ids:
            for body in _bodies(source, _largest_body(client), advance):
                job_id = client.put(body, tube=tube, priority=priority, delay=delay, ttr=ttr)
                count += 1
                ids.add(job_id)
                if isinstance(job_id, BuriedId):
                    raise BuriedJob(job_id)
    except (BeanstalkError, OSError, click.UsageError) as error:
        error.add_note(f"jobs put before that: {count}")
        raise


def _largest_body(client: Client) -> int:
    size: int = getattr(client.stats(), "max_job_size", MAX_JOB_SIZE)
    return size


def _bodies(source: BinaryIO, largest: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    """Read lines as they come; JobTooBigError for one that is over the server's limit."""
    number = 0
    while line := read_line(source, largest + 1):
        number += 1
        body = line.removesuffix(b"\n")
        if len(body) > largest:
            error = JobTooBigError(f"line {number}")
            error.add_note(f"the limit is {largest} bytes")
            raise error
        yield body
        advance(len(line))


class _IdList:
    """The ids on standard output: one a line, or one JSON document, whole even after an error."""

    def __init__(self, tube: str, as_json: bool) -> None:
        self._as_json = as_json
        self._before = b'{"tube": %b, "ids": [' % json.dumps(tube).encode()

    def __enter__(self) -> Self:
        return self

    def add(self, job_id: int) -> None:
        if self._as_json:
            write(b"%b%d" % (self._before, job_id))
            self._before = b", "
        else:
            write(b"%d\n" % job_id)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._as_json:
            write(b"]}\n" if self._before == b", " else self._before + b"]}\n")
