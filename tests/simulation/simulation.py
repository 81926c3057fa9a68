"""Random histories of the engine on a virtual clock, compared with the model reply by reply.

Laws:
- A history follows from its seed and its length, nothing else.
- Names, ids, priorities and times come from small sets, so that what peers do collides; many
  requests share one moment, as those of one loop turn do.
- In every second history the engine's queues throw out stale entries as soon as there are a few.
- After every step the engine says what the model says, wants its next tick no later than anything
  is due, and keeps its own books (``check``).
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

from beanrow.engine import looking, ready, timers, tube
from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.protocol import requests
from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.listing import STATES
from beanrow.protocol.requests import Request
from tests.engine.peers import tokens
from tests.simulation.check import check
from tests.simulation.model import SECOND, Due, Model

START = 1_000_000 * SECOND
MOST_PEERS = 7
MOST_DUE = 4
"""Peers and tubes that one late tick may find due: all their orders are tried."""
TUBES = ["default", "default", "a", "a", "b", "c"]
PRIORITIES = [0, 1, 1, 1, 1023, 1024]
MAX_JOB_SIZE = 9

Heard = Callable[[Request, bytes], None]


@contextmanager
def stale_allowed(number: int) -> Iterator[None]:
    """Let the engine's queues keep fewer stale entries than they do: in short histories too."""
    with ExitStack() as undo:
        for module in (ready, timers, tube):
            undo.enter_context(mock.patch.object(module, "_STALE_ALLOWED", number))
        undo.enter_context(mock.patch.object(looking, "_FEW", number))
        yield


class HistoryError(AssertionError):
    """The engine broke a law."""


