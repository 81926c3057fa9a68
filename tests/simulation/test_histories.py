"""The engine lives through random histories as the model says; planted bugs are found."""

from __future__ import annotations

from typing import Any

import pytest

from beanrow.engine.engine import Engine
from beanrow.engine.job import Job
from beanrow.engine.session import Session
from beanrow.engine.tube import Tube
from beanrow.protocol import replies, requests
from tests.simulation.simulation import HistoryError, Simulation

STEPS = 200


def live(first: int, count: int) -> None:
    for seed in range(first, first + count):
        try:
            Simulation(seed).run(STEPS)
        except HistoryError as error:
            command = f"python -m tests.simulation --seeds {seed} --steps {STEPS}"
            pytest.fail(f"{error}\nto repeat it: {command}", pytrace=False)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_histories(first: int) -> None:
    live(first, 50)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1000, 3000, 500))
def test_two_thousand_histories(first: int) -> None:
    live(first, 500)


# -- planted bugs --------------------------------------------------------------------------------


class ForgetsTimeouts(Engine):
    def _wake_session(self, session: Session, now: int) -> None:
        if session.waiting:
            super()._wake_session(session, now)


class NeverSaysDeadlineSoon(Engine):
    def _deadline_soon(self, session: Session, now: int) -> bool:
        return False


class ServesTheLastWaiter(Engine):
    def _match(self, tube: Tube, now: int) -> None:
        for session in list(tube.waiting)[:-1]:
            tube.waiting.move_to_end(session)
        super()._match(tube, now)


class LosesTheUrgentCount(Engine):
    def _take(self, tube: Tube) -> Job:
        urgent = tube.urgent
        job = super()._take(tube)
        tube.urgent = urgent
        return job


class IgnoresPauses(Engine):
    def _pause_tube(self, session: Session, request: requests.PauseTube, now: int) -> bytes:
        reply = super()._pause_tube(session, request, now)
        tube = self.tubes.get(request.tube)
        if tube is not None:
            tube.paused_until = 0
        return reply


class WakesNobodyAfterRelease(Engine):
    def _release(self, session: Session, request: requests.Release, now: int) -> bytes:
        match: Any = self._match
        self._match = lambda tube, now: None  # type: ignore[method-assign]  # that is the bug
        try:
            return super()._release(session, request, now)
        finally:
            self._match = match  # type: ignore[method-assign]  # likewise


class DeletesWhatOthersHold(Engine):
    def _delete(self, session: Session, request: requests.Delete, now: int) -> bytes:
        job = self.jobs.get(request.id)
        holder = session if job is None or job.holder is None else job.holder
        return super()._delete(holder, request, now)


class GivesIdsTwice(Engine):
    def _put_unterminated(
        self, session: Session, request: requests.PutUnterminated, now: int
    ) -> bytes:
        reply = super()._put_unterminated(session, request, now)
        self._next_id -= 2 if self._next_id > 3 else 1
        return reply


class KeepsTheJobsOfTheGone(Engine):
    def close(self, session: Session, now: int) -> None:
        held = dict(session.held)
        session.held.clear()
        super().close(session, now)
        session.held.update(held)


class TouchesNothing(Engine):
    def _touch(self, session: Session, request: requests.Touch, now: int) -> bytes:
        return replies.TOUCHED if request.id in session.held else replies.NOT_FOUND


@pytest.mark.parametrize(
    "engine",
    [
        ForgetsTimeouts,
        NeverSaysDeadlineSoon,
        ServesTheLastWaiter,
        LosesTheUrgentCount,
        IgnoresPauses,
        WakesNobodyAfterRelease,
        DeletesWhatOthersHold,
        GivesIdsTwice,
        KeepsTheJobsOfTheGone,
        TouchesNothing,
    ],
)
def test_a_planted_bug_is_found(engine: type[Engine]) -> None:
    for seed in range(60):
        try:
            Simulation(seed, engine).run(STEPS)
        except HistoryError:
            return
    pytest.fail(f"{engine.__name__} lived through 60 histories unnoticed")
