"""What goes to standard output: raw bytes, one JSON document, or a table.

Laws: all of it is written before the command goes on, so that a job is not deleted whose body
nobody saw; a failed write is an OSError. Nothing else goes to standard output.
"""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from beanrow.protocol.values import Job

__all__ = ["give_up_output", "on_terminal", "write", "write_job", "write_json", "write_table"]

_UNBOUNDED = 100_000
"""Columns of a table that no terminal limits: nothing is folded where a program reads it."""


def on_terminal() -> bool:
    """Tell whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def write(data: bytes) -> None:
    """Write all of this now; OSError if that fails."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def give_up_output() -> None:
    """Drop what is still buffered: Python would try again at exit, and complain a second time."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def write_json(document: Any) -> None:
    """Write one JSON document and a newline."""
    write(json.dumps(document, ensure_ascii=False).encode() + b"\n")


def write_job(job: Job, tube: str | None, as_json: bool) -> None:
    """Write a job: its body byte for byte, or ``id``, ``tube`` if known, and the body as JSON.

    A body that is not UTF-8 is ``body_base64`` there. A terminal gets a newline behind the body.
    """
    if as_json:
        write_json(_job_document(job, tube))
    else:
        write(job.body + b"\n" if on_terminal() else job.body)


def _job_document(job: Job, tube: str | None) -> dict[str, Any]:
    document: dict[str, Any] = {"id": job.id}
    if tube is not None:
        document["tube"] = tube
    try:
        document["body"] = job.body.decode("utf-8")
    except UnicodeDecodeError:
        document["body_base64"] = base64.b64encode(job.body).decode()
    return document


def write_table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> None:
    """Write rows in columns; the first is text, and below a ``head`` the others are numbers."""
    from rich.console import Console  # slow to import: only for those who look at a table
    from rich.table import Table

    terminal = on_terminal()
    table = Table(box=None, pad_edge=False, show_header=bool(head), header_style="bold")
    table.add_column(head[0] if head else "", overflow="fold")
    for title in head[1:] or ("",):
        table.add_column(title, justify="right" if head else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=shutil.get_terminal_size().columns if terminal else _UNBOUNDED,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    write("".join(f"{line.rstrip()}\n" for line in lines).encode())