class Simulation:
    """One history. ``heard`` is told every request with the reply to it."""

    def __init__(
        self, seed: int, make_engine: Callable[..., Engine] = Engine, heard: Heard | None = None
    ) -> None:
        self._random = random.Random(seed)
        self._tidy = seed % 2 == 1
        # Some histories nearly leave out what others do all the time: so more of them go far.
        self._weights = [
            weight * self._random.choice([0.1, 1, 1, 5]) for weight in WEIGHTS.values()
        ]
        self._now = START
        self._engine = make_engine(START, max_job_size=MAX_JOB_SIZE)
        self._engine.offer_sessions(tokens())
        self._model = Model(START, MAX_JOB_SIZE)
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, Request] = {}
        self._heard = heard
        self._last_id = 0
        self._story: list[str] = []

    def run(self, steps: int) -> None:
        """Live through so many steps; HistoryError tells the last of them."""
        try:
            with stale_allowed(3) if self._tidy else nullcontext():
                for _ in range(steps):
                    self._step()
        except Exception as error:
            story = "\n".join(f"    {line}" for line in self._story[-12:])
            raise HistoryError(f"{error}\n  after\n{story}") from error

    def _step(self) -> None:
        self._close_dismissed()
        pick = self._random.random()
        numbers = list(self._sessions)
        idle = [
            number
            for number, session in self._sessions.items()
            if not session.waiting and not session.closing
        ]
        if not idle or (pick < 0.04 and len(numbers) < MOST_PEERS):
            self._open()
        elif pick < 0.06:
            self._close(self._random.choice([self._richest(), *numbers]))
        elif pick < 0.07:
            self._half_close(self._random.choice(numbers))
        elif pick < (0.14 if self._engine.draining else 0.073):
            self._drain()
        elif pick < 0.25:
            self._pass_time()
        else:
            self._ask(idle)
        check(self._engine, self._sessions.values())
        self._check_alarm()
        self._check_state()

    def _tell(self, line: str) -> None:
        self._story.append(f"{(self._now - START) / SECOND:.9f} {line}")

    # -- time ---------------------------------------------------------------------

    def _pass_time(self) -> None:
        """Wait as a server does, from deadline to deadline, or be late for some of them."""
        pick = self._random
        if pick.random() < 0.2:
            ends = sorted(self._model.times().values())[:MOST_DUE]
            if ends:
                self._tick(max(self._now, ends[-1]))
            return
        pause = pick.choice([1, 1000, SECOND // 3, SECOND, pick.uniform(0, 3e9)])
        self._pass_time_until(self._now + round(pause))

    def _pass_time_until(self, end: int) -> None:
        while (due := self._engine.next_deadline()) is not None and due <= end:
            self._tick(max(self._now, due))
        self._tick(end)

    def _tick(self, now: int) -> None:
        self._now = now
        self._tell("tick")
        due = [subject for subject, end in self._model.times().items() if end <= now]
        before = copy.deepcopy(self._model) if len(due) > 1 else self._model
        self._engine.tick(now)
        said = self._said()
        for number, order in enumerate(self._orders(due)):
            model = before if len(due) <= 1 else copy.deepcopy(before)
            for subject in order:
                model.wake(subject, now)
            expected = _said_in(model)
            if said == expected:
                self._model = model
                self._hear(said)
                return
            if number == 0:
                first = expected
        raise AssertionError(f"the engine said {said}, the model {first}, in no order the same")

    def _orders(self, due: list[Due]) -> Iterator[tuple[Due, ...]]:
        times = self._model.times()
        return itertools.islice(
            itertools.permutations(sorted(due, key=lambda subject: times[subject])), 800
        )

    def _check_alarm(self) -> None:
        times = self._model.times()
        wanted = self._engine.next_deadline()
        if times and (wanted is None or wanted > min(times.values())):
            raise AssertionError(f"the engine wants no tick before {wanted}, but {times} are due")

    def _check_state(self) -> None:
        """Compare what nobody may have asked for yet."""
        engine, model = self._engine, self._model
        tubes = [tube.name for tube in engine.tube_order], [tube.name for tube in model.tubes]
        if tubes[0] != tubes[1]:
            raise AssertionError(f"the engine has the tubes {tubes[0]}, the model {tubes[1]}")
        for number, peer in model.peers.items():
            session = self._sessions[number]
            seen = session.used.name, [tube.name for tube in session.watched], list(session.held)
            expected = peer.used, peer.watched, [job.id for job in model.held_by(number)]
            if seen != expected:
                raise AssertionError(f"{number} uses, watches, holds {seen}, not {expected}")
        for mine in model.jobs:
            job = engine.jobs[mine.id]
            if (job.state, job.tube.name, job.priority) != (mine.state, mine.tube, mine.pri):
                raise AssertionError(f"the engine has {job}, the model {mine}")
        keys = {place for place in engine.keys.by_name if engine.keys.find(*place, self._now)}
        if keys != model.taken_keys(self._now):
            raise AssertionError(f"the engine has the keys {keys}")
        if len(model.jobs) != len(engine.jobs):
            raise AssertionError(f"the engine has the jobs {list(engine.jobs)}")

    # -- peers --------------------------------------------------------------------

    def _open(self) -> None:
        number = next(self._numbers)
        self._tell(f"{number} opens")
        self._sessions[number] = self._engine.open()
        self._model.open(number)

    def _richest(self) -> int:
        """The peer that holds most jobs."""
        return max(self._sessions, key=lambda number: len(self._sessions[number].held))

    def _close(self, number: int) -> None:
        self._tell(f"{number} closes")
        session = self._sessions.pop(number)
        self._engine.close(session, self._now)
        self._model.close(number, self._now)
        self._asked.pop(number, None)
        session.replies.clear()
        self._compare()

    def _close_dismissed(self) -> None:
        """Close who lost its session to another, now or later: a server does it after the turn."""
        for number in [one for one, session in self._sessions.items() if session.closing]:
            if self._random.random() < 0.2:
                self._close(number)

    def _drain(self) -> None:
        draining = self._engine.draining = self._model.draining = not self._engine.draining
        self._tell(f"draining is {draining}")

    def _half_close(self, number: int) -> None:
        self._tell(f"{number} half-closes")
        self._engine.half_close(self._sessions[number])
        self._model.half_close(number)
        self._compare()

    def _ask(self, idle: list[int]) -> None:
        kind = self._random.choices(list(WEIGHTS), self._weights)[0]
        number = self._random.choice(idle)
        holders = [number for number in idle if self._sessions[number].held]
        if kind in FOR_HOLDERS and holders and self._random.random() < 0.8:
            number = self._random.choice(holders)
        request = self._request(number, kind)
        self._tell(f"{number} asks {request}"[:150])
        session = self._sessions[number]
        self._asked[number] = request
        reply = self._engine.execute(session, request, self._now)
        if reply != (session.replies[-1] if session.replies else None):
            raise AssertionError(f"execute gave {reply!r}, and said {session.replies}")
        self._model.execute(number, request, self._now)
        self._compare()
        if session.closing != isinstance(request, requests.Quit):
            raise AssertionError(f"{number} asked {request}, closing is {session.closing}")
        if session.closing:
            self._close(number)

    # -- what was said ------------------------------------------------------------

    def _compare(self) -> None:
        said, expected = self._said(), _said_in(self._model)
        if said != expected:
            raise AssertionError(f"the engine said {said}, the model {expected}")
        self._hear(said)

    def _said(self) -> dict[int, list[bytes]]:
        """Take what the engine has said; its outbox must name exactly those it spoke to."""
        named = self._engine.outbox[:]
        self._engine.outbox.clear()
        said = {}
        for number, session in self._sessions.items():
            if named.count(session) != bool(session.replies):
                raise AssertionError(f"the outbox does not fit what was said to {number}")
            if session.replies:
                said[number] = session.replies[:]
                session.replies.clear()
        return said

    def _hear(self, said: dict[int, list[bytes]]) -> None:
        for number, told in said.items():
            if told == [b""]:  # another one has its session: it is closed without a word
                self._asked.pop(number, None)
                continue
            if len(told) != 1:
                raise AssertionError(f"{number} was told {told} for one request")
            request = self._asked.pop(number)
            if told[0].startswith(b"INSERTED "):
                job_id = int(told[0][9:])
                if job_id <= self._last_id:
                    raise AssertionError(f"id {job_id} was used before")
                self._last_id = job_id
            if self._heard is not None:
                self._heard(request, told[0])

    # -- random requests ----------------------------------------------------------

    def _request(self, number: int, kind: Any) -> Request:
        values = [getattr(self, f"_{name}")() for name in kind._fields if name != "id"]
        request: Request = kind(*[self._id(number, kind)] * ("id" in kind._fields), *values)
        return request

    def _id(self, number: int, kind: type[Request]) -> int:
        """One of the peer's own jobs where that is what the command is for, mostly."""
        pick, held = self._random.random(), list(self._sessions[number].held)
        if pick < 0.8 and held and kind in FOR_HOLDERS:
            return self._random.choice(held)
        if pick < 0.95 and self._model.jobs:
            return self._random.choice(self._model.jobs).id
        return self._random.randrange(self._model.ids_used + 2)

    def _priority(self) -> int:
        return self._random.choice(PRIORITIES)

    def _delay(self) -> int:
        return self._random.choice([0, 0, 0, 1, 2, 3])

    def _ttr(self) -> int:
        return self._random.choice([0, 1, 2, 3, 5, 20])

    def _timeout(self) -> int:
        return self._random.choice([0, 0, 1, 2, 5])

    def _body(self) -> bytes:
        return b"%d" % self._random.randrange(1000)

    def _tube(self) -> str:
        return self._random.choice(TUBES)

    def _key(self) -> str:
        return self._random.choice(["k", "l"])

    def _lifetime(self) -> int:
        return self._random.choice([0, 0, 1, 3, 10])

    def _name(self) -> str:
        return self._random.choice(["mailer", "indexer/2"])

    def _state(self) -> str:
        return self._random.choice(STATES)

    def _after(self) -> int:
        return self._random.randrange(self._model.ids_used + 2)

    def _limit(self) -> int:
        return self._random.choice([1, 2, 1000])

    def _words(self) -> tuple[str, ...]:
        return tuple(self._random.sample(sorted(CAPABILITIES), len(CAPABILITIES) // 2))

    def _grace(self) -> int:
        return self._random.choice([1, 2, 5])

    def _token(self) -> str:
        """One of somebody who waits, or is absent, rather than any."""
        known = [
            session.token
            for session in self._engine.tokens.sessions()
            for _ in range(5 if session.waiting or session.absent_until else 1)
        ]
        return self._random.choice([*known, "t0"])

    def _bound(self) -> int:
        return self._random.choice([0, 1, 2, 2**32 - 1])

    def _counted(self) -> str:
        return self._random.choice(["", "put", "pause-tube"])


FOR_HOLDERS = {requests.Release, requests.Bury, requests.Touch, requests.Delete}
WEIGHTS: dict[type[Request], float] = {
    requests.Put: 16,
    requests.PutTooBig: 0.5,
    requests.PutUnterminated: 0.5,
    requests.Use: 5,
    requests.Reserve: 9,
    requests.ReserveWithTimeout: 9,
    requests.ReserveJob: 5,
    requests.Delete: 9,
    requests.Release: 10,
    requests.Bury: 7,
    requests.Touch: 5,
    requests.Watch: 6,
    requests.Ignore: 4,
    requests.Peek: 1,
    requests.PeekReady: 2,
    requests.PeekDelayed: 2,
    requests.PeekBuried: 2,
    requests.Kick: 4,
    requests.KickJob: 4,
    requests.Stats: 3,
    requests.StatsJob: 5,
    requests.StatsTube: 4,
    requests.ListTubes: 3,
    requests.ListTubeUsed: 1,
    requests.ListTubesWatched: 2,
    requests.PauseTube: 2,
    requests.Capabilities: 0.5,
    requests.PutInTube: 4,
    requests.PutUnique: 4,
    requests.ListJobs: 2,
    requests.Truncate: 0.7,
    requests.Session: 6,
    requests.Resume: 4,
    requests.ListTimes: 2,
    requests.ListLeases: 2,
    requests.ListClients: 1,
    requests.ListSlow: 0.3,
    requests.ClientName: 0.5,
    requests.Quit: 0.5,
    requests.BadFormat: 0.5,
    requests.UnknownCommand: 0.5,
}


def _said_in(model: Model) -> dict[int, list[bytes]]:
    said = {number: peer.said[:] for number, peer in model.peers.items() if peer.said}
    for peer in model.peers.values():
        peer.said.clear()
    return said
