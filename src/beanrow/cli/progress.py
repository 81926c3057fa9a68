"""Progress on standard error, for those who sit before it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from beanrow.cli.output import on_terminal

__all__ = ["show_progress"]


@contextmanager
def show_progress(source: BinaryIO, tube: str) -> Iterator[Callable[[int], None]]:
    """Give what to call after each job, with the bytes that it took of ``source``.

    It shows something where standard error is a terminal on which no ids scroll by.
    """
    if sys.stderr is None or not sys.stderr.isatty() or on_terminal():
        yield lambda _size: None
        return
    from rich.console import Console  # slow to import: only for those who see it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.fields[jobs]} jobs put into {task.fields[tube]}", markup=False)
    with Progress(text, BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=_size(source), jobs=0, tube=tube)
        jobs = 0

        def advance(size: int) -> None:
            nonlocal jobs
            jobs += 1
            bar.update(task, advance=size, jobs=jobs)

        yield advance


def _size(source: BinaryIO) -> int | None:
    """Tell how many bytes there are to read, where it can be known before."""
    status = os.fstat(source.fileno())
    return status.st_size - source.tell() if stat.S_ISREG(status.st_mode) else None
