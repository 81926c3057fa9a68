"""Which command takes a job from which state to which, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from beanrow.errors import CommandError, DrainingError, ExpectedCrlfError, JobTooBigError
from beanrow.protocol.commands import (
    Command,
    bury,
    delete,
    kick,
    kick_job,
    peek_buried,
    peek_delayed,
    peek_ready,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    touch,
    use,
)
from beanrow.protocol.values import Job
from tests.engine.peers import Peer, VirtualQueue

GONE = "gone"


def job_in(state: str, peer: Peer, other: Peer) -> int:
    """Make a job that is ready, delayed, buried, reserved by ``peer``, taken by ``other`` or gone."""
    job = peer(put(b"", delay=100 if state == "delayed" else 0))
    if state in ("reserved", "buried", GONE):
        peer(reserve_job(job))
    if state == "taken":
        other(reserve_job(job))
    if state == "buried":
        peer(bury(job))
    if state == GONE:
        peer(delete(job))
    return job


def release_later(job: int) -> Command[bool]:
    return release(job, delay=50)


TRANSITIONS: dict[Callable[[int], Command[Any]], dict[str, str]] = {
    delete: {"ready": GONE, "delayed": GONE, "buried": GONE, "reserved": GONE},
    release: {"reserved": "ready"},
    release_later: {"reserved": "delayed"},
    bury: {"reserved": "buried"},
    touch: {"reserved": "reserved"},
    kick_job: {"delayed": "ready", "buried": "ready"},
    reserve_job: {"ready": "reserved", "delayed": "reserved", "buried": "reserved"},
}


@pytest.mark.parametrize("state", ["ready", "delayed", "buried", "reserved", "taken", GONE])
@pytest.mark.parametrize("command", TRANSITIONS, ids=lambda command: command.__name__)
def test_transition(
    peer: Peer, other: Peer, command: Callable[[int], Command[Any]], state: str
) -> None:
    job = job_in(state, peer, other)
    end = TRANSITIONS[command].get(state)
    if end is not None:
        peer(command(job))
    else:
        with pytest.raises(CommandError) as refused:
            peer(command(job))
        assert refused.value.status == "NOT_FOUND"
        end = "reserved" if state == "taken" else state
    if end == GONE:
        assert peer.send(b"stats-job %d\r\n" % job) == b"NOT_FOUND\r\n"
    else:
        assert peer.job(job).state == end


def test_every_transition_is_counted_by_the_job(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", ttr=5))
    peer(reserve())
    peer(release(job))
    peer(reserve())
    peer(bury(job))
    peer(kick(1))
    peer(reserve())
    peer(release(job, delay=1))
    peer(kick_job(job))
    peer(reserve())
    queue.pass_time(5)
    stats = peer.job(job)
    assert (stats.reserves, stats.releases, stats.buries, stats.kicks) == (4, 2, 1, 2)
    assert stats.timeouts == 1


def test_a_put_keeps_all_it_was_told(queue: VirtualQueue, peer: Peer) -> None:
    peer(use("mail"))
    job = peer(put(b"\0\r\n\xff", 7, delay=30, ttr=40))
    queue.pass_time(10)
    stats = peer.job(job)
    assert (stats.id, stats.tube, stats.pri, stats.delay, stats.ttr) == (job, "mail", 7, 30, 40)
    assert (stats.age, stats.state, stats.time_left, stats.file) == (10, "delayed", 19, 0)
    assert peer.body(job) == b"\0\r\n\xff"


def test_ids_rise_and_are_never_used_again(peer: Peer) -> None:
    assert peer(put(b"")) == 1
    peer(delete(1))
    assert peer(put(b"")) == 2


def test_a_refused_put_uses_up_an_id_where_the_daemon_does(queue: VirtualQueue, peer: Peer) -> None:
    with pytest.raises(ExpectedCrlfError):
        _ask(peer, b"put 0 0 1 1\r\nabc")
    assert peer(put(b"")) == 2
    with pytest.raises(JobTooBigError):
        peer(put(b"x" * 65536))
    assert peer(put(b"")) == 3
    queue.engine.draining = True
    with pytest.raises(DrainingError):
        peer(put(b""))
    queue.engine.draining = False
    assert peer(put(b"")) == 5


def test_draining_refuses_puts_and_nothing_else(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b""))
    queue.engine.draining = True
    with pytest.raises(DrainingError):
        peer(put(b""))
    assert peer.server().draining is True
    assert peer(reserve()).id == job  # type: ignore[union-attr]
    peer(release(job))
    peer(delete(job))


def test_reserve_job_takes_from_any_tube(peer: Peer, other: Peer) -> None:
    peer(use("far"))
    job = peer(put(b"x"))
    taken = other(reserve_job(job))
    assert (taken.id, taken.body) == (job, b"x")
    assert other.job(job).reserves == 1


def test_reserve_job_refuses_ones_own(peer: Peer) -> None:
    job = peer(put(b""))
    peer(reserve_job(job))
    assert peer.send(b"reserve-job %d\r\n" % job) == b"NOT_FOUND\r\n"


# -- kick -----------------------------------------------------------------------------------------


def test_kick_takes_buried_jobs_in_the_order_of_their_burial(peer: Peer) -> None:
    ids = [peer(put(b"", 5)) for _ in range(3)]
    for job in reversed(ids):
        peer(reserve_job(job))
        peer(bury(job, 5))
    assert _id(peer(peek_buried())) == ids[2]
    assert peer(kick(2)) == 2
    assert [peer.job(job).state for job in ids] == ["buried", "ready", "ready"]


def test_kick_leaves_delayed_jobs_while_one_is_buried(peer: Peer) -> None:
    buried, delayed = peer(put(b"")), peer(put(b"", delay=9))
    peer(reserve_job(buried))
    peer(bury(buried))
    assert peer(kick(10)) == 1
    assert peer.job(delayed).state == "delayed"
    assert peer(kick(10)) == 1
    assert peer.job(delayed).state == "ready"
    assert peer(kick(10)) == 0


def test_kick_takes_the_delayed_jobs_that_are_due_first(peer: Peer) -> None:
    ids = [peer(put(b"", delay=delay)) for delay in (9, 3, 6)]
    assert _id(peer(peek_delayed())) == ids[1]
    assert peer(kick(2)) == 2
    assert [peer.job(job).state for job in ids] == ["delayed", "ready", "ready"]


@pytest.mark.parametrize("bound", [0, 1, 2**32 - 1])
def test_kick_is_bounded(peer: Peer, bound: int) -> None:
    for _ in range(3):
        peer(put(b"", delay=9))
    assert peer(kick(bound)) == min(bound, 3)


def test_kick_is_of_the_used_tube(peer: Peer) -> None:
    job = peer(put(b"", delay=9))
    peer(use("other"))
    assert peer(kick(1)) == 0
    peer(kick_job(job))
    assert peer.job(job).state == "ready"


def test_kick_never_touches_reserved_jobs(peer: Peer) -> None:
    peer(put(b""))
    peer(reserve())
    assert peer(kick(1)) == 0


def test_a_job_buried_again_stands_last(peer: Peer) -> None:
    ids = [peer(put(b"")) for _ in range(2)]
    for job in (*ids, ids[0]):
        if peer.job(job).state == "buried":
            peer(kick_job(job))
        peer(reserve_job(job))
        peer(bury(job))
    assert _id(peer(peek_buried())) == ids[1]


# -- peek -----------------------------------------------------------------------------------------


def test_peeks_look_at_the_used_tube_and_take_nothing(peer: Peer) -> None:
    peer(use("seen"))
    ready, delayed, buried = peer(put(b"r")), peer(put(b"d", delay=9)), peer(put(b"b"))
    peer(reserve_job(buried))
    peer(bury(buried))
    for _ in range(2):
        shown = [peer(peek()) for peek in (peek_ready, peek_delayed, peek_buried)]
        assert [(_id(job), job and job.body) for job in shown] == [
            (ready, b"r"),
            (delayed, b"d"),
            (buried, b"b"),
        ]
    peer(use("empty"))
    assert [peer(peek()) for peek in (peek_ready, peek_delayed, peek_buried)] == [None] * 3


def test_peek_sees_a_job_in_any_state_and_tube(peer: Peer, other: Peer) -> None:
    peer(use("far"))
    job = peer(put(b"x"))
    assert other.body(job) == b"x"
    peer(reserve_job(job))
    assert other.body(job) == b"x"


def test_peek_ready_ignores_a_pause(peer: Peer) -> None:
    job = peer(put(b""))
    peer.send(b"pause-tube default 9\r\n")
    assert _id(peer(peek_ready())) == job
    assert peer(reserve_with_timeout(0)) is None


def _id(job: Job | None) -> int | None:
    return None if job is None else job.id


def _ask(peer: Peer, request: bytes) -> None:
    """Send a put as no client of ours would."""
    put(b"").answer(peer.send(request))
