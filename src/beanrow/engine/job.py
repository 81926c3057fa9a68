"""A job as the engine keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from beanrow.engine.session import Session
    from beanrow.engine.tube import Tube

__all__ = ["BURIED", "DELAYED", "DELETED", "READY", "RESERVED", "Job", "State"]

State = Literal["ready", "reserved", "delayed", "buried", "deleted"]

READY: Final = "ready"
RESERVED: Final = "reserved"
DELAYED: Final = "delayed"
BURIED: Final = "buried"
DELETED: Final = "deleted"
"""Never seen by a client: it marks entries of queues that are taken out later."""


class Job:
    """One job. ``delay`` and ``ttr`` in seconds, ``created`` and ``deadline`` in nanoseconds.

    ``deadline`` is when the delay of a delayed or the ttr of a reserved job ends. Of a buried
    job it is its place among the burials, and it means nothing in a ready one. ``since`` is when a
    ready job became so, or when a reserved one was handed out. ``file`` is the number of the
    journal's file that holds the job, 0 without a journal.
    """

    __slots__ = (
        "body",
        "buries",
        "created",
        "deadline",
        "delay",
        "file",
        "holder",
        "id",
        "kicks",
        "priority",
        "releases",
        "reserves",
        "since",
        "state",
        "timeouts",
        "ttr",
        "tube",
    )

    since: int

    def __init__(
        self, id: int, tube: Tube, priority: int, delay: int, ttr: int, body: bytes, created: int
    ) -> None:
        self.id: int = id
        self.tube: Tube = tube
        self.priority: int = priority
        self.delay: int = delay
        self.ttr: int = ttr
        self.body: bytes = body
        self.created: int = created
        self.state: State = READY
        self.deadline: int = 0
        self.file: int = 0
        self.holder: Session | None = None
        self.reserves: int = 0
        self.timeouts: int = 0
        self.releases: int = 0
        self.buries: int = 0
        self.kicks: int = 0

    def __repr__(self) -> str:
        return f"<job {self.id}, {self.state}, priority {self.priority}, in {self.tube.name}>"
