"""Progress on standard error, for those who sit before it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from beanrow.cli.output import on_terminal

__all__ = ["show_count", "show_progress"]


@contextmanager
def show_progress(source: BinaryIO, tube: str) -> Iterator[Callable[[int], None]]:
    """Give what to call after each job, with the bytes that it took of ``source``.

    It shows something where standard error is a terminal on which no ids scroll by.
    """
    if not _is_seen() or on_terminal():
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


@contextmanager
def show_count(what: str, *, beside_output: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Give what to call with how many are done, and of how many; ``what`` is said beside it.

    ``beside_output``: what is found is written meanwhile, and nothing is shown where that is
    seen on a terminal.
    """
    if not _is_seen() or (beside_output and on_terminal()):
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn(f"{what}: {{task.completed}} of {{task.total}}", markup=False)
    console = Console(stderr=True)
    with Progress(text, BarColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _is_seen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _size(source: BinaryIO) -> int | None:
    """Tell how many bytes there are to read, where it can be known before."""
    status = os.fstat(source.fileno())
    return status.st_size - source.tell() if stat.S_ISREG(status.st_mode) else None
