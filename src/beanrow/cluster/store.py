"""What a gateway asks of the machines that have the jobs, and what may go wrong.

Laws:
- A method is one transition, whole or not at all. What is asked in one turn of the loop goes out
  together, in order for each partition: that, not the engine, is what makes it fast.
- A failure tells what is known: ``Unavailable`` did nothing, ``OutcomeUnknown`` may have done it.
- Times are what is left until then, in milliseconds of the engine's clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from beanrow.cluster.layout import Given, Layout, Record
from beanrow.errors import StoreError
from beanrow.protocol.requests import Put, PutUnique

__all__ = [
    "Beat",
    "Gateway",
    "Head",
    "Nothing",
    "OutOfRoom",
    "OutcomeUnknown",
    "Overview",
    "Store",
    "TubeFigures",
    "Unavailable",
]


class Unavailable(StoreError):
    """Nobody has the partition now; nothing was done."""


class OutcomeUnknown(StoreError):
    """The connection broke, or too few replicas answered: it may have been done, and last or not."""


class OutOfRoom(StoreError):
    """The engine has no memory for it; nothing was done."""


class Nothing(NamedTuple):
    """No job is ready. ``patience`` is when one may be, None if nothing will become due."""

    patience: int | None


class Head(NamedTuple):
    """The first ready job of a tube."""

    priority: int
    id: int
    tube: str


class TubeFigures(NamedTuple):
    """What the store counts of a tube. ``pause`` in seconds, ``pause_left`` in milliseconds."""

    urgent: int
    ready: int
    reserved: int
    delayed: int
    buried: int
    total: int
    deletes: int
    pauses: int
    pause: int
    pause_left: int

    @property
    def jobs(self) -> int:
        """All jobs of the tube."""
        return self.ready + self.reserved + self.delayed + self.buried


class Overview(NamedTuple):
    """A partition: jobs whose ttr ended, and each tube's gauges (those before ``total``)."""

    timeouts: int
    tubes: dict[str, tuple[int, int, int, int, int]]


class Beat(NamedTuple):
    """An answer to a heartbeat: whether all drain, and which dead gateways are the caller's."""

    draining: bool
    to_reap: list[int]


class Gateway(NamedTuple):
    """A gateway that lives: its number, how long ago it was heard of, what it tells of itself."""

    number: int
    silent: int
    facts: bytes


class Store(Protocol):
    """The jobs, wherever they are. ``owner`` is 8 bytes, 4 of the gateway and 4 of its connection."""

    layout: Layout

    # -- jobs ---------------------------------------------------------------------

    def put(self, tube: str, jobs: Sequence[Put]) -> Awaitable[list[int]]:
        """Add jobs to a tube, all or none; their ids in order."""

    def put_unique(self, tube: str, job: PutUnique) -> Awaitable[tuple[int, bool]]:
        """Add a job unless its key is taken; the id of that key's job, and whether it is new."""

    def find_unique(self, tube: str, key: str) -> Awaitable[int | None]:
        """Give the id of the job that was put under a key that is taken."""

    def reserve(
        self, partition: int, owner: bytes, tubes: Sequence[str], gateway: int | None
    ) -> Awaitable[Given | Nothing]:
        """Reserve the best job of tubes of one partition; if there is none the gateway waits."""

    def heads(
        self, partition: int, tubes: Sequence[str], gateway: int | None
    ) -> Awaitable[tuple[int | None, list[Head]]]:
        """Give the patience of a partition and the first jobs of tubes; it waits for the others."""

    def reserve_job(self, job_id: int, owner: bytes) -> Awaitable[Given | None]:
        """Reserve this job unless it is reserved."""

    def delete(self, job_id: int, owner: bytes) -> Awaitable[bool | str]:
        """Delete a job; the name of its tube instead of True if that has no job now."""

    def release(self, job_id: int, owner: bytes, priority: int, delay: int) -> Awaitable[bool]:
        """Put back a job that the owner holds."""

    def bury(self, job_id: int, owner: bytes, priority: int) -> Awaitable[bool]:
        """Set aside a job that the owner holds."""

    def touch(self, job_id: int, owner: bytes) -> Awaitable[int]:
        """Start the ttr of a job that the owner holds anew; that ttr, 0 if it does not hold it."""

    def let_go(self, partition: int, owner: bytes, jobs: Sequence[int]) -> Awaitable[None]:
        """Make ready again what of these the owner holds, as if it had never had them."""

    def kick(self, tube: str, bound: int, kind: str) -> Awaitable[tuple[int, str]]:
        """Kick a share of the jobs of one kind; "" finds out which. How many, and which kind."""

    def kick_job(self, job_id: int) -> Awaitable[bool]:
        """Kick a buried or delayed job."""

    def truncate(self, tube: str) -> Awaitable[int]:
        """Delete a share of the jobs that nobody holds; 0 when there is none left."""

    # -- looking ------------------------------------------------------------------

    def peek(self, job_id: int) -> Awaitable[Given | None]:
        """Give a job."""

    def peek_first(self, tube: str, kind: str) -> Awaitable[Given | None]:
        """Give the first job of a kind: "r", "d" or "b"."""

    def look(self, job_id: int) -> Awaitable[tuple[Record, int] | None]:
        """Give a job without its body, and the engine's time."""

    def ids(self, tube: str, state: str) -> Awaitable[list[int]]:
        """Give the ids of the jobs in a state, sorted; of reserved ones also those of other tubes."""

    def look_at(
        self, jobs: Sequence[int]
    ) -> Awaitable[tuple[list[tuple[Record, int] | None], int]]:
        """Give jobs of one partition, None for what is gone, with their size, and the engine's time."""

    def stats_tube(self, tube: str) -> Awaitable[TubeFigures]:
        """Count a tube."""

    def overviews(self) -> Awaitable[list[Overview]]:
        """Count all tubes of each partition."""

    def pause(self, tube: str, seconds: int, referenced: bool) -> Awaitable[bool]:
        """Pause a tube; False if it has no jobs and nobody refers to it."""

    def prune(self, tube: str) -> Awaitable[None]:
        """Forget a tube to which nobody refers, if it has no jobs."""

    # -- who waits, and gateways --------------------------------------------------

    def listen(self, gateway: int, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with the tube whenever a job is ready there for this gateway."""

    def pass_on(self, tube: str) -> Awaitable[None]:
        """Wake another gateway if a job is ready: this one has nobody who waits."""

    def tick(self, partition: int) -> Awaitable[int | None]:
        """Let pass what is due; the patience of the partition."""

    def join(self) -> Awaitable[int]:
        """Give a number that no gateway has had."""

    def beat(self, gateway: int, facts: bytes) -> Awaitable[Beat | None]:
        """Tell that a gateway lives; None if it has been given up."""

    def reap(self, partition: int, prefix: bytes) -> Awaitable[None]:
        """Make ready again all that owners that begin so hold in a partition."""

    def leave(self, gateway: int) -> Awaitable[None]:
        """Forget a gateway that holds nothing, all but its counts."""

    def gateways(self) -> Awaitable[tuple[list[Gateway], dict[str, int]]]:
        """Give the gateways that live, and the sums of what the others had counted."""

    def drain(self, on: bool) -> Awaitable[None]:
        """Have all gateways refuse puts, or take them again."""
