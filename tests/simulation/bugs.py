"""Engines with one method wrong each: what the simulation is worth, it shows by finding them."""

from __future__ import annotations

from collections import OrderedDict

from beanrow.engine.engine import Engine
from beanrow.engine.job import Job, State
from beanrow.engine.keys import Key
from beanrow.engine.ready import ReadyQueue
from beanrow.engine.session import Session
from beanrow.engine.timers import NEVER, SECOND, Timers
from beanrow.engine.tube import DelayedQueue, Tube
from beanrow.protocol import replies, requests

__all__ = ["BUGS"]


class _LastComeLast(ReadyQueue):
    """Gives jobs of one priority in the order of their coming."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        super().__init__()
        self._line: list[Job] = []

    def push(self, job: Job) -> None:
        self._line.append(job)
        self.count += 1

    def _live(self) -> list[Job]:
        jobs = [job for job in dict.fromkeys(self._line) if job.state == "ready"]
        return sorted(jobs, key=lambda job: job.priority)

    def first(self) -> Job | None:
        return next(iter(self._live()), None)

    def pop(self) -> Job:
        job = self._live()[0]
        self._line = [other for other in self._line if other is not job]
        self.count -= 1
        return job

    def discard(self) -> None:
        self.count -= 1


class ReleasedToTheEnd(Engine):
    """A job that comes back stands behind younger ones of its priority."""

    def _tube(self, name: str) -> Tube:
        tube = super()._tube(name)
        if not isinstance(tube.ready, _LastComeLast):
            tube.ready = _LastComeLast()
        return tube


class LastComeFirstServed(Engine):
    """The waiter that came last gets the job."""

    def _match(self, tube: Tube, now: int) -> None:
        while tube.waiting and tube.ready.count and not tube.paused_until:
            session = next(reversed(tube.waiting))
            self._stop_waiting(session)
            self._say(session, self._hand(self._take(tube, now), session, now))


class PauseForgotten(Engine):
    """Who waits is served from a paused tube."""

    def _make_ready(self, job: Job, now: int) -> None:
        pause, job.tube.paused_until = job.tube.paused_until, 0
        super()._make_ready(job, now)
        job.tube.paused_until = pause


class PauseWithoutEnd(Engine):
    """A pause ends, but nobody who waits is told."""

    def _wake_tube(self, tube: Tube, now: int) -> None:
        waiting, tube.waiting = tube.waiting, OrderedDict()
        super()._wake_tube(tube, now)
        tube.waiting = waiting


class FirstTubeFirst(Engine):
    """Reserve takes from the first watched tube that has a job, not the best job of all."""

    def _best(self, session: Session) -> Tube | None:
        return next((t for t in session.watched if t.ready.count and not t.paused_until), None)


class WaitsLeftBehind(Engine):
    """Who was served stays in line in the other tubes."""

    def _stop_waiting(self, session: Session) -> None:
        session.waiting = False
        self.counters.waiting -= 1
        del session.watched[0].waiting[session]


class LastSecondUnnoticed(Engine):
    """Who waits already is not told that its job's last second has begun."""

    def _set_alarm(self, session: Session) -> None:
        waiting, session.waiting = session.waiting, False
        super()._set_alarm(session)
        session.waiting = waiting
        if waiting:
            self._timers.set(session, session.wait_until)


class LastSecondForAll(Engine):
    """DEADLINE_SOON although the job that was in its last second is finished."""

    def _deadline_soon(self, session: Session, now: int) -> bool:
        return session.soonest - SECOND <= now


class TouchWithoutEffect(Engine):
    """TOUCHED, but the ttr goes on."""

    def _touch(self, session: Session, request: requests.Touch, now: int) -> bytes:
        job = session.held.get(request.id)
        return replies.NOT_FOUND if job is None else replies.TOUCHED


class AlarmTooLate(Engine):
    """A second job's shorter ttr does not bring the alarm forward."""

    def _hand(self, job: Job, session: Session, now: int) -> bytes:
        alarm = session.alarm
        session.alarm = 0 if session.held else alarm
        reply = super()._hand(job, session, now)
        session.alarm = alarm if session.alarm == 0 else session.alarm
        return reply


class KickTakesAll(Engine):
    """Kick goes on with delayed jobs when no more are buried."""

    def _kick(self, session: Session, request: requests.Kick, now: int) -> bytes:
        buried = len(session.used.buried)
        reply = super()._kick(session, request, now)
        if 0 < buried < request.bound:
            rest = requests.Kick(request.bound - buried)
            reply = replies.kicked(buried + int(super()._kick(session, rest, now)[7:]))
        return reply


