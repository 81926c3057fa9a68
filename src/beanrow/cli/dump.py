"""The verbs ``dump`` and ``restore``: the jobs of a server in a file, and back.

Laws:
- ``dump`` takes nothing. Its lines are those of ``beanrow journal dump``, and either can be
  restored by either.
- ``restore`` puts a job that the server has not acknowledged again, however it was cut: a window
  of jobs may be there twice, and none is missing. ``--progress`` remembers how far it came.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

import click

from beanrow.cli.bulk import DRY_RUN, count, tell
from beanrow.cli.input import standard_input
from beanrow.cli.options import connected, server_option, shared_options
from beanrow.cli.output import write
from beanrow.cli.progress import show_count
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError
from beanrow.jobs.lines import Spec, job_line, read_spec
from beanrow.jobs.search import find
from beanrow.jobs.selection import STATES, Selection
from beanrow.jobs.store import store

__all__ = ["dump", "restore"]

_AT_ONCE = 100


@click.command(
    epilog="""\b
Examples:
  beanrow dump > jobs.jsonl
  beanrow dump --tube 'emails*' --state buried > buried.jsonl"""
)
@selection_options(*STATES, "reserved")
@server_option
def dump(wanted: Selection, server: Address) -> None:
    """Print jobs as lines of JSON, which 'beanrow restore' reads. None is taken.

    Jobs that workers hold are among them, as ready ones. The original server has no list: there
    each id that it has given out is asked for, about 60,000 ids a second. A job that is put
    meanwhile may be missing: while others put and take it is no picture of one moment. Pauses
    of tubes are not in it.
    """
    with (
        connected(server) as client,
        show_count("looked at", beside_output=True) as tell_count,
    ):
        for one in find(client, wanted, bodies=True, tell=tell_count):
            write(job_line(one))


@click.command(
    epilog="""\b
Examples:
  beanrow restore --file jobs.jsonl --progress restored
  beanrow dump --server queue1 | beanrow restore --server queue2"""
)
@click.option("--file", type=click.File("rb"), help="Read this file, not standard input.")
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Remember here how far it came, and go on from there.",
)
@DRY_RUN
@shared_options
def restore(
    file: BinaryIO | None, progress: Path | None, dry_run: bool, server: Address, as_json: bool
) -> None:
    """Put the jobs that 'dump', 'journal dump' or --undo have written.

    Each has its tube, priority, ttr, state and what is left of its delay, and another id. Without
    --progress a second run puts all of them a second time; with it, at most the last hundred.
    """
    source = file or standard_input()
    if file is not None and (file.seekable() or dry_run):
        jobs = sum(1 for _ in _specs(file, 0))  # refused whole, if a line of it cannot be read
        if dry_run:
            tell(f"would restore {count(jobs)}", {"would-restore": jobs}, as_json)
            return
        file.seek(0)
    elif dry_run:
        raise click.UsageError("--dry-run needs --file")
    with connected(server) as client, _Mark(progress) as mark:
        before = mark.lines
        try:
            restored = _restore(client, _specs(source, before), mark)
        except (BeanstalkError, OSError, click.UsageError) as error:
            error.add_note(f"lines before {mark.lines + 1} are restored")
            raise
    tell(
        f"{count(restored)} restored" + (f", from line {before + 1} on" if before else ""),
        {"restored": restored, "from-line": before + 1},
        as_json,
    )


def _specs(source: BinaryIO, skipped: int) -> Iterator[tuple[int, Spec]]:
    """Read the jobs behind the first lines, each with the number of its line."""
    for number, line in enumerate(source, 1):
        if number > skipped and (spec := read_spec(line, number)) is not None:
            yield number, spec


def _restore(client: Client, specs: Iterator[tuple[int, Spec]], mark: _Mark) -> int:
    restored = 0
    with show_count("jobs restored") as tell_count:
        while some := list(islice(specs, _AT_ONCE)):
            ids = store(client, [spec for _, spec in some])
            for (number, _), id in zip(some, ids, strict=True):
                if isinstance(id, BeanstalkError):
                    mark.write()
                    id.add_note(f"line {number} was not restored; later ones may be")
                    raise id
                restored += 1
                mark.lines = number
            mark.write()
            tell_count(restored, restored)
    return restored


class _Mark:
    """How many lines are restored, in a file where one is wanted.

    It is one small write at the beginning of the file: a process that is killed has made it or not.
    """

    def __init__(self, path: Path | None) -> None:
        self.lines = 0
        self._file: int | None = None
        if path is None:
            return
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            text = os.read(self._file, 100)
        except OSError as error:
            raise click.UsageError(f"cannot use {path}: {error.strerror}") from error
        if text and not text.strip().isdigit():
            os.close(self._file)
            raise click.UsageError(f"{path} is no file that --progress has written")
        self.lines = int(text or 0)

    def write(self) -> None:
        """Remember the lines."""
        if self._file is not None:
            os.pwrite(self._file, b"%20d\n" % self.lines, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            os.close(self._file)
