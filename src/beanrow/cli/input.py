"""What a command reads: standard input or a file, where a failed read is bad use."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

__all__ = ["read_all", "read_line", "standard_input"]


def standard_input() -> BinaryIO:
    """Give standard input as bytes; UsageError if it is closed."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed; give BODY or --file")
    return sys.stdin.buffer


def read_all(source: BinaryIO) -> bytes:
    """Read to the end."""
    try:
        return source.read()
    except OSError as error:
        raise _unreadable(source, error) from error


def read_line(source: BinaryIO, most: int) -> bytes:
    """Read a line with its newline, or its first ``most`` bytes; nothing at the end."""
    try:
        return source.readline(most)
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: BinaryIO, error: OSError) -> click.UsageError:
    return click.UsageError(f"cannot read {source.name}: {error.strerror or error}")
