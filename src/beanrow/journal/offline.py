"""A journal without its server: read it, make one, compact it.

Laws:
- Reading changes nothing, and a running server goes on meanwhile: it only keeps its files
  until the reader is done.
- What is made is made in an empty directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from beanrow.engine.recording import RecordingEngine
from beanrow.errors import JournalError
from beanrow.journal.disk import Directory
from beanrow.journal.journal import Journal
from beanrow.journal.lines import Contents
from beanrow.journal.opening import new_journal, open_journal
from beanrow.journal.recovery import Recovered, recover

__all__ = ["Compacted", "Reading", "compact_journal", "read_journal", "write_journal"]


class Reading(NamedTuple):
    """What a journal holds, as an engine that has just begun, and what was found on the way."""

    engine: RecordingEngine
    found: Recovered


class Compacted(NamedTuple):
    """Bytes of the segments before and after."""

    before: int
    after: int


def read_journal(path: Path) -> Reading:
    """Read a journal, also one that a server is using. JournalError if it is none."""
    with _named(path), closing(Directory(path)) as directory:
        directory.hold()
        now = time.time_ns()
        engine = RecordingEngine(now)
        found = recover(directory, engine, now, 0)
        if not found.segments:
            raise JournalError("it holds no journal")
    return Reading(engine, found)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the directory in what goes wrong with it."""
    try:
        yield
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror or error}") from error
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from error


def write_journal(path: Path, contents: Contents, tell: Callable[[str], None]) -> None:
    """Make a journal that holds these; JournalError if the directory is not empty."""
    with _named(path), closing(Directory.make(path)) as directory:
        directory.lock()
        if directory.names():
            raise JournalError("it is not empty: name a new directory")
        now = time.time_ns()
        engine = RecordingEngine(now)
        engine.restore(*contents, now)
        draw = SystemRandom().getrandbits
        _close(new_journal(directory, engine, skew=_no_skew, draw=draw, tell=tell))


def compact_journal(path: Path, tell: Callable[[str], None]) -> Compacted:
    """Write a journal anew that no server is using, without all that is not needed."""
    with _named(path), closing(Directory(path)) as directory:
        directory.lock()
        now = time.time_ns()
        engine = RecordingEngine(now)
        draw = SystemRandom().getrandbits
        journal, found = open_journal(directory, engine, now, skew=_no_skew, draw=draw, tell=tell)
        before = sum(segment.size for segment in found.segments)
        after = journal.compact_all()
        _close(journal)
    return Compacted(before, after)


def _no_skew() -> int:
    """No time passes for an engine that carries nothing out."""
    return 0


def _close(journal: Journal) -> None:
    if not journal.close(time.time_ns()):
        raise JournalError("it could not be written")
