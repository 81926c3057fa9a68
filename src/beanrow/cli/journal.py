"""The verb ``journal``: look after the journals of servers, without one."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from beanrow.cli.exits import Exit
from beanrow.cli.input import standard_input
from beanrow.cli.output import write, write_json
from beanrow.journal.binlog import read_binlog
from beanrow.journal.lines import Contents, read_lines, write_lines
from beanrow.journal.offline import Reading, compact_journal, read_journal, write_journal

__all__ = ["journal"]

_DIRECTORY = click.Path(path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(
    epilog="""\b
Examples:
  beanrow journal check /var/lib/beanrow
  beanrow journal dump /var/lib/beanrow > jobs.jsonl
  beanrow journal restore new-directory --file jobs.jsonl
  beanrow journal import /var/lib/beanstalkd new-directory"""
)
def journal() -> None:
    """Check, dump, restore, compact and import what 'serve --data' keeps."""


@journal.command()
@click.argument("directory", type=_DIRECTORY)
@_AS_JSON
def check(directory: Path, as_json: bool) -> int:
    """Read a journal, and tell what it holds and what is damaged.

    A running server may be using it. The exit code is 6 if something is damaged.
    """
    reading = read_journal(directory)
    engine, found = reading
    figures = {
        "jobs": len(engine.jobs),
        "ready": engine.count("ready"),
        "delayed": engine.count("delayed"),
        "buried": engine.count("buried"),
        "segments": len(found.segments),
        "bytes": sum(segment.size for segment in found.segments),
    }
    if as_json:
        write_json({**figures, "damage": found.damage, "notes": found.notes})
    else:
        write("".join(f"{name}: {value}\n" for name, value in figures.items()).encode())
        _tell(reading)
    return _status(reading)


@journal.command()
@click.argument("directory", type=_DIRECTORY)
def dump(directory: Path) -> int:
    """Print all jobs of a journal as lines of JSON.

    A running server may be using it. What is damaged is told on standard error, and the exit
    code is 6 then.
    """
    reading = read_journal(directory)
    for line in write_lines(reading.engine):
        write(line)
    _tell(reading)
    return _status(reading)


@journal.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--file", type=click.File("rb"), help="Read this file, not standard input.")
@_AS_JSON
def restore(directory: Path, file: BinaryIO | None, as_json: bool) -> None:
    """Make a journal, in a new directory, of lines that 'dump' has printed.

    Ids, states, counts and what is left of delays and pauses are as they were. Of a job that
    you write yourself, 'id' and 'body' are enough.
    """
    import time

    contents = read_lines(file or standard_input(), time.time_ns())
    _make(directory, contents, as_json)


@journal.command("import")
@click.argument("binlog", type=_DIRECTORY)
@click.argument("directory", type=_DIRECTORY)
@_AS_JSON
def import_(binlog: Path, directory: Path, as_json: bool) -> None:
    """Make a journal, in a new directory, of the BINLOG directory of a beanstalkd 1.12.

    Stop the beanstalkd first. All jobs are taken over, also those that it would lose itself
    at its next start; its files stay as they are.
    """
    contents = read_binlog(binlog)
    for note in contents.notes:
        click.echo(f"beanrow: {note}", err=True)
    _make(directory, Contents(contents.jobs, contents.tubes, contents.next_id), as_json)


@journal.command()
@click.argument("directory", type=_DIRECTORY)
@_AS_JSON
def compact(directory: Path, as_json: bool) -> None:
    """Write a journal anew, without what is not needed any more.

    Stop its server first. A running server compacts by itself.
    """
    before, after = compact_journal(directory, _tell_line)
    if as_json:
        write_json({"bytes-before": before, "bytes": after})
    else:
        write(f"{before} bytes before, {after} now\n".encode())


def _make(directory: Path, contents: Contents, as_json: bool) -> None:
    jobs = len(contents.jobs)
    write_journal(directory, contents, _tell_line)
    if as_json:
        write_json({"jobs": jobs, "next-id": contents.next_id})
    else:
        write(f"{jobs} jobs\n".encode())


def _tell(reading: Reading) -> None:
    for line in (*reading.found.damage, *reading.found.notes):
        _tell_line(line)


def _tell_line(line: str) -> None:
    click.echo(f"beanrow: {line}", err=True)


def _status(reading: Reading) -> int:
    return Exit.DAMAGED if reading.found.damage else Exit.DONE
