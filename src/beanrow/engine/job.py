"""A job as the engine keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, overload

if TYPE_CHECKING:
    from beanrow.engine.session import Session
    from beanrow.engine.tube import Tube

__all__ = ["BURIED", "DELAYED", "DELETED", "READY", "RESERVED", "Job", "State", "new_job"]

State = Literal["ready", "reserved", "delayed", "buried", "deleted"]

READY: Final = "ready"
RESERVED: Final = "reserved"
DELAYED: Final = "delayed"
BURIED: Final = "buried"
DELETED: Final = "deleted"
"""Never seen by a client: it marks entries of queues that are taken out later."""


class _Rarities:
    """Those figures of a job that are 0 for nearly every one."""

    __slots__ = ("buries", "delay", "kicks", "releases", "timeouts")

    def __init__(self) -> None:
        self.delay: int = 0
        self.timeouts: int = 0
        self.releases: int = 0
        self.buries: int = 0
        self.kicks: int = 0


_NONE = _Rarities()
"""Shared by all jobs that have none, and never written to: saves 32 bytes a job."""


class _Rare:
    """One of these figures, as an attribute of the job."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, job: None, owner: type) -> _Rare: ...
    @overload
    def __get__(self, job: Job, owner: type) -> int: ...
    def __get__(self, job: Job | None, owner: type) -> _Rare | int:
        if job is None:
            return self
        figure: int = getattr(job.rarities, self._name)
        return figure

    def __set__(self, job: Job, figure: int) -> None:
        if job.rarities is _NONE:
            if not figure:
                return
            job.rarities = _Rarities()
        setattr(job.rarities, self._name, figure)


class Job:
    """One job. ``delay`` and ``ttr`` in seconds, ``created`` and ``deadline`` in nanoseconds.

    ``deadline`` is when the delay of a delayed or the ttr of a reserved job ends. Of a buried
    job it is its place among the burials, and it means nothing in a ready one. ``since`` is when a
    ready job became so, or when a reserved one was handed out. ``file`` is the number of the
    journal's file that holds the job, 0 without a journal.
    """

    id: int
    tube: Tube
    priority: int
    ttr: int
    body: bytes
    created: int
    state: State
    deadline: int
    file: int
    reserves: int
    holder: Session | None
    rarities: _Rarities

    __slots__ = (
        "body",
        "created",
        "deadline",
        "file",
        "holder",
        "id",
        "priority",
        "rarities",
        "reserves",
        "since",
        "state",
        "ttr",
        "tube",
    )

    since: int
    delay: _Rare = _Rare()
    timeouts: _Rare = _Rare()
    releases: _Rare = _Rare()
    buries: _Rare = _Rare()
    kicks: _Rare = _Rare()

    def __repr__(self) -> str:
        return f"<job {self.id}, {self.state}, priority {self.priority}, in {self.tube.name}>"


_new = object.__new__


def new_job(
    id: int, tube: Tube, priority: int, delay: int, ttr: int, body: bytes, created: int
) -> Job:
    """Make a job that is ready and has never been anything else.

    A function, since there is one for each put: called by its class Python takes 60 ns longer.
    """
    job = _new(Job)
    job.id = id
    job.tube = tube
    job.priority = priority
    job.ttr = ttr
    job.body = body
    job.created = job.since = created
    job.state = READY
    job.deadline = job.file = job.reserves = 0
    job.holder = None
    job.rarities = _NONE
    if delay:
        job.delay = delay
    return job
