"""How a journal is opened: what it holds goes into an engine, and a new segment begins."""

from __future__ import annotations

from collections.abc import Callable

from beanrow.engine.recording import RecordingEngine
from beanrow.errors import JournalError
from beanrow.journal.disk import Disk
from beanrow.journal.journal import Journal
from beanrow.journal.recovery import Recovered, recover
from beanrow.journal.space import Space
from beanrow.journal.writer import Writer

__all__ = ["DEFAULT_SIZE", "open_journal"]

DEFAULT_SIZE = 10 * 1024 * 1024
"""Bytes that a journal may take beyond twice its jobs, as the daemon's -s."""
_FILES = 5
_SMALLEST_FILE = 64 * 1024


def open_journal(
    disk: Disk,
    engine: RecordingEngine,
    now: int,
    *,
    wall: Callable[[], int],
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
        recovered = recover(disk, engine, now, wall() - now)
        space = Space(disk, max(size // _FILES, _SMALLEST_FILE))
        space.adopt_spares()
        for segment in recovered.segments:
            segment.synced_jobs = len(segment.jobs)
            space.append(segment)
        journal = Journal(
            engine,
            space,
            Writer(space, draw),
            recovered.known,
            sync_after=sync_after,
            wall=wall,
            tell=tell,
        )
        journal.begin(recovered.unsure, now)
    except OSError as error:
        raise JournalError(f"cannot use the journal: {error.strerror or error}") from error
    return journal, recovered