class KickBestFirst(Engine):
    """Kick takes buried jobs in the order of their ids, not of their burial."""

    def _first_buried(self, tube: Tube) -> Job | None:
        return tube.buried[min(tube.buried)] if tube.buried else None


class UrgentMiscounted(Engine):
    """A job that leaves out of turn stays counted as urgent."""

    def _unready(self, job: Job, state: State) -> None:
        job.state = state
        job.tube.ready.discard()


class TubeGoneTooSoon(Engine):
    """A reserved job does not keep its tube."""

    def _drop_if_unused(self, tube: Tube) -> None:
        reserved, tube.reserved = tube.reserved, 0
        super()._drop_if_unused(tube)
        tube.reserved = reserved


class TubeKeptForEver(Engine):
    """A closing connection leaves behind the tubes that it alone watched."""

    def close(self, session: Session, now: int) -> None:
        watched, session.watched = session.watched, []
        for tube in watched:
            tube.watching -= 1
            tube.waiting.pop(session, None)
        super().close(session, now)


class TubesInOrder(Engine):
    """Ignoring a tube keeps the order of the others."""

    def _ignore(self, session: Session, request: requests.Ignore, now: int) -> bytes:
        watched = [tube for tube in session.watched if tube.name != request.tube]
        reply = super()._ignore(session, request, now)
        if len(session.watched) == len(watched):
            session.watched = watched
        return reply


class IdUsedAgain(Engine):
    """Draining gives back the id of the put that it refuses."""

    def _put(self, session: Session, request: requests.Put, now: int) -> bytes:
        reply = super()._put(session, request, now)
        self._next_id -= reply == replies.DRAINING
        return reply


class JobsBackLastFirst(Engine):
    """The jobs of a closed connection come back last first, not as they were reserved."""

    def close(self, session: Session, now: int) -> None:
        session.held = dict(reversed(session.held.items()))
        super().close(session, now)


class HalfClosedWaits(Engine):
    """A connection that sends no more waits on."""

    def half_close(self, session: Session) -> None:
        session.half_closed = True


class TwoHolders(Engine):
    """A job that ran out of time stays with its holder too."""

    def _let_go(self, job: Job) -> None:
        holder = job.holder
        super()._let_go(job)
        if job.timeouts > 1 and holder is not None:
            holder.held[job.id] = job


class _StaleTrusted(DelayedQueue):
    """Takes an entry for live once its job is delayed again."""

    __slots__ = ()

    def first(self) -> Job | None:
        while self._heap and self._heap[0][3].state != "delayed":
            self._heap.pop(0)
        return self._heap[0][3] if self._heap else None


class DelayEndsEarly(Engine):
    """A job that is delayed again keeps its old place in line."""

    def _tube(self, name: str) -> Tube:
        tube = super()._tube(name)
        if not isinstance(tube.delayed, _StaleTrusted):
            tube.delayed = _StaleTrusted()
        return tube


class _Forgetful(Timers):
    """Drops the alarm behind the one that goes off."""

    __slots__ = ()

    def set(self, subject: Session | Tube | Key, when: int) -> None:
        if subject.alarm == NEVER or when < subject.alarm - SECOND:
            super().set(subject, when)


class AlarmsLost(Engine):
    """An alarm is not brought forward by less than a second."""

    def __init__(self, now: int, *, max_job_size: int) -> None:
        super().__init__(now, max_job_size=max_job_size)
        self._timers = _Forgetful()


class TimeoutsForgotten(Engine):
    """A ttr runs out only for one who waits."""

    def _wake_session(self, session: Session, now: int) -> None:
        if session.waiting:
            super()._wake_session(session, now)


class NeverDeadlineSoon(Engine):
    """Nobody is told of a last second."""

    def _deadline_soon(self, session: Session, now: int) -> bool:
        return False


class ReleaseWakesNobody(Engine):
    """A released job stays beside those who wait for it."""

    def _release(self, session: Session, request: requests.Release, now: int) -> bytes:
        tubes = list(self.tubes.values())
        waiting = [tube.waiting for tube in tubes]
        for tube in tubes:
            tube.waiting = OrderedDict()
        reply = super()._release(session, request, now)
        for tube, line in zip(tubes, waiting, strict=True):
            tube.waiting = line
        return reply


class DeletesWhatOthersHold(Engine):
    """Anybody may delete a reserved job."""

    def _delete(self, session: Session, request: requests.Delete, now: int) -> bytes:
        job = self.jobs.get(request.id)
        holder = session if job is None or job.holder is None else job.holder
        return super()._delete(holder, request, now)


class JobsOfTheGoneKept(Engine):
    """The jobs of a closed connection stay reserved."""

    def close(self, session: Session, now: int) -> None:
        held, session.held = session.held, {}
        super().close(session, now)
        session.held = held


