"""The queue: how jobs go from state to state, who waits for them, what becomes due.

``Engine`` lays the protocol's commands over it.

Laws:
- A job is held by one session or by none. Nobody waits beside a ready job of a tube
  that is not paused.
- Only a tube that was touched can have both a waiter and a ready job: match there,
  never scan the tubes.
- Jobs leave by (priority, id), over all watched tubes; waiters are served in the
  order of their arrival.
"""

from __future__ import annotations

from beanrow.engine.counters import Counters
from beanrow.engine.job import BURIED, DELAYED, READY, RESERVED, Job, State
from beanrow.engine.jobs import Jobs
from beanrow.engine.keys import Keys
from beanrow.engine.session import Session
from beanrow.engine.timers import NEVER, SECOND, Timers
from beanrow.engine.tokens import Tokens
from beanrow.engine.tube import Tube
from beanrow.protocol import replies
from beanrow.protocol.capabilities import JOBS_WITH_TUBE
from beanrow.protocol.values import URGENT_PRIORITY

__all__ = ["Queue"]

_MARGIN = SECOND
"""A reserve is answered DEADLINE_SOON when a held job has no more than this left."""


class Queue:
    """Jobs, tubes, and the sessions that hold or await them."""

    def __init__(self) -> None:
        self.outbox: list[Session] = []
        self.jobs: Jobs = Jobs()
        self.tubes: dict[str, Tube] = {}
        self.tube_order: list[Tube] = []
        self.sessions: dict[int, Session] = {}
        self.counters: Counters = Counters()
        self._timers = Timers()
        self.keys: Keys = Keys(self._timers)
        self._key_of_job = self.keys.of_job
        self.tokens: Tokens = Tokens()
        self._burials = 0
        self._default = self._tube("default")

    def tick(self, now: int) -> None:
        """Let pass what has become due: ttrs, delays, pauses, waits."""
        if now < self._timers.next():
            return
        for subject in self._timers.due(now):
            if isinstance(subject, Session):
                self._wake_session(subject, now)
            elif isinstance(subject, Tube):
                self._wake_tube(subject, now)
            else:
                self.keys.drop(subject)

    def next_deadline(self) -> int | None:
        """Tell when ``tick`` is wanted at the latest, None if nothing is due ever."""
        deadline = self._timers.next()
        return None if deadline == NEVER else deadline

    def count(self, state: State) -> int:
        """Tell how many jobs are in a state."""
        return sum([tube.count(state) for tube in self.tube_order])

    # -- what becomes due ---------------------------------------------------------

    def _wake_session(self, session: Session, now: int) -> None:
        if session.waiting and self._deadline_soon(session, now):
            self._stop_waiting(session)
            self._say(session, replies.DEADLINE_SOON)
        due = [job for job in session.held.values() if job.deadline <= now]
        for job in sorted(due, key=lambda job: job.deadline):
            self._let_go(job)
            job.timeouts += 1
            self.counters.job_timeouts += 1
            self._make_ready(job, now)
        if session.waiting and session.wait_until <= now:
            self._stop_waiting(session)
            self._say(session, replies.TIMED_OUT)
        if session.absent_until and (session.absent_until <= now or not session.held):
            self._give_back(session, now)  # so there are no more of them than jobs are reserved
        self._set_alarm(session)

    def _set_alarm(self, session: Session) -> None:
        held = session.held
        session.soonest = min(job.deadline for job in held.values()) if held else NEVER
        when = session.soonest
        if session.waiting:
            when = min(when - _MARGIN, session.wait_until) if held else session.wait_until
        elif session.absent_until:
            when = min(when, session.absent_until)
        self._timers.set(session, when)

    def _deadline_soon(self, session: Session, now: int) -> bool:
        if session.soonest - _MARGIN > now:
            return False
        session.soonest = min((job.deadline for job in session.held.values()), default=NEVER)
        return session.soonest - _MARGIN <= now

    def _wake_tube(self, tube: Tube, now: int) -> None:
        if 0 < tube.paused_until <= now:
            tube.pause = tube.paused_until = 0
            self._match(tube, now)
        while (job := tube.delayed.first()) is not None and job.deadline <= now:
            self._undelay(job, READY)
            self._make_ready(job, now)
        when = job.deadline if job is not None else NEVER
        if tube.paused_until:
            when = min(when, tube.paused_until)
        self._timers.set(tube, when)

    # -- jobs from state to state -------------------------------------------------

    def _make_ready(self, job: Job, now: int) -> None:
        tube = job.tube
        if tube.waiting and not tube.paused_until:  # by the law no other job is ready there
            tube.count_wait(0)
            self._serve(job, next(iter(tube.waiting)), now)
            return
        job.state = READY
        job.since = now
        if job.priority < URGENT_PRIORITY:
            tube.urgent += 1
        tube.ready.push(job)

    def _serve(self, job: Job, session: Session, now: int) -> None:
        """Hand a job to one who waits."""
        self._stop_waiting(session)
        self._say(session, self._hand(job, session, now))

    def _match(self, tube: Tube, now: int) -> None:
        """Hand ready jobs of a tube to those who wait for them."""
        while tube.waiting and tube.ready.count and not tube.paused_until:
            self._serve(self._take(tube, now), next(iter(tube.waiting)), now)

    def _best(self, session: Session) -> Tube | None:
        """Find the watched tube whose next job is the best of all; None if none is ready."""
        tubes = [tube for tube in session.watched if tube.ready.count and not tube.paused_until]
        return min(tubes, key=_next_job) if tubes else None

    def _take(self, tube: Tube, now: int) -> Job:
        """Take the next job of a tube for who will hold it, and count how long it was ready."""
        job = tube.ready.pop()
        waited = now - job.since
        try:  # Tube.count_wait without its call: 50 ns
            tube.waits[waited.bit_length()] += 1
            tube.waited += waited
        except IndexError:
            tube.count_wait(waited)
        if job.priority < URGENT_PRIORITY:
            tube.urgent -= 1
        return job

    def _hand(self, job: Job, session: Session, now: int) -> bytes:
        job.state = RESERVED
        job.since = now
        job.holder = session
        job.reserves += 1
        job.deadline = deadline = now + job.ttr * SECOND
        session.held[job.id] = job
        job.tube.reserved += 1
        if deadline < session.soonest:
            session.soonest = deadline
            if deadline < session.alarm:
                self._timers.set(session, deadline)
        if session.words and JOBS_WITH_TUBE in session.words:
            return replies.reserved_in(job.tube.name, job.id, job.body)
        return replies.reserved(job.id, job.body)

    def _let_go(self, job: Job) -> None:
        """Take a reserved job from its holder; the caller says what becomes of it."""
        del job.holder.held[job.id]  # type: ignore[union-attr]  # a reserved job has a holder
        job.holder = None
        job.tube.reserved -= 1

    def _give_back(self, session: Session, now: int) -> None:
        """Make all jobs of a session ready, in the order of their reservation, and end it."""
        for job in list(session.held.values()):
            self._let_go(job)
            self._make_ready(job, now)
        session.absent_until = 0
        self.tokens.take(session)

    def _hold_instead(self, session: Session, other: Session) -> None:
        """Let a session hold what another one holds, in its order."""
        held, other.held = other.held, {}
        for job in held.values():
            job.holder = session
        session.held.update(held)
        session.soonest = min(session.soonest, other.soonest)
        other.soonest = NEVER
        self._timers.set(session, session.soonest)

    def _unready(self, job: Job, state: State) -> None:
        """Take a ready job out of turn."""
        job.state = state
        if job.priority < URGENT_PRIORITY:
            job.tube.urgent -= 1
        job.tube.ready.discard()

    def _delay(self, job: Job, now: int) -> None:
        job.state = DELAYED
        job.deadline = now + job.delay * SECOND
        job.tube.delayed.push(job)
        self._timers.set(job.tube, job.deadline)

    def _undelay(self, job: Job, state: State) -> None:
        """Take a delayed job, its delay over or out of turn."""
        job.state = state
        job.tube.delayed.discard()

    def _bury_job(self, job: Job) -> None:
        job.state = BURIED
        job.buries += 1
        self._burials = job.deadline = self._burials + 1
        job.tube.buried[job.id] = job

    def _unbury(self, job: Job) -> None:
        del job.tube.buried[job.id]

    def _take_out_of_turn(self, job: Job, state: State) -> None:
        """Take a job that nobody holds from wherever it is, into ``state``."""
        if job.state is READY:
            self._unready(job, state)
        elif job.state is DELAYED:
            self._undelay(job, state)
        else:
            self._unbury(job)
            job.state = state

    def _forget(self, job: Job) -> None:
        """Drop a job that has been taken from everywhere else."""
        self.jobs.remove(job)
        if self._key_of_job:
            self.keys.let_go(job.id)
        tube = job.tube
        tube.bytes -= len(job.body)
        job.body = b""  # a stale entry of a queue may keep the job for long
        if not (tube.using or tube.watching):
            self._drop_if_unused(tube)

    # -- who waits ----------------------------------------------------------------

    def _wait(self, session: Session, until: int) -> None:
        session.waiting = True
        session.wait_until = until
        self.counters.waiting += 1
        for tube in session.watched:
            tube.waiting[session] = None
        if session.held or until != NEVER:
            self._set_alarm(session)

    def _stop_waiting(self, session: Session) -> None:
        session.waiting = False
        self.counters.waiting -= 1
        for tube in session.watched:
            del tube.waiting[session]

    def _say(self, session: Session, reply: bytes) -> None:
        if not session.replies:
            self.outbox.append(session)
        session.replies.append(reply)

    # -- tubes --------------------------------------------------------------------

    def _tube(self, name: str) -> Tube:
        """Find a tube, or make it."""
        tube = self.tubes.get(name)
        if tube is None:
            tube = self.tubes[name] = Tube(name, len(self.tube_order))
            self.tube_order.append(tube)
        return tube

    def _drop_if_unused(self, tube: Tube) -> None:
        """Drop a tube without jobs that nobody uses or watches; the last one takes its place."""
        if tube.using or tube.watching or tube.jobs or tube is self._default:
            return
        if self.tubes.get(tube.name) is not tube:
            return  # dropped before: a session that ends asks for each of its tubes
        del self.tubes[tube.name]
        last = self.tube_order.pop()
        if last is not tube:
            last.place = tube.place
            self.tube_order[tube.place] = last
        self._timers.cancel(tube)
        tube.let_go()


def _next_job(tube: Tube) -> tuple[int, int]:
    job = tube.ready.first()
    assert job is not None, "only asked of tubes with ready jobs"
    return job.priority, job.id
