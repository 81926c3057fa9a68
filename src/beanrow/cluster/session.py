"""A session: what a gateway knows of one of its connections, and what all of them refer to.

Law: of a job only its id and the end of its lease are known here; the rest is in the store.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beanrow.cluster.waiting import Waiter

__all__ = ["DEFAULT_TUBE", "Listing", "References", "Session"]

_MARGIN = 1.0
"""A reserve is answered DEADLINE_SOON when a held job has no more than this left, in seconds."""
DEFAULT_TUBE = "default"


class Listing(NamedTuple):
    """The jobs that a connection goes through by ``list-jobs``: their ids, sorted."""

    tube: str
    state: str
    ids: list[int]


class Session:
    """One connection's side of the queue. Times in seconds of the loop's clock.

    ``owner`` is what its leases are held under, ``doubtful`` are partitions where it may hold a job
    that it does not know of, ``words`` those of our extensions that it has switched on, ``waiter`` its reserve that waits.
    """

    __slots__ = (
        "doubtful",
        "gone",
        "half_closed",
        "held",
        "is_producer",
        "is_worker",
        "listing",
        "owner",
        "places",
        "used",
        "waiter",
        "watched",
        "words",
    )

    def __init__(self, owner: bytes) -> None:
        self.owner: bytes = owner
        self.used: str = DEFAULT_TUBE
        self.watched: list[str] = [DEFAULT_TUBE]
        self.places: dict[int, list[str]] | None = None  # the watched tubes by partition
        self.held: dict[int, float] = {}  # in the order of their reservation
        self.doubtful: set[int] = set()
        self.words: frozenset[str] = frozenset()
        self.is_producer: bool = False
        self.is_worker: bool = False
        self.waiter: Waiter | None = None
        self.listing: Listing | None = None
        self.half_closed: bool = False
        self.gone: bool = False

    def warning_at(self, now: float) -> float | None:
        """Tell when the first lease has no more than a second left; None without leases."""
        held = self.held
        if not held:
            return None
        soonest = min(held.values())
        if soonest <= now:  # it is over: the store gives the job to others
            for job_id in [one for one, end in held.items() if end <= now]:
                del held[job_id]
            return self.warning_at(now)
        return soonest - _MARGIN


class References:
    """How many connections use, watch and await each tube."""

    def __init__(self) -> None:
        self.using: Counter[str] = Counter()
        self.watching: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()

    def to(self, tube: str) -> bool:
        """Tell whether anybody uses or watches a tube."""
        return tube in self.using or tube in self.watching

    @staticmethod
    def drop(counter: Counter[str], tube: str) -> None:
        """Count one reference less."""
        counter[tube] -= 1
        if not counter[tube]:
            del counter[tube]
