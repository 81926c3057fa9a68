"""What a gateway tells of the queue: the requests that change nothing.

Laws:
- Of jobs and tubes the store is asked each time; what other gateways tell of their connections may be
  a second old.
- A spread tube is counted and listed as one.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_right
from collections.abc import Callable

from beanrow.cluster.figures import Facts, Figures, referenced, server_stats, tube_stats
from beanrow.cluster.layout import Given, job_stats
from beanrow.cluster.membership import Event, Membership
from beanrow.cluster.session import Listing, References, Session
from beanrow.cluster.spread import Spread
from beanrow.cluster.store import Store, TubeFigures
from beanrow.engine.counters import HostFacts
from beanrow.protocol import replies, requests
from beanrow.protocol.capabilities import JOBS_WITH_TUBE, MORE_STATS
from beanrow.protocol.listing import ListedJob, write_page
from beanrow.protocol.stats import write_list

__all__ = ["Looking"]

_FRESH_SECONDS = 1.0
"""How old may be what other gateways tell of themselves."""


class Looking:
    """The looking half of ``Backend``, over the store that both ask.

    ``name`` is told to other gateways, ``hear`` hears what happens among them.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        max_job_size: int,
        host: Callable[[], HostFacts],
        hear: Callable[[Event, int], None],
    ) -> None:
        self.store = store
        self.max_job_size = max_job_size
        self.draining: bool = False
        self.figures: Figures = Figures()
        self.references: References = References()
        self.members: Membership = Membership(store, self._write_facts, hear)
        self._name = name
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._spread = Spread(store.layout)
        self._others: tuple[list[Facts], dict[str, int]] = ([], {})
        self._others_at = -_FRESH_SECONDS

    @property
    def is_draining(self) -> bool:
        """Whether puts are refused: by this gateway, or by all."""
        return self.draining or self.members.draining

    # -- jobs ---------------------------------------------------------------------

    async def _peek(self, session: Session, request: requests.Peek) -> bytes:
        return _found(await self.store.peek(request.id), session)

    async def _peek_first(self, session: Session, kind: str) -> bytes:
        """Look at the first job, of a spread tube at that of the first partition that has one."""
        tube = session.used
        for partition in self._spread.places(tube):
            job = await self.store.peek_first(partition, tube, kind)
            if job is not None:
                return _found(job, session)
        return replies.NOT_FOUND

    async def _peek_ready(self, session: Session, request: requests.PeekReady) -> bytes:
        return await self._peek_first(session, "r")

    async def _peek_delayed(self, session: Session, request: requests.PeekDelayed) -> bytes:
        return await self._peek_first(session, "d")

    async def _peek_buried(self, session: Session, request: requests.PeekBuried) -> bytes:
        return await self._peek_first(session, "b")

    # -- counting -----------------------------------------------------------------

    def _facts(self) -> Facts:
        return Facts.of_gateway(self._name, self.draining, self.figures, self.references)

    def _write_facts(self) -> bytes:
        return self._facts().write()

    async def _gather_facts(self) -> tuple[list[Facts], dict[str, int]]:
        """Give what all gateways tell, this one first, and the sums of those that are gone."""
        if self._loop.time() - self._others_at > _FRESH_SECONDS:
            begun = self._loop.time()
            living, before = await self.store.gateways()
            others = [one for one in living if one.number != self.members.number]
            self._others = Facts.read(others), before
            self._others_at = begun
        others_facts, before = self._others
        return [self._facts(), *others_facts], before

    async def _everybody(self) -> list[Facts]:
        return (await self._gather_facts())[0]

    async def _stats(self, session: Session, request: requests.Stats) -> bytes:
        overviews = await self.store.overviews()
        everybody, before = await self._gather_facts()
        stats = server_stats(
            overviews,
            everybody,
            before,
            self._host(),
            max_job_size=self.max_job_size,
            uptime=int(self._loop.time() - self._started),
            draining=self.is_draining,
            more=MORE_STATS in session.words,
        )
        return replies.ok(stats.write())

    async def _stats_tube(self, session: Session, request: requests.StatsTube) -> bytes:
        figures = await self._count(request.tube)
        everybody = await self._everybody()
        if not figures.jobs and request.tube not in referenced(everybody):
            return replies.NOT_FOUND
        return replies.ok(tube_stats(request.tube, figures, everybody).write())

    async def _count(self, tube: str) -> TubeFigures:
        """Count a tube, a spread one over all its partitions; a pause is the same in each."""
        places = self._spread.places(tube)
        counts = [await self.store.stats_tube(partition, tube) for partition in places]
        if len(counts) == 1:
            return counts[0]
        *sums, _, _, _ = (sum(column) for column in zip(*counts, strict=True))
        return TubeFigures(*sums, *(max(column) for column in list(zip(*counts, strict=True))[-3:]))

    async def _exists(self, tube: str) -> bool:
        if self.references.to(tube) or (await self._count(tube)).jobs:
            return True
        return tube in referenced(await self._everybody())

    async def _stats_job(self, session: Session, request: requests.StatsJob) -> bytes:
        found = await self.store.look(request.id)
        if found is None:
            return replies.NOT_FOUND
        return replies.ok(job_stats(request.id, *found).write())

    async def _list_tubes(self, session: Session, request: requests.ListTubes) -> bytes:
        tubes = referenced(await self._everybody())
        for overview in await self.store.overviews():
            tubes |= {tube for tube, figures in overview.tubes.items() if any(figures[1:])}
        return replies.ok(write_list(sorted(tubes)))

    def _list_tubes_watched(self, session: Session, request: requests.ListTubesWatched) -> bytes:
        return replies.ok(write_list(session.watched))

    def _list_tube_used(self, session: Session, request: requests.ListTubeUsed) -> bytes:
        return replies.using(session.used)

    async def _list_jobs(self, session: Session, request: requests.ListJobs) -> bytes:
        """List from a sorted list of ids that is made once for all pages: the store has none."""
        tube, state, after, limit = request
        if not await self._exists(tube):
            return replies.NOT_FOUND
        listing = session.listing
        if not after or listing is None or listing[:2] != (tube, state):
            places = self._spread.places(tube)
            ids = [await self.store.ids(partition, tube, state) for partition in places]
            listing = Listing(tube, state, sorted(itertools.chain(*ids)))
        session.listing = listing
        first = bisect_right(listing.ids, after)
        looked_at = listing.ids[first : first + limit]
        listed = []
        for partition, some in itertools.groupby(
            sorted(looked_at, key=self.store.layout.of_job), self.store.layout.of_job
        ):
            of_partition = list(some)
            jobs, now = await self.store.look_at(partition, of_partition)
            for job_id, found in zip(of_partition, jobs, strict=True):
                if found is not None and (found[0].tube, found[0].state) == (tube, state):
                    stats = job_stats(job_id, found[0], now)
                    listed.append(ListedJob(**stats.__dict__, bytes=found[1]))
        listed.sort(key=lambda job: job.id)
        if first + limit < len(listing.ids):
            return replies.ok(write_page(listed, looked_at[-1]))
        session.listing = None
        return replies.ok(write_page(listed, None))


def _found(job: Given | None, session: Session) -> bytes:
    if job is None:
        return replies.NOT_FOUND
    if JOBS_WITH_TUBE in session.words:
        return replies.found_in(job.tube, job.id, job.body)
    return replies.found(job.id, job.body)
