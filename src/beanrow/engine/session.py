"""A session: what the engine knows of one connection."""

from __future__ import annotations

from beanrow.engine.job import Job
from beanrow.engine.timers import NEVER
from beanrow.engine.tube import Tube

__all__ = ["Session"]


class Session:
    """One connection's side of the queue. Times in nanoseconds.

    ``replies`` are those that are to be said, in order; the engine's ``outbox`` lists
    the sessions that have some. While ``waiting`` the caller passes no request;
    once ``closing`` it says the replies, closes the connection and calls ``close``.
    ``number`` is its place among all that ever came, ``peer`` where it comes from and ``name`` what
    it calls itself, for those who look. ``words`` of our extensions are those it has switched on,
    ``owner`` is the caller's own. With a ``token`` it keeps its jobs for its ``grace`` when its
    connection is lost: then ``absent_until`` is when that is over, else 0.
    """

    __slots__ = (
        "absent_until",
        "alarm",
        "closing",
        "grace",
        "half_closed",
        "held",
        "is_producer",
        "is_worker",
        "name",
        "number",
        "owner",
        "peer",
        "replies",
        "soonest",
        "token",
        "used",
        "wait_until",
        "waiting",
        "watched",
        "words",
    )

    def __init__(self, tube: Tube, number: int) -> None:
        self.number: int = number
        self.peer: str = ""
        self.name: str = ""
        self.used: Tube = tube
        self.watched: list[Tube] = [tube]
        self.held: dict[int, Job] = {}  # in the order of their reservation
        self.soonest: int = NEVER  # no held job's ttr ends before this; it may be too early
        self.waiting: bool = False
        self.wait_until: int = NEVER
        self.alarm: int = NEVER
        self.is_producer: bool = False
        self.is_worker: bool = False
        self.half_closed: bool = False
        self.closing: bool = False
        self.replies: list[bytes] = []
        self.words: frozenset[str] = frozenset()
        self.token: str = ""
        self.grace: int = 0
        self.absent_until: int = 0
        self.owner: object | None = None
