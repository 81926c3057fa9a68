"""What is told of a queue to whoever remembers it, and taken back from him."""

from __future__ import annotations

from typing import NamedTuple

from beanrow.engine.job import Job
from beanrow.engine.keys import Key

__all__ = ["Changes", "TubeRecord"]


class Changes(NamedTuple):
    """What has changed since it was last asked: the jobs as they are now, not what happened to them.

    New jobs are those with an id from ``first_id`` below ``next_id`` that still exist;
    ``jobs`` are older ones, or new ones that have been on their way already, and those
    that were deleted. ``keys`` are those that new jobs were put under. ``tubes`` names tubes whose pause or counts are not told by their
    jobs. ``promised`` tells whether a reply promises any of it to a client.
    """

    first_id: int
    next_id: int
    jobs: dict[int, Job]
    tubes: set[str]
    keys: list[Key]
    promised: bool


class TubeRecord:
    """What is remembered of a tube. ``pause`` in seconds, ``paused_until`` in nanoseconds."""

    __slots__ = ("cmd_delete", "cmd_pause_tube", "name", "pause", "paused_until", "total_jobs")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.pause: int = 0
        self.paused_until: int = 0
        self.total_jobs: int = 0
        self.cmd_delete: int = 0
        self.cmd_pause_tube: int = 0