class PutMovesTheUser(Engine):
    """Who puts into another tube uses it from then on."""

    def _put_in_tube(self, session: Session, request: requests.PutInTube, now: int) -> bytes:
        self._use(session, requests.Use(request.tube), now)
        return super()._put_in_tube(session, request, now)


class TruncateLeavesTheBuried(Engine):
    """Truncate deletes only what somebody could still reserve."""

    def _truncate(self, session: Session, request: requests.Truncate, now: int) -> bytes:
        tube = self.tubes.get(request.tube)
        if tube is not None:
            buried, tube.buried = tube.buried, OrderedDict()
            reply = super()._truncate(session, request, now)
            tube.buried = buried
            return reply
        return replies.NOT_FOUND


class KeyGoesWithItsJob(Engine):
    """A key is free again as soon as its job is gone, however young it is."""

    def _forget(self, job: Job) -> None:
        key = self.keys.of_job.get(job.id)
        super()._forget(job)
        if key is not None:
            self.keys.drop(key)


class _FirstForOldest(ReadyQueue):
    """Takes the best job for the oldest."""

    __slots__ = ()

    def oldest(self) -> Job | None:
        return self.first()


class OldestIsTheBest(Engine):
    """Tells the age of the next job in place of the oldest one's."""

    def _tube(self, name: str) -> Tube:
        tube = super()._tube(name)
        if not isinstance(tube.ready, _FirstForOldest):
            tube.ready = _FirstForOldest()
        return tube


class TubeUntold(Engine):
    """Who waits for a job is not told its tube."""

    def _match(self, tube: Tube, now: int) -> None:
        for session in tube.waiting:
            session.words = frozenset()
        super()._match(tube, now)


class GraceForgotten(Engine):
    """A lost connection's jobs are ready at once."""

    def close(self, session: Session, now: int) -> None:
        self.end_grace(session)
        super().close(session, now)


class GraceWithoutEnd(Engine):
    """Who is absent is so for ever."""

    def close(self, session: Session, now: int) -> None:
        super().close(session, now)
        if session.absent_until:
            session.absent_until = NEVER


class GraceAtQuit(Engine):
    """Who says quit is waited for too."""

    def _quit(self, session: Session, request: requests.Quit, now: int) -> None:
        session.closing = True


class ResumedJobsNeverExpire(Engine):
    """A resumed session has no alarm for the jobs that it took over."""

    def _hold_instead(self, session: Session, other: Session) -> None:
        other.soonest = NEVER
        super()._hold_instead(session, other)


class DismissedWaitsOn(Engine):
    """Who lost its session still waits for jobs."""

    def _dismiss(self, session: Session) -> None:
        session.closing = True
        self._say(session, b"")


class WaitsFromThePut(Engine):
    """Counts a job that was released as if it had waited since it was put."""

    def _take(self, tube: Tube, now: int) -> Job:
        job = tube.ready.first()
        assert job is not None
        job.since = job.created
        return super()._take(tube, now)


class TouchBeginsTheRun(Engine):
    """Takes a job that was touched for one that was handed out again."""

    def _touch(self, session: Session, request: requests.Touch, now: int) -> bytes:
        reply = super()._touch(session, request, now)
        if reply is replies.TOUCHED:
            session.held[request.id].since = now
        return reply


class GoneStillListed(Engine):
    """Goes on to tell of the latest connection that has ended."""

    def close(self, session: Session, now: int) -> None:
        super().close(session, now)
        self.sessions[session.number] = session


BUGS: list[type[Engine]] = [
    ReleasedToTheEnd,
    LastComeFirstServed,
    PauseForgotten,
    PauseWithoutEnd,
    FirstTubeFirst,
    WaitsLeftBehind,
    LastSecondUnnoticed,
    LastSecondForAll,
    TouchWithoutEffect,
    AlarmTooLate,
    KickTakesAll,
    KickBestFirst,
    UrgentMiscounted,
    TubeGoneTooSoon,
    TubeKeptForEver,
    TubesInOrder,
    IdUsedAgain,
    JobsBackLastFirst,
    HalfClosedWaits,
    TwoHolders,
    DelayEndsEarly,
    AlarmsLost,
    TimeoutsForgotten,
    NeverDeadlineSoon,
    ReleaseWakesNobody,
    DeletesWhatOthersHold,
    JobsOfTheGoneKept,
    PutMovesTheUser,
    TruncateLeavesTheBuried,
    KeyGoesWithItsJob,
    OldestIsTheBest,
    TubeUntold,
    WaitsFromThePut,
    TouchBeginsTheRun,
    GoneStillListed,
    GraceForgotten,
    GraceWithoutEnd,
    GraceAtQuit,
    ResumedJobsNeverExpire,
    DismissedWaitsOn,
]
