"""A queue of this process: an engine, and the journal that keeps it if it has a directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from beanrow.engine.counters import HostFacts
from beanrow.engine.limited import UNBOUNDED, LimitedRecordingEngine, Room
from beanrow.engine.recording import RecordingEngine
from beanrow.errors import JournalError
from beanrow.journal.disk import Directory
from beanrow.journal.journal import Journal
from beanrow.journal.opening import open_journal
from beanrow.server.log import Log

__all__ = ["Data", "KeptQueue"]

_MOST_TOLD = 20
"""Lines of damage that are told at the start; `beanrow journal check` tells all."""


class Data(NamedTuple):
    """Where and how jobs are kept.

    ``sync_after`` is the nanoseconds that a promise may go unsynced, 0 for none, None for as
    long as the system likes; ``size`` the bytes a journal may take beyond twice its jobs.
    """

    path: Path
    sync_after: int | None
    size: int


class KeptQueue:
    """An engine and its journal in a directory that is ours until ``close``.

    JournalError, telling what to do, if the directory cannot be used.
    """

    def __init__(
        self,
        data: Data,
        clock: Callable[[], int],
        *,
        room: Room,
        max_job_size: int,
        host: Callable[[], HostFacts],
        log: Log,
    ) -> None:
        self._path = data.path
        self._log = log
        self._clock = clock
        self._directory: Directory | None = None
        try:
            self._directory = Directory.make(data.path)
            self._directory.lock()
            now = clock()
            if room == UNBOUNDED:
                self.engine: RecordingEngine = RecordingEngine(
                    now, max_job_size=max_job_size, host=host
                )
            else:
                self.engine = LimitedRecordingEngine(
                    now, room=room, max_job_size=max_job_size, host=host
                )
            self.journal: Journal
            self.journal, found = open_journal(
                self._directory,
                self.engine,
                now,
                skew=lambda: time.time_ns() - clock(),
                draw=SystemRandom().getrandbits,
                tell=self._tell,
                size=data.size,
                sync_after=data.sync_after,
            )
        except JournalError as error:
            self._let_go()
            raise JournalError(f"{data.path}: {error}") from error
        for line in [*found.notes, *found.damage][:_MOST_TOLD]:
            self._tell(line)
        if len(found.damage) > _MOST_TOLD:
            self._tell(f"{len(found.damage)} damages in all: 'beanrow journal check' tells them")

    def _tell(self, line: str) -> None:
        self._log.tell("journal", f"{self._path}: {line}", level="warning")

    def close(self) -> bool:
        """End the journal in order; False, and told, if the disk does not take the last of it."""
        try:
            return self.journal.close(self._clock())
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._directory is not None:
            self._directory.close()
