"""Our server and the real daemon answer the same conversations alike; the runner sees if not."""

from __future__ import annotations

from typing import Any

import pytest

from beanrow.engine.engine import Engine
from beanrow.engine.job import Job
from beanrow.engine.session import Session
from beanrow.engine.tube import Tube
from beanrow.protocol import replies, requests
from tests.differential.gateway import GatewayTwin
from tests.differential.run import Difference, run_gateway, run_seed
from tests.differential.shorten import explained, shorten
from tests.need import need

pytestmark = pytest.mark.daemon


def compare(seed: int, steps: int, *, kept: bool = False) -> None:
    try:
        result = run_seed(seed, steps, kept=kept)
    except Difference as difference:
        pytest.fail(explained(difference, seed, steps, kept=kept), pytrace=False)
    assert result.replies > result.steps / 2, "too much of the conversation went unanswered"


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 19])  # 5 drains, 19 lets time pass
def test_short_conversations(seed: int) -> None:
    compare(seed, 1000)


def test_a_conversation_with_journals() -> None:
    compare(3, 1000, kept=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 220))
def test_long_conversations_with_journals(seed: int) -> None:
    compare(seed, 2000, kept=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 153))  # over 100,000 steps in all
def test_long_conversations(seed: int) -> None:
    compare(seed, 2000)


# -- planted bugs: each must be found ------------------------------------------------------------


class ReleaseKeepsPriority(Engine):
    def _release(self, session: Session, request: requests.Release, now: int) -> bytes:
        job = session.held.get(request.id)
        if job is not None:
            request = request._replace(priority=job.priority)
        return super()._release(session, request, now)


class KicksDelayedFirst(Engine):
    def _kick(self, session: Session, request: requests.Kick, now: int) -> bytes:
        tube = session.used
        if tube.delayed.count and tube.buried and request.bound:
            job = tube.delayed.first()
            assert job is not None
            self._kick_one(job, now)
            return replies.kicked(1)
        return super()._kick(session, request, now)


class ReturnsToTheEnd(Engine):
    """A job that is put back forgets its place."""

    def _make_ready(self, job: Job, now: int) -> None:
        if job.reserves:
            self.jobs.remove(job)
            job.id = self._next_id
            self._next_id += 1
            self.jobs.add(job)
        super()._make_ready(job, now)


class KeepsEmptyTubes(Engine):
    def _drop_if_unused(self, tube: Tube) -> None:
        pass


class AnyoneMayRelease(Engine):
    def _release(self, session: Session, request: requests.Release, now: int) -> bytes:
        job = self.jobs.get(request.id)
        holder = session if job is None or job.holder is None else job.holder
        return super()._release(holder, request, now)


class IgnoreKeepsOrder(Engine):
    def _ignore(self, session: Session, request: requests.Ignore, now: int) -> bytes:
        before = list(session.watched)
        reply = super()._ignore(session, request, now)
        session.watched.sort(key=before.index)
        return reply


class NeverDeadlineSoon(Engine):
    def _reserve(self, session: Session, request: Any, now: int) -> bytes | None:
        held, session.held = session.held, {}
        reply = super()._reserve(session, request, now)
        session.held = held | session.held
        return reply


class DropsTubesInWatchOrder(Engine):
    def close(self, session: Session, now: int) -> None:
        session.watched[1:] = session.watched[:0:-1]
        super().close(session, now)


class CountsEveryDelete(Engine):
    def _delete(self, session: Session, request: requests.Delete, now: int) -> bytes:
        reply = super()._delete(session, request, now)
        if reply is replies.NOT_FOUND:
            session.used.cmd_delete += 1
        return reply


class WaitsOnAfterHalfClose(Engine):
    def half_close(self, session: Session) -> None:
        session.half_closed = True


class PausesForgotten(Engine):
    def _pause_tube(self, session: Session, request: requests.PauseTube, now: int) -> bytes:
        return super()._pause_tube(session, request._replace(delay=0), now)


PLANTED = [
    ReleaseKeepsPriority,
    KicksDelayedFirst,
    ReturnsToTheEnd,
    KeepsEmptyTubes,
    AnyoneMayRelease,
    IgnoreKeepsOrder,
    NeverDeadlineSoon,
    DropsTubesInWatchOrder,
    CountsEveryDelete,
    WaitsOnAfterHalfClose,
    PausesForgotten,
]


@pytest.mark.long
@pytest.mark.parametrize("engine", PLANTED)
def test_a_planted_bug_is_found(engine: type[Engine]) -> None:
    for seed in range(10):
        try:
            run_seed(seed, 1000, engine, with_ours=False)
        except Difference:
            return
    pytest.fail(f"{engine.__name__} was not noticed in 10,000 steps")


def test_a_difference_is_told_in_few_steps() -> None:
    with pytest.raises(Difference) as found:
        run_seed(0, 1000, KeepsEmptyTubes, with_ours=False)
    shortest = shorten(found.value, KeepsEmptyTubes, seconds=20)
    assert len(shortest.steps) <= 5
    assert "the twin says" in str(shortest)
    assert "the daemon says" in str(shortest)


# -- gateways --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seed",
    # 5 drains; of the long ones 305 and 315 do, and 319 lets time pass
    [0, 5, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(300, 320))],
)
def test_conversations_with_a_gateway(seed: int) -> None:
    need("redis")
    result = run_gateway(seed, 500 if seed < 100 else 2000)
    assert result.replies > result.steps / 2


@pytest.mark.long
@pytest.mark.parametrize("engine", [ReleaseKeepsPriority, AnyoneMayRelease, PausesForgotten])
def test_a_planted_bug_is_found_on_a_gateway(engine: type[Engine]) -> None:
    class Twin(engine, GatewayTwin):  # type: ignore[valid-type, misc]
        pass

    for seed in range(5):
        try:
            run_gateway(seed, 1000, Twin)
        except Difference:
            return
    pytest.fail(f"{engine.__name__} was not noticed in 5,000 steps")
