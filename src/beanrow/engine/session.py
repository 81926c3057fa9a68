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
    ``words`` of our extensions are those it has switched on, ``owner`` is the caller's own.
    With a ``token`` it keeps its jobs for its ``grace`` when its connection is lost: then
    ``absent_until`` is when that is over, else 0.
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
        "owner",
        "replies",
        "soonest",
        "token",
        "used",
        "wait_until",
        "waiting",
        "watched",
        "words",
    )

    def __init__(self, tube: Tube) -> None:
        self.used = tube
        self.watched = [tube]
        self.held: dict[int, Job] = {}  # in the order of their reservation
        self.soonest = NEVER  # no held job's ttr ends before this; it may be too early
        self.waiting = False
        self.wait_until = NEVER
        self.alarm = NEVER
        self.is_producer = False
        self.is_worker = False
        self.half_closed = False
        self.closing = False
        self.replies: list[bytes] = []
        self.words: frozenset[str] = frozenset()
        self.token = ""
        self.grace = 0
        self.absent_until = 0
        self.owner: object | None = None
