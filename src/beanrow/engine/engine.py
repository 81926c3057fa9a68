"""The engine: what each request of the protocol does to the queue.

The caller passes requests and the time, then says what is in the outbox:

    engine.tick(now)                         # let pass what has become due
    engine.execute(session, request, now)
    for session in engine.outbox: ...        # say session.replies, clear both

Laws:
- No I/O, no clock, no randomness: the same calls give the same results.
- Time only moves forward, and ``tick(now)`` comes before ``execute(..., now)``.
- A handler returns the reply to its own session, or None when that has to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint
from typing import Any

from beanrow.engine.counters import HostFacts
from beanrow.engine.job import BURIED, DELAYED, DELETED, READY, RESERVED, Job, new_job
from beanrow.engine.looking import Looking
from beanrow.engine.session import Session
from beanrow.engine.timers import NEVER, SECOND
from beanrow.engine.tube import Tube
from beanrow.protocol import replies, requests
from beanrow.protocol.capabilities import CAPABILITIES, RESUME, SESSION
from beanrow.protocol.stats import write_list
from beanrow.protocol.values import MAX_JOB_SIZE, URGENT_PRIORITY

__all__ = ["COMMAND", "Engine"]

COMMAND = 100
"""What a command counts of a share, besides its reply."""
Handler = Callable[[Session, Any, int], bytes | None]

_COUNTED = {"put": requests.PutUnterminated, "pause-tube": requests.PauseTube}
"""Which count a malformed line moves all the same."""


class Engine(Looking):
    """A beanstalk queue.

    ``max_job_size`` is the limit of a body in bytes, ``now`` the time of the start,
    ``host`` tells what ``stats`` says of the process. Set ``draining`` to refuse puts.
    ``capabilities`` are the words of extensions that it tells of, ``slow_commands`` what the caller,
    who has a clock, found to take long.
    """

    def __init__(
        self,
        now: int,
        *,
        max_job_size: int = MAX_JOB_SIZE,
        host: Callable[[], HostFacts] = HostFacts,
    ) -> None:
        super().__init__(now, max_job_size, host)
        known = CAPABILITIES - {SESSION, RESUME}  # those two once somebody draws tokens
        self.capabilities: frozenset[str] = known
        self._next_id = 1
        self._handlers = self._handler_table()
        self._counted = self.counters.requests

    def _handler_table(self) -> dict[type, Handler]:
        return {
            requests.Put: self._put,
            requests.PutTooBig: self._put_too_big,
            requests.PutUnterminated: self._put_unterminated,
            requests.Use: self._use,
            requests.Reserve: self._reserve,
            requests.ReserveWithTimeout: self._reserve,
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
            requests.Auth: self._auth,
            requests.Capabilities: self._capabilities,
            requests.PutInTube: self._put_in_tube,
            requests.PutUnique: self._put_unique,
            requests.Truncate: self._truncate,
            requests.ListJobs: self._list_jobs,
            requests.Session: self._session,
            requests.Resume: self._resume,
            requests.ListTimes: self._list_times,
            requests.ListLeases: self._list_leases,
            requests.ListClients: self._list_clients,
            requests.ListSlow: self._list_slow,
            requests.ClientName: self._client_name,
            requests.Quit: self._quit,
            requests.BadFormat: self._bad_format,
            requests.UnknownCommand: self._unknown_command,
        }

    # -- what the caller calls ----------------------------------------------------

    def open(self) -> Session:
        """Begin a session: it uses and watches the tube ``default``."""
        self.counters.connections += 1
        self.counters.total_connections += 1
        self._default.using += 1
        self._default.watching += 1
        number = self.counters.total_connections
        session = self.sessions[number] = Session(self._default, number)
        return session

    def execute(self, session: Session, request: requests.Request, now: int) -> bytes | None:
        """Carry out one request; a session that waits or closes must not send any.

        Gives the reply that went into ``session.replies``, None if the session now waits
        or closes.
        """
        kind = request.__class__
        self._counted[kind] += 1
        reply = self._handlers[kind](session, request, now)
        if reply is not None:
            if not session.replies:
                self.outbox.append(session)
            session.replies.append(reply)
        return reply

    def execute_all(
        self, session: Session, requests: list[requests.Request], now: int, share: int
    ) -> tuple[int, int]:
        """Carry out requests in order, as ``execute`` does each, without a call for each.

        Stops behind one that makes the session wait or close, and when ``share`` is used up: COMMAND
        for each of them, and the bytes of the replies. Gives how many were carried out, and what is
        left of the share.
        """
        counted, handlers, said = self._counted, self._handlers, session.replies
        ahead = iter(requests)
        share -= COMMAND * len(requests)
        for request in ahead:
            kind = request.__class__
            counted[kind] += 1
            reply = handlers[kind](session, request, now)
            if reply is None:
                break
            if not said:
                self.outbox.append(session)
            said.append(reply)
            share -= len(reply)
            if share <= 0:
                break
        return len(requests) - length_hint(ahead), share

    def answer(self, session: Session, reply: bytes) -> bytes:
        """Answer a request of the session in the engine's place: it does not come to it."""
        self._say(session, reply)
        return reply

    def half_close(self, session: Session) -> None:
        """Note that the peer sends no more: no reserve of this session waits from now on."""
        session.half_closed = True
        if session.waiting:
            self._stop_waiting(session)
            self._say(session, replies.TIMED_OUT)

    def close(self, session: Session, now: int) -> None:
        """End a session: its jobs become ready again, in the order of their reservation.

        Those of a session with a token do so once its grace is over, unless it is resumed.
        """
        del self.sessions[session.number]
        self.counters.connections -= 1
        self.counters.producers -= session.is_producer
        self.counters.workers -= session.is_worker
        if session.waiting:
            self._stop_waiting(session)
        self._timers.cancel(session)
        if session.token and session.held:
            session.absent_until = now + session.grace
            self._set_alarm(session)
        else:
            self._give_back(session, now)
        watched = session.watched
        for tube in watched[:1] + watched[:0:-1]:  # the order in which the daemon drops them
            tube.watching -= 1
            self._drop_if_unused(tube)
        session.used.using -= 1
        self._drop_if_unused(session.used)

    def offer_sessions(self, draw_token: Callable[[], str]) -> None:
        """Tell of sessions from now on; their tokens must be such that nobody can guess them."""
        self.tokens.draw = draw_token
        self.capabilities |= {SESSION, RESUME}

    def end_grace(self, session: Session) -> None:
        """Let a session end with its connection after all."""
        self.tokens.take(session)

    # -- putting ------------------------------------------------------------------

    def _put(self, session: Session, request: requests.Put, now: int) -> bytes:
        priority, delay, ttr, body = request
        if not session.is_producer:
            self._make_producer(session)
        job_id = self._next_id
        self._next_id = job_id + 1
        if self.draining:
            self.counters.refused_puts += 1
            return replies.DRAINING
        tube = session.used
        job = new_job(job_id, tube, priority, delay, ttr or 1, body, now)
        self.jobs.add(job)
        tube.bytes += len(body)
        tube.total_jobs += 1
        if delay:
            self._delay(job, now)
        elif tube.waiting:
            self._make_ready(job, now)
        else:  # nearly always: the rest of ``_make_ready``, without its call
            if priority < URGENT_PRIORITY:
                tube.urgent += 1
            tube.ready.push(job)
        return replies.inserted(job_id)

    def _put_too_big(self, session: Session, request: requests.PutTooBig, now: int) -> bytes:
        return replies.JOB_TOO_BIG

    def _put_unterminated(
        self, session: Session, request: requests.PutUnterminated, now: int
    ) -> bytes:
        if not session.is_producer:
            self._make_producer(session)
        self._next_id += 1
        return replies.EXPECTED_CRLF

    def _make_producer(self, session: Session) -> None:
        session.is_producer = True
        self.counters.producers += 1

    def _use(self, session: Session, request: requests.Use, now: int) -> bytes:
        before, tube = session.used, self._tube(request.tube)
        tube.using += 1
        session.used = tube
        before.using -= 1
        self._drop_if_unused(before)
        return replies.using(tube.name)

    # -- reserving ----------------------------------------------------------------

    def _reserve(
        self, session: Session, request: requests.Reserve | requests.ReserveWithTimeout, now: int
    ) -> bytes | None:
        if not session.is_worker:
            self._make_worker(session)
        watched = session.watched
        if len(watched) > 1:
            tube = self._best(session)
        else:  # nearly always: without a call
            only = watched[0]
            tube = only if only.ready.count and not only.paused_until else None
        if tube is not None:
            return self._hand(self._take(tube, now), session, now)
        if session.held and self._deadline_soon(session, now):
            return replies.DEADLINE_SOON
        until = NEVER
        if isinstance(request, requests.ReserveWithTimeout):
            until = now + request.timeout * SECOND
        if until <= now or session.half_closed:
            return replies.TIMED_OUT
        self._wait(session, until)
        return None

    def _make_worker(self, session: Session) -> None:
        session.is_worker = True
        self.counters.workers += 1

    def _reserve_job(self, session: Session, request: requests.ReserveJob, now: int) -> bytes:
        job = self.jobs.find(request.id)
        if job is None or job.state is RESERVED:
            return replies.NOT_FOUND
        if not session.is_worker:
            self._make_worker(session)
        self._take_out_of_turn(job, RESERVED)
        return self._hand(job, session, now)

    # -- finishing ----------------------------------------------------------------

    def _delete(self, session: Session, request: requests.Delete, now: int) -> bytes:
        job = session.held.get(request[0])
        if job is not None:
            ran, tube = now - job.since, job.tube
            try:  # Tube.count_run without its call: 50 ns
                tube.runs[ran.bit_length()] += 1
                tube.ran += ran
            except IndexError:
                tube.count_run(ran)
            self._let_go(job)
        else:
            job = self.jobs.find(request[0])
            if job is None or job.state is RESERVED:
                return replies.NOT_FOUND
            self._take_out_of_turn(job, DELETED)
        job.tube.cmd_delete += 1
        self._forget(job)
        return replies.DELETED

    def _release(self, session: Session, request: requests.Release, now: int) -> bytes:
        job = session.held.get(request.id)
        if job is None:
            return replies.NOT_FOUND
        job.tube.count_run(now - job.since)
        self._let_go(job)
        job.priority = request.priority
        job.delay = request.delay
        job.releases += 1
        if job.delay:
            self._delay(job, now)
        else:
            self._make_ready(job, now)
        return replies.RELEASED

    def _bury(self, session: Session, request: requests.Bury, now: int) -> bytes:
        job = session.held.get(request.id)
        if job is None:
            return replies.NOT_FOUND
        job.tube.count_run(now - job.since)
        self._let_go(job)
        job.priority = request.priority
        self._bury_job(job)
        return replies.BURIED

    def _touch(self, session: Session, request: requests.Touch, now: int) -> bytes:
        job = session.held.get(request.id)
        if job is None:
            return replies.NOT_FOUND
        job.deadline = now + job.ttr * SECOND
        return replies.TOUCHED

    # -- watching -----------------------------------------------------------------

    def _watch(self, session: Session, request: requests.Watch, now: int) -> bytes:
        tube = self._tube(request.tube)
        if tube not in session.watched:
            tube.watching += 1
            session.watched.append(tube)
        return replies.watching(len(session.watched))

    def _ignore(self, session: Session, request: requests.Ignore, now: int) -> bytes:
        tube, watched = self.tubes.get(request.tube), session.watched
        if tube in watched:
            if len(watched) == 1:
                return replies.NOT_IGNORED
            last = watched.pop()  # it takes the hole, as in the daemon
            if last is not tube:
                watched[watched.index(tube)] = last
            tube.watching -= 1
            self._drop_if_unused(tube)
        return replies.watching(len(watched))

    # -- kicking and pausing ------------------------------------------------------

    def _kick(self, session: Session, request: requests.Kick, now: int) -> bytes:
        """Kick buried jobs in the order of their burial, else delayed ones by their deadline."""
        tube, kicked = session.used, 0
        pick = self._first_buried if tube.buried else self._first_delayed
        while kicked < request.bound and (job := pick(tube)) is not None:
            self._kick_one(job, now)
            kicked += 1
        return replies.kicked(kicked)

    def _first_buried(self, tube: Tube) -> Job | None:
        return next(iter(tube.buried.values()), None)

    def _first_delayed(self, tube: Tube) -> Job | None:
        return tube.delayed.first()

    def _kick_one(self, job: Job, now: int) -> None:
        self._take_out_of_turn(job, READY)
        job.kicks += 1
        self._make_ready(job, now)

    def _kick_job(self, session: Session, request: requests.KickJob, now: int) -> bytes:
        job = self.jobs.find(request.id)
        if job is None or (job.state is not BURIED and job.state is not DELAYED):
            return replies.NOT_FOUND
        self._kick_one(job, now)
        return replies.KICKED

    def _pause_tube(self, session: Session, request: requests.PauseTube, now: int) -> bytes:
        tube = self.tubes.get(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        tube.cmd_pause_tube += 1
        tube.pause = request.delay
        tube.paused_until = 0
        if request.delay:
            tube.paused_until = now + request.delay * SECOND
            self._timers.set(tube, tube.paused_until)
        else:
            self._match(tube, now)
        return replies.PAUSED

    # -- our extensions -----------------------------------------------------------

    def _capabilities(self, session: Session, request: requests.Capabilities, now: int) -> bytes:
        session.words |= self.capabilities.intersection(request.words)
        return replies.ok(write_list(sorted(self.capabilities)))

    def _put_in_tube(self, session: Session, request: requests.PutInTube, now: int) -> bytes:
        """Put as one who uses the tube for just this long.

        So ``_put`` and all that it is overridden by go on asking for the used tube, and a plain
        put pays nothing for this one.
        """
        used, tube = session.used, self._tube(request.tube)
        session.used = tube
        try:
            return self._put(session, requests.Put(*request[1:]), now)
        finally:
            session.used = used
            self._drop_if_unused(tube)

    def _put_unique(self, session: Session, request: requests.PutUnique, now: int) -> bytes:
        tube = session.used.name
        key = self.keys.find(tube, request.key, now)
        if key is not None:
            if not session.is_producer:
                self._make_producer(session)
            self.counters.repeated_puts += 1
            return replies.exists(key.job_id)
        reply = self._put(session, requests.Put(*request[2:]), now)
        if reply[:8] == b"INSERTED":
            self.keys.take(tube, request.key, self._next_id - 1, request.lifetime, now)
        return reply

    def _truncate(self, session: Session, request: requests.Truncate, now: int) -> bytes:
        tube = self.tubes.get(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        jobs = tube.free_jobs()
        for job in jobs:
            self._take_out_of_turn(job, DELETED)
            tube.cmd_delete += 1
            self._forget(job)
        return replies.truncated(len(jobs))

    def _session(self, session: Session, request: requests.Session, now: int) -> bytes:
        if self.tokens.draw is None:
            return replies.UNKNOWN_COMMAND
        if not session.token:
            self.tokens.give(session, self.tokens.draw())
        session.grace = request.grace * SECOND
        return replies.session(session.token)

    def _resume(self, session: Session, request: requests.Resume, now: int) -> bytes:
        """Go on with a session; a connection that still has it loses it, and is closed.

        It is most probably dead: its peer would hardly have opened another one otherwise.
        """
        other = self.tokens.find(request.token)
        if other is None:
            return replies.NOT_FOUND
        resumed = list(other.held)
        if other is not session:
            session.grace = other.grace
            self.tokens.take(other)
            self.tokens.give(session, request.token)
            self._hold_instead(session, other)
            self._timers.cancel(other)
            if other.absent_until:
                other.absent_until = 0
            else:
                self._dismiss(other)
        return replies.resumed(len(resumed), write_list(map(str, resumed)))

    def _dismiss(self, session: Session) -> None:
        """Have the caller close a session's connection; it is said nothing."""
        if session.waiting:
            self._stop_waiting(session)
        session.closing = True
        self._say(session, b"")

    def _client_name(self, session: Session, request: requests.ClientName, now: int) -> bytes:
        session.name = request.name
        return replies.named(request.name)

    # -- leaving, and lines that are no command -----------------------------------

    def _auth(self, session: Session, request: requests.Auth, now: int) -> bytes:
        """Know nobody, as the daemon does: where there are rights, who checks them answers."""
        return replies.UNKNOWN_COMMAND

    def _quit(self, session: Session, request: requests.Quit, now: int) -> None:
        self.end_grace(session)
        session.closing = True

    def _bad_format(self, session: Session, request: requests.BadFormat, now: int) -> bytes:
        if request.counted:
            self.counters.requests[_COUNTED[request.counted]] += 1
        return replies.BAD_FORMAT

    def _unknown_command(
        self, session: Session, request: requests.UnknownCommand, now: int
    ) -> bytes:
        return replies.UNKNOWN_COMMAND
