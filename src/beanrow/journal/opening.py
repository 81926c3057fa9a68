"""How a journal is opened, what it holds going into an engine; and how one is made."""

from __future__ import annotations

from collections.abc import Callable

from beanrow.engine.recording import RecordingEngine
from beanrow.errors import JournalError
from beanrow.journal.disk import Disk
from beanrow.journal.journal import Journal
from beanrow.journal.recovery import Recovered, Unsure, recover
from beanrow.journal.space import Space
from beanrow.journal.writer import Writer

__all__ = ["DEFAULT_SIZE", "new_journal", "open_journal"]

DEFAULT_SIZE = 10 * 1024 * 1024
"""Bytes that a journal may take beyond twice its jobs, as the daemon's -s."""
_FILES = 5
_SMALLEST_FILE = 64 * 1024


def open_journal(
    disk: Disk,
    engine: RecordingEngine,
    now: int,
    *,
    skew: Callable[[], int],
    draw: Callable[[int], int],
    tell: Callable[[str], None],
    size: int = DEFAULT_SIZE,
    sync_after: int | None = 0,
) -> tuple[Journal, Recovered]:
    """Fill an engine that is still empty from a journal, and go on with it.

    ``size`` is what the journal may take beyond twice its jobs, in bytes (never less than
    320 KiB); ``draw(bits)`` gives random numbers; the rest is as for ``Journal``.
    JournalError, telling what to do, if it cannot be read or written.
    """
    try:
        recovered = recover(disk, engine, now, skew())
        space = _space(disk, size)
        for segment in recovered.segments:
            segment.synced_jobs = len(segment.jobs)
            space.append(segment)
        journal = Journal(
            engine,
            space,
            Writer(space, draw),
            recovered.known,
            sync_after=sync_after,
            skew=skew,
            tell=tell,
        )
        journal.begin(recovered.unsure)
    except OSError as error:
        raise JournalError(f"it cannot be used: {error.strerror or error}") from error
    return journal, recovered


def new_journal(
    disk: Disk,
    engine: RecordingEngine,
    *,
    skew: Callable[[], int],
    draw: Callable[[int], int],
    tell: Callable[[str], None],
) -> Journal:
    """Make a journal, in an empty directory, that holds what an engine does.

    As for ``open_journal``; JournalError if it cannot be written.
    """
    space = _space(disk, DEFAULT_SIZE)
    journal = Journal(engine, space, Writer(space, draw), {}, sync_after=0, skew=skew, tell=tell)
    try:
        journal.begin(
            Unsure(set(engine.jobs), set(engine.tubes), list(engine.keys.by_name.values()))
        )
    except OSError as error:
        raise JournalError(f"it cannot be written: {error.strerror or error}") from error
    return journal


def _space(disk: Disk, size: int) -> Space:
    space = Space(disk, max(size // _FILES, _SMALLEST_FILE))
    space.adopt_spares()
    return space
