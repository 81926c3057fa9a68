"""What each request of the protocol does: asks the store, and remembers what a connection needs.

Laws:
- No state of a job is kept here, so any gateway does for any client, and may go at any time.
- A handler gives the reply, or a coroutine of it where the store has to be asked. What the store
  fails at is told by the error words of the protocol; what nobody knows the outcome of is told by
  none (``OutcomeUnknown``): the connection is closed.
- Time is the engine's; the clock of the loop only says when to ask again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from beanrow.cluster.figures import referenced
from beanrow.cluster.layout import Given
from beanrow.cluster.looking import Looking
from beanrow.cluster.membership import Event
from beanrow.cluster.session import DEFAULT_TUBE, References, Session
from beanrow.cluster.store import Head, Nothing, OutcomeUnknown, Store
from beanrow.cluster.waiting import Board, Waiter
from beanrow.engine.counters import HostFacts
from beanrow.errors import StoreError
from beanrow.protocol import replies, requests
from beanrow.protocol.capabilities import (
    JOBS_WITH_TUBE,
    LIST_JOBS,
    MORE_STATS,
    PUT_IN_TUBE,
    PUT_UNIQUE,
    TRUNCATE,
)
from beanrow.protocol.stats import write_list

__all__ = ["Backend", "Reply"]

Reply = bytes | Coroutine[Any, Any, bytes]
Handler = Callable[[Session, Any], Reply]
T = TypeVar("T")

_POLL_SECONDS = 1.0
"""How long a word of a ready job may be lost: with the gateway that got it, or in a failover."""
_RETRY_SECONDS = 1.0
_LONGEST_SECONDS = 3600.0
"""Of an alarm: a ttr may be 136 years."""
_LAST = 2**32
"""Behind every priority: a partition whose last job was taken is asked when no other has one."""
_CAPABILITIES = frozenset(
    {JOBS_WITH_TUBE, LIST_JOBS, MORE_STATS, PUT_IN_TUBE, PUT_UNIQUE, TRUNCATE}
)
_COUNTED = {"put": requests.PutUnterminated, "pause-tube": requests.PauseTube}
"""Which count a malformed line moves all the same."""


class Backend(Looking):
    """The queue of a gateway. ``start`` it before anything is asked of it.

    ``name`` is told to other gateways, ``told`` hears what happens among them.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        max_job_size: int,
        host: Callable[[], HostFacts],
        told: Callable[[Event, int], None],
        fault: Callable[[BaseException], None],
    ) -> None:
        super().__init__(
            store, name=name, max_job_size=max_job_size, host=host, hear=self._hear_of_gateways
        )
        self._told = told
        self._fault = fault
        self._tasks: set[asyncio.Task[None]] = set()
        self._board = Board(self._attempt, self._pass_on, self._spawn)
        self._serial = 0
        self._epoch = 0  # of what is known of spread tubes
        self._alarms: dict[int, asyncio.TimerHandle] = {}
        self._unused: set[str] = set()  # tubes of which something may be left in the store
        self._dismiss: Callable[[], object] = str  # does nothing, until there are clients
        self._handlers = self._handler_table()

    def _handler_table(self) -> dict[type, Handler]:
        """What is not here is unknown: words that only our server has, and what is no command."""
        return {
            requests.PutTooBig: self._put_too_big,
            requests.PutUnterminated: self._put_unterminated,
            requests.Use: self._use,
            requests.Reserve: self._reserve,
            requests.ReserveWithTimeout: self._reserve_with_timeout,
            requests.ReserveJob: self._reserve_job,
            requests.Delete: self._delete,
            requests.Release: self._release,
            requests.Bury: self._bury,
            requests.Touch: self._touch,
            requests.Watch: self._watch,
            requests.Ignore: self._ignore,
            requests.Peek: self._peek,
            requests.PeekReady: self._peek_ready,
            requests.PeekDelayed: self._peek_delayed,
            requests.PeekBuried: self._peek_buried,
            requests.Kick: self._kick,
            requests.KickJob: self._kick_job,
            requests.Stats: self._stats,
            requests.StatsJob: self._stats_job,
            requests.StatsTube: self._stats_tube,
            requests.ListTubes: self._list_tubes,
            requests.ListTubeUsed: self._list_tube_used,
            requests.ListTubesWatched: self._list_tubes_watched,
            requests.PauseTube: self._pause_tube,
            requests.Capabilities: self._capabilities,
            requests.PutInTube: self._put_in_tube,
            requests.PutUnique: self._put_unique,
            requests.Truncate: self._truncate,
            requests.ListJobs: self._list_jobs,
            requests.BadFormat: self._bad_format,
        }

    # -- what the gateway calls ---------------------------------------------------

    async def start(self, dismiss: Callable[[], None]) -> None:
        """Join the other gateways. ``dismiss`` closes all clients: their leases are gone."""
        self._dismiss = dismiss
        await self.members.join()
        self.store.listen(self.members.number, self._hear)
        self._spawn(self.members.run())
        self._spawn(self._look_after_lost_words())

    async def stop(self) -> None:
        """Leave the other gateways, with nothing held; the clients must be closed by now."""
        for task in list(self._tasks):
            task.cancel()
        for alarm in self._alarms.values():
            alarm.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.members.beat()
        await self.members.reap(self.members.number)

    def open(self) -> Session:
        """Begin a session: it uses and watches the tube ``default``."""
        self._serial = self._serial + 1 & 0xFFFFFFFF
        owner = self.members.number.to_bytes(4, "big") + self._serial.to_bytes(4, "big")
        session = Session(owner)
        self.figures.connections += 1
        self.figures.total_connections += 1
        self.references.using[DEFAULT_TUBE] += 1
        self.references.watching[DEFAULT_TUBE] += 1
        return session

    def execute(self, session: Session, request: requests.Request) -> Reply:
        """Carry out one request, any but ``put`` and ``quit``; the reply, or a coroutine of it."""
        kind = request.__class__
        self.figures.requests[kind] += 1
        return self._handlers.get(kind, self._unknown)(session, request)

    async def put_all(self, session: Session, puts: Sequence[requests.Put]) -> bytes:
        """Put one job or several at once; their replies."""
        self.figures.requests[requests.Put] += len(puts)
        return await self._put_into(session.used, session, puts)

    def half_close(self, session: Session) -> None:
        """Note that the peer sends no more: no reserve of this session waits from now on."""
        session.half_closed = True
        if session.waiter is not None:
            self._board.end(session.waiter, replies.TIMED_OUT)

    def forsake(self, session: Session) -> None:
        """Note that the peer has gone: a reserve that waits ends, with a reply to nobody."""
        session.gone = True
        if session.waiter is not None:
            self._board.end(session.waiter, replies.TIMED_OUT)

    async def close(self, session: Session) -> None:
        """End a session: its jobs become ready again, in the order of their reservation."""
        self.figures.connections -= 1
        self.figures.producers -= session.is_producer
        self.figures.workers -= session.is_worker
        for tube in session.watched:
            self._unreference(self.references.watching, tube)
        self._unreference(self.references.using, session.used)
        places: dict[int, list[int]] = {}
        for job_id in session.held:
            places.setdefault(self.store.layout.of_job(job_id), []).append(job_id)
        for partition, held in places.items():
            await self._insist(lambda p=partition, h=held: self.store.let_go(p, session.owner, h))  # type: ignore[misc]
        for partition in session.doubtful:
            await self._insist(lambda p=partition: self.store.reap(p, session.owner))  # type: ignore[misc]

    async def _insist(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask until the store has done it."""
        while True:
            try:
                await ask()
            except StoreError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault(error)

    def _hear_of_gateways(self, event: Event, number: int) -> None:
        self._told(event, number)
        if event == "given-up":
            self._dismiss()
            self._spread.doubt()  # nobody waits anywhere under the new number
            self.store.listen(self.members.number, self._hear)
        elif event == "spread":
            self._spread.set(self.members.spread)
            self._epoch += 1

    def _hear(self, partition: int, tube: str) -> None:
        """Hear that a job is ready."""
        if tube in self._spread:
            self._spread.hear(tube, partition)
        self._board.wake(tube)

    # -- putting ------------------------------------------------------------------

    async def _put_into(self, tube: str, session: Session, puts: Sequence[requests.Put]) -> bytes:
        self._make_producer(session)
        if self.is_draining:
            return replies.DRAINING * len(puts)
        partition = self._spread.for_put(tube)
        ids = await self.store.put(partition, tube, puts)
        self.figures.jobs += len(ids)
        for put in puts:
            if put.delay:
                self._expect(partition, put.delay * 1000)
        return b"".join(map(replies.inserted, ids))

    def _put_too_big(self, session: Session, request: requests.PutTooBig) -> bytes:
        return replies.JOB_TOO_BIG

    def _put_unterminated(self, session: Session, request: requests.PutUnterminated) -> bytes:
        self._make_producer(session)
        return replies.EXPECTED_CRLF

    def _make_producer(self, session: Session) -> None:
        self.figures.producers += not session.is_producer
        session.is_producer = True

    async def _put_in_tube(self, session: Session, request: requests.PutInTube) -> bytes:
        await self._freshen(request.tube)
        return await self._put_into(request.tube, session, (requests.Put(*request[1:]),))

    async def _put_unique(self, session: Session, request: requests.PutUnique) -> bytes:
        self._make_producer(session)
        tube = session.used
        partition = self.store.layout.of_tube(tube)  # one for all keys, also of a spread tube
        if self.is_draining:
            known = await self.store.find_unique(partition, tube, request.key)
            return replies.DRAINING if known is None else replies.exists(known)
        job_id, is_new = await self.store.put_unique(partition, tube, request)
        if not is_new:
            return replies.exists(job_id)
        self.figures.jobs += 1
        if request.delay:
            self._expect(partition, request.delay * 1000)
        return replies.inserted(job_id)

    # -- reserving ----------------------------------------------------------------

    async def _reserve(self, session: Session, request: requests.Reserve) -> bytes:
        return await self._reserve_for(session, None)

    async def _reserve_with_timeout(
        self, session: Session, request: requests.ReserveWithTimeout
    ) -> bytes:
        return await self._reserve_for(session, request.timeout)

    async def _reserve_for(self, session: Session, seconds: int | None) -> bytes:
        self.figures.workers += not session.is_worker
        session.is_worker = True
        begun = self._loop.time()
        if seconds == 0 or session.half_closed:
            reply = await self._attempt(session, waits=False)
            return reply or self._warning(session) or replies.TIMED_OUT
        waiter = session.waiter = self._board.enter(session)
        try:
            reply = await self._board.ask(waiter) or self._warning(session) or waiter.answer
            return reply or await self._wait(waiter, None if seconds is None else begun + seconds)
        finally:
            session.waiter = None
            self._board.leave(waiter)

    def _warning(self, session: Session) -> bytes | None:
        at = session.warning_at(self._loop.time())
        return replies.DEADLINE_SOON if at is not None and at <= self._loop.time() else None

    async def _wait(self, waiter: Waiter, until: float | None) -> bytes:
        """Wait for a job, the end of the time, or a lease that is about to end."""
        session, waiting, end = waiter.session, self.references.waiting, self._board.end
        timers = []
        if until is not None:
            timers.append(self._loop.call_at(until, end, waiter, replies.TIMED_OUT))
        warning = session.warning_at(self._loop.time())
        if warning is not None:
            timers.append(self._loop.call_at(warning, end, waiter, replies.DEADLINE_SOON))
        self.figures.waiting += 1
        waiting.update(session.watched)
        try:
            return await waiter.future
        finally:
            self.figures.waiting -= 1
            for tube in session.watched:
                References.drop(waiting, tube)
            for timer in timers:
                timer.cancel()

    async def _attempt(self, session: Session, waits: bool) -> bytes | None:
        """Ask for a job; if there is none and it ``waits`` the gateway is noted as waiting."""
        if not self.members.is_sure:
            await self.members.be_sure()
        gateway = self.members.number if waits else None
        places = session.places
        if places is None or session.epoch != self._epoch:
            places = session.places = self._places_of(session.watched)
            session.epoch = self._epoch
        if len(session.watched) == 1 and session.watched[0] in self._spread and waits:
            return await self._attempt_spread(session, session.watched[0], self.members.number)
        if len(places) == 1:
            ((partition, tubes),) = places.items()
            return await self._attempt_at(session, partition, tubes, gateway)
        while True:
            heads = await self._heads(places, gateway)
            if not heads:
                return None
            partition = self.store.layout.of_job(min(heads).id)
            reply = await self._attempt_at(session, partition, places[partition], None)
            if reply is not None:
                return reply  # else somebody was faster, so it is for us to look anew

    async def _attempt_spread(self, session: Session, tube: str, gateway: int) -> bytes | None:
        """Ask the partitions of a spread tube, the one first whose job is thought to be the best."""
        while (partition := self._spread.best(tube)) is not None:
            words = self._spread.words
            asked = self.store.reserve_spread(partition, session.owner, tube, gateway)
            found = await _given(session, partition, asked)
            if isinstance(found, Nothing):
                self._expect(partition, found.patience)
                self._spread.learn_nothing(tube, partition, words)
                continue
            job, next_priority = found
            self._spread.learn(tube, partition, _LAST if next_priority is None else next_priority)
            return self._hold(session, job)
        return None

    def _places_of(self, tubes: Iterable[str]) -> dict[int, list[str]]:
        """Give tubes by partition."""
        places: dict[int, list[str]] = {}
        for tube in tubes:
            for partition in self._spread.places(tube):
                places.setdefault(partition, []).append(tube)
        return places

    async def _heads(self, places: dict[int, list[str]], gateway: int | None) -> list[Head]:
        """Look at the first jobs of tubes in several partitions."""
        found: list[Head] = []
        asked = [self.store.heads(partition, tubes, gateway) for partition, tubes in places.items()]
        for partition, (patience, heads) in zip(places, await asyncio.gather(*asked), strict=True):
            found += heads
            if len(heads) < len(places[partition]):
                self._expect(partition, patience)
        return found

    async def _attempt_at(
        self, session: Session, partition: int, tubes: Sequence[str], gateway: int | None
    ) -> bytes | None:
        asked = self.store.reserve(partition, session.owner, tubes, gateway)
        found = await _given(session, partition, asked)
        if isinstance(found, Nothing):
            self._expect(partition, found.patience)
            return None
        return self._hold(session, found)

    def _hold(self, session: Session, job: Given) -> bytes:
        """Note a lease; it ended earlier by the engine's clock than by ours."""
        session.held[job.id] = self._loop.time() + job.ttr
        self._expect(self.store.layout.of_job(job.id), job.ttr * 1000)
        if session.words and JOBS_WITH_TUBE in session.words:
            return replies.reserved_in(job.tube, job.id, job.body)
        return replies.reserved(job.id, job.body)

    async def _reserve_job(self, session: Session, request: requests.ReserveJob) -> bytes:
        await self.members.be_sure()
        asked = self.store.reserve_job(request.id, session.owner)
        job = await _given(session, self.store.layout.of_job(request.id), asked)
        if job is None:
            return replies.NOT_FOUND
        self.figures.workers += not session.is_worker
        session.is_worker = True
        return self._hold(session, job)

    # -- words of ready jobs ------------------------------------------------------

    def _pass_on(self, tube: str) -> None:
        for partition in self._spread.places(tube):
            self._spawn(self._try(self.store.pass_on(partition, tube)))

    async def _try(self, asked: Awaitable[object]) -> None:
        """Do what is made good by the look after lost words, if the store is not there."""
        try:
            await asked
        except StoreError:
            pass

    def _expect(self, partition: int, patience: int | None) -> None:
        """Have what becomes due in a partition then happen, whoever waits for it."""
        if patience is None:
            return
        when = self._loop.time() + min(patience / 1000, _LONGEST_SECONDS)
        alarm = self._alarms.get(partition)
        if alarm is not None:
            if alarm.when() <= when:
                return
            alarm.cancel()
        self._alarms[partition] = self._loop.call_at(when, self._ring, partition)

    def _ring(self, partition: int) -> None:
        del self._alarms[partition]
        self._spawn(self._tick(partition))

    async def _tick(self, partition: int) -> None:
        try:
            self._expect(partition, await self.store.tick(partition))
        except StoreError:
            self._expect(partition, int(_RETRY_SECONDS * 1000))

    async def _look_after_lost_words(self) -> None:
        """Ask for all who wait, now and then, and forget tubes that nobody refers to."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                self._spread.doubt()
                places = self._places_of(self._board.by_tube)
                for head in await self._heads(places, self.members.number):
                    self._board.wake(head.tube)
                for tube in list(self._unused):
                    await self._freshen(tube)
            except StoreError:
                pass  # the next time, then

    # -- finishing ----------------------------------------------------------------

    async def _delete(self, session: Session, request: requests.Delete) -> bytes:
        deleted = await self.store.delete(request.id, session.owner)
        if not deleted:
            return replies.NOT_FOUND
        session.held.pop(request.id, None)
        if isinstance(deleted, str) and not self.references.to(deleted):
            self._unused.add(deleted)
        return replies.DELETED

    async def _release(self, session: Session, request: requests.Release) -> bytes:
        job_id, priority, delay = request
        if job_id not in session.held or not await self.store.release(
            job_id, session.owner, priority, delay
        ):
            return replies.NOT_FOUND
        del session.held[job_id]
        if delay:
            self._expect(self.store.layout.of_job(job_id), delay * 1000)
        return replies.RELEASED

    async def _bury(self, session: Session, request: requests.Bury) -> bytes:
        job_id, priority = request
        if job_id not in session.held or not await self.store.bury(job_id, session.owner, priority):
            return replies.NOT_FOUND
        del session.held[job_id]
        return replies.BURIED

    async def _touch(self, session: Session, request: requests.Touch) -> bytes:
        if request.id not in session.held:
            return replies.NOT_FOUND
        ttr = await self.store.touch(request.id, session.owner)
        if not ttr:
            return replies.NOT_FOUND
        session.held[request.id] = self._loop.time() + ttr
        return replies.TOUCHED

    # -- using and watching -------------------------------------------------------

    async def _use(self, session: Session, request: requests.Use) -> bytes:
        await self._freshen(request.tube)
        before, session.used = session.used, request.tube
        self.references.using[request.tube] += 1
        self._unreference(self.references.using, before)
        return replies.using(request.tube)

    async def _watch(self, session: Session, request: requests.Watch) -> bytes:
        tube, watched = request.tube, session.watched
        if tube not in watched:
            await self._freshen(tube)
            self.references.watching[tube] += 1
            watched.append(tube)
            session.places = None
        return replies.watching(len(watched))

    def _ignore(self, session: Session, request: requests.Ignore) -> bytes:
        tube, watched = request.tube, session.watched
        if tube in watched:
            if len(watched) == 1:
                return replies.NOT_IGNORED
            last = watched.pop()  # it takes the hole, as in the daemon
            if last != tube:
                watched[watched.index(tube)] = last
            session.places = None
            self._unreference(self.references.watching, tube)
        return replies.watching(len(watched))

    def _unreference(self, counter: Counter[str], tube: str) -> None:
        References.drop(counter, tube)
        if tube != DEFAULT_TUBE and not self.references.to(tube):
            self._unused.add(tube)

    async def _freshen(self, tube: str) -> None:
        """Forget what is left of a tube that nobody referred to, before somebody does again."""
        if tube in self._unused:
            if tube not in referenced(await self._everybody()):
                for partition in self._spread.places(tube):
                    await self.store.prune(partition, tube)
            self._unused.discard(tube)

    # -- kicking, pausing, truncating ---------------------------------------------

    async def _kick(self, session: Session, request: requests.Kick) -> bytes:
        """Kick in shares: the engine does nothing else during one."""
        tube, bound = session.used, request.bound
        places = self._spread.places(tube)
        if len(places) == 1:
            return replies.kicked(await self._kick_at(places[0], tube, bound, ""))
        for kind in ("b", "d"):
            total = 0
            for partition in places:
                total += await self._kick_at(partition, tube, bound - total, kind)
            if total:
                break
        return replies.kicked(total)

    async def _kick_at(self, partition: int, tube: str, bound: int, kind: str) -> int:
        kicked, kind = await self.store.kick(partition, tube, bound, kind)
        total = kicked
        while kicked and total < bound:
            kicked, kind = await self.store.kick(partition, tube, bound - total, kind)
            total += kicked
        return total

    async def _kick_job(self, session: Session, request: requests.KickJob) -> bytes:
        return replies.KICKED if await self.store.kick_job(request.id) else replies.NOT_FOUND

    async def _pause_tube(self, session: Session, request: requests.PauseTube) -> bytes:
        tube, seconds = request
        known = self.references.to(tube) or tube in referenced(await self._everybody())
        places = self._spread.places(tube)
        known = known or (len(places) > 1 and await self._exists(tube))
        for partition in places:
            if not await self.store.pause(partition, tube, seconds, known):
                return replies.NOT_FOUND
            if seconds:
                self._expect(partition, seconds * 1000)
        return replies.PAUSED

    async def _truncate(self, session: Session, request: requests.Truncate) -> bytes:
        tube = request.tube
        if not await self._exists(tube):
            return replies.NOT_FOUND
        total = 0
        for partition in self._spread.places(tube):
            while deleted := await self.store.truncate(partition, tube):
                total += deleted
        if not self.references.to(tube):
            self._unused.add(tube)
        return replies.truncated(total)

    # -- lines that are no command of ours ----------------------------------------

    def _capabilities(self, session: Session, request: requests.Capabilities) -> bytes:
        session.words |= _CAPABILITIES.intersection(request.words)
        return replies.ok(write_list(sorted(_CAPABILITIES)))

    def _bad_format(self, session: Session, request: requests.BadFormat) -> bytes:
        if request.counted:
            self.figures.requests[_COUNTED[request.counted]] += 1
        return replies.BAD_FORMAT

    def _unknown(self, session: Session, request: requests.Request) -> bytes:
        return replies.UNKNOWN_COMMAND


async def _given(session: Session, partition: int, asked: Awaitable[T]) -> T:
    """Await what a reserve gives; note where there may be a job if nobody knows."""
    try:
        return await asked
    except OutcomeUnknown:
        session.doubtful.add(partition)
        raise
