"""How a command ends: the exit codes, and the one line that an error becomes."""

from __future__ import annotations

from enum import IntEnum

import click

from beanrow.errors import (
    BadTypeError,
    BadValueError,
    ConnectionLostError,
    JournalError,
    NotFoundError,
    StoreError,
)
from beanrow.jobs.search import NothingThereError

__all__ = ["CODES", "Exit", "exit_code", "one_line"]

CODES = """\b
Exit codes:
  0    done
  1    nothing there: no such job or tube, or no job in time
  2    bad use: an argument, an option, or input that cannot be read
  3    server or store not reachable, or the connection to it lost
  4    the server refused, or gave an answer that cannot be read
  5    the output could not be written (closed pipe, full disk)
  6    a journal is damaged, in use, or none
  130  Ctrl-C
'serve' ends with 0 when it is told to stop, and with 1 when it cannot start;
'conform' with 1 when something differs, 'cluster status' when something is not safe.
"""


class Exit(IntEnum):
    """The exit codes, as CODES tells them; Ctrl-C is ``__main__``'s."""

    DONE = 0
    NOTHING = 1
    USAGE = 2
    NO_SERVER = 3
    REFUSED = 4
    OUTPUT = 5
    DAMAGED = 6


def exit_code(error: Exception) -> Exit:
    """Class an error: one of click's, of beanrow's, or an OSError of the output."""
    if isinstance(error, (NothingThereError, NotFoundError)):
        return Exit.NOTHING
    if isinstance(error, (click.ClickException, BadValueError, BadTypeError)):
        return Exit.USAGE
    if isinstance(error, JournalError):
        return Exit.DAMAGED
    if isinstance(error, StoreError):
        return Exit.NO_SERVER
    if isinstance(error, ConnectionLostError):  # also an OSError, so before it
        return Exit.NO_SERVER
    return Exit.OUTPUT if isinstance(error, OSError) else Exit.REFUSED


def one_line(error: Exception) -> str:
    """Tell an error and its notes in one line, without its newline."""
    path = "beanrow"
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else path
        message = f"{error.format_message().rstrip('.')}; see '{path} --help'"
    elif isinstance(error, click.ClickException):
        message = error.format_message()
    elif exit_code(error) is Exit.OUTPUT and isinstance(error, OSError):
        message = f"cannot write the output: {error.strerror or error}"
    else:
        message = str(error)
    text = "; ".join([message, *getattr(error, "__notes__", ())])
    return f"{path}: {' '.join(text.split())}"
