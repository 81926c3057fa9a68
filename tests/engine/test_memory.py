"""What stays in memory is bounded by what exists, whatever came and went before.

Several queues drop an entry only when it comes up. Each of these tests goes through something that
leaves such stale entries behind, over and over, and then counts what is still there.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from beanrow.engine.engine import Engine
from beanrow.engine.job import DELETED, READY, RESERVED, Job, new_job
from beanrow.engine.ready import ReadyQueue
from beanrow.engine.session import Session
from beanrow.engine.timers import SECOND
from beanrow.engine.tube import Tube
from beanrow.protocol import requests
from tests.engine.peers import Peer, VirtualQueue

BOUND = 3_000
"""Entries that may be left where nothing is alive."""
LOOPS = 10_000


def ready_entries(tube: Tube) -> int:
    return sum(
        1 if isinstance(lane, Job) else len(lane.jobs()) for lane in tube.ready._lanes.values()
    )


def delayed_entries(tube: Tube) -> int:
    return len(tube.delayed._heap)


def timer_entries(engine: Engine) -> int:
    return len(engine._timers._heap)


# -- ready jobs -----------------------------------------------------------------------------------


def test_a_million_jobs_that_left_out_of_turn_leave_little_behind() -> None:
    queue, tube = ReadyQueue(), Tube("a", 0)
    most = 0
    for number in range(1_000_000):
        job = new_job(number, tube, number % 3, 0, 1, b"", 0)
        queue.push(job)
        job.state = DELETED
        queue.discard()
        if number % 10_000 == 0:
            tube.ready = queue
            most = max(most, ready_entries(tube))
    assert most < BOUND
    assert queue.count == 0
    assert queue.first() is None


def test_stale_entries_among_live_ones_are_dropped() -> None:
    queue, tube = ReadyQueue(), Tube("a", 0)
    jobs = [new_job(number, tube, 0, 0, 1, b"", 0) for number in range(20_000)]
    for job in jobs:
        queue.push(job)
    for job in jobs[1::2] + jobs[2::4]:
        job.state = DELETED
        queue.discard()
    tube.ready = queue
    assert ready_entries(tube) <= 2 * queue.count + BOUND
    assert [queue.pop().id for _ in range(queue.count)] == list(range(0, 20_000, 4))


def test_one_job_that_leaves_out_of_turn_and_returns_for_ever() -> None:
    queue, tube = ReadyQueue(), Tube("a", 0)
    job, behind = new_job(1, tube, 5, 0, 1, b"", 0), new_job(2, tube, 5, 0, 1, b"", 0)
    queue.push(job)
    queue.push(behind)
    for number in range(LOOPS):
        job.state = RESERVED
        queue.discard()
        job.state = READY
        job.priority = number % 7
        queue.push(job)
    tube.ready = queue
    assert ready_entries(tube) < BOUND
    job.state = RESERVED
    queue.discard()
    assert queue.count == 1
    assert queue.pop() is behind


def test_a_job_that_stands_twice_is_given_once() -> None:
    queue, tube = ReadyQueue(), Tube("a", 0)
    job, behind = new_job(1, tube, 5, 0, 1, b"", 0), new_job(2, tube, 5, 0, 1, b"", 0)
    queue.push(job)
    queue.push(behind)
    job.state = RESERVED
    queue.discard()
    job.state = READY
    queue.push(job)
    assert queue.count == 2
    taken = queue.pop()
    assert taken is job
    taken.state = RESERVED
    assert (queue.first(), queue.count) == (behind, 1)
    assert queue.pop() is behind
    assert queue.first() is None


def test_a_deleted_job_lets_its_body_go(peer: Peer) -> None:
    """Its stale entry may stay for long, and a body may be as large as a gigabyte."""
    engine = peer.queue.engine
    execute(peer, requests.Put(0, 0, 1, b"kept"))
    execute(peer, requests.Put(9, 0, 1, b"x" * 1000))
    job = engine.jobs[2]
    execute(peer, requests.Delete(2))
    assert job.body == b""
    assert peer.body(1) == b"kept"


# -- delayed jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "kick"])
def test_delayed_jobs_that_left_out_of_turn_leave_little_behind(peer: Peer, way: str) -> None:
    tube = peer.session.used
    for number in range(LOOPS):
        execute(peer, requests.Put(0, 1_000_000, 1, b""))
        if way == "kick":
            execute(peer, requests.KickJob(number + 1))
            assert execute(peer, requests.Reserve()) is not None
        execute(peer, requests.Delete(number + 1))
    assert delayed_entries(tube) < BOUND
    assert timer_entries(peer.queue.engine) < BOUND


# -- alarms ---------------------------------------------------------------------------------------


def test_touching_for_ever_sets_few_alarms(peer: Peer) -> None:
    queue = peer.queue
    execute(peer, requests.Put(0, 0, 100, b""))
    execute(peer, requests.Reserve())
    for _ in range(LOOPS):
        queue.pass_time(0.01)
        assert execute(peer, requests.Touch(1)) == b"TOUCHED\r\n"
    assert timer_entries(queue.engine) < 5


def test_reserving_and_deleting_for_ever_sets_few_alarms(peer: Peer) -> None:
    for number in range(LOOPS):
        peer.queue.now += SECOND // 100
        execute(peer, requests.Put(0, 0, 1000, b""))
        execute(peer, requests.Reserve())
        execute(peer, requests.Delete(number + 1))
    assert timer_entries(peer.queue.engine) < 5


def test_connections_that_come_and_go_leave_few_alarms(queue: VirtualQueue, peer: Peer) -> None:
    execute(peer, requests.Put(0, 0, 2**32 - 1, b""))
    for _ in range(LOOPS):
        with_job, waiting = queue.peer(), queue.peer()
        execute(with_job, requests.Reserve())
        execute(waiting, requests.ReserveWithTimeout(1_000_000))
        waiting.close()
        with_job.close()
    assert timer_entries(queue.engine) < BOUND


def test_tubes_that_come_and_go_leave_few_alarms(peer: Peer) -> None:
    for _ in range(LOOPS):
        execute(peer, requests.Use("brief"))
        execute(peer, requests.PauseTube("brief", 1_000_000))
        execute(peer, requests.Use("default"))
    assert timer_entries(peer.queue.engine) < BOUND


def test_alarms_brought_forward_for_ever_leave_few_behind(peer: Peer) -> None:
    queue = peer.queue
    for number in range(LOOPS):
        execute(peer, requests.PauseTube("default", 1_000_000 - number))
    assert timer_entries(queue.engine) < BOUND
    assert queue.engine.next_deadline() == queue.now + (1_000_000 - LOOPS + 1) * SECOND


def test_no_alarm_is_lost_when_stale_ones_are_dropped(queue: VirtualQueue, peer: Peer) -> None:
    """Many live alarms among many stale ones: each wait ends at its own time."""
    waiting: list[tuple[int, Peer]] = []
    for number in range(4_000):
        brief = queue.peer()
        execute(brief, requests.ReserveWithTimeout(5_000 + number))
        if number % 4:
            brief.close()
        else:
            waiting.append((5_000 + number, brief))
    assert timer_entries(queue.engine) < 2 * len(waiting) + BOUND
    start = queue.now
    while waiting:
        end, first = waiting.pop(0)
        queue.pass_time((start + end * SECOND - 1 - queue.now) / SECOND)
        assert first.hear() == b""
        queue.pass_time(2 / SECOND)
        assert first.hear() == b"TIMED_OUT\r\n"


# -- what reference counting must free ------------------------------------------------------------


@pytest.fixture
def without_collector() -> Iterator[None]:
    """As in a server, which runs without the garbage collector: a cycle would stay for ever."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_tube_that_is_gone_is_freed(queue: VirtualQueue, without_collector: None) -> None:
    """Stale entries of its queues lead from the tube to jobs and back."""
    peer, other = queue.peer(), queue.peer()
    execute(peer, requests.Use("brief"))
    execute(other, requests.Watch("brief"))
    for job in range(1, 30, 3):
        execute(peer, requests.Put(job % 2, 0, 1, b""))
        execute(peer, requests.Put(0, 100, 1, b""))
        execute(peer, requests.Put(7, 0, 1, b""))
        for number in (job + 1, job, job + 2):
            if number % 2:
                execute(other, requests.ReserveJob(number))
                execute(other, requests.Delete(number))
            else:
                execute(peer, requests.Delete(number))
    execute(peer, requests.PauseTube("brief", 5))
    gone = Finalized(peer.session.used)
    execute(other, requests.Ignore("brief"))
    execute(peer, requests.Use("default"))
    queue.pass_time(100)  # its alarms are the last that know it
    assert "brief" not in queue.engine.tubes
    assert gone.freed()


def test_a_session_that_is_closed_is_freed(queue: VirtualQueue, without_collector: None) -> None:
    peer = queue.peer()
    execute(peer, requests.Put(0, 0, 60, b""))
    execute(peer, requests.Reserve())
    execute(peer, requests.ReserveWithTimeout(5))
    gone = Finalized(peer.session)
    peer.close()
    del peer
    queue.pass_time(60)
    assert gone.freed()


def test_churn_leaves_no_garbage(queue: VirtualQueue, without_collector: None) -> None:
    """Whatever the collector would find after this is lost memory in a server."""
    for number in range(200):
        peer, other = queue.peer(), queue.peer()
        tube = f"tube-{number % 7}"
        for request in (
            requests.Use(tube),
            requests.Put(number % 3, 0, 2, b"x"),
            requests.Put(number % 3, number % 4, 2, b"x"),
            requests.Watch(tube),
            requests.ReserveWithTimeout(0),
            requests.PauseTube(tube, number % 3),
        ):
            execute(peer, request)
        execute(other, requests.Watch(tube))
        execute(other, requests.ReserveWithTimeout(number % 5))
        execute(peer, requests.Delete(2 * number + 1 + number % 2))
        if number % 2:
            other.close()
        queue.pass_time(0.7)
        peer.close()
    del peer, other
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        garbage = [thing for thing in gc.garbage if is_ours(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert garbage == []


def is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith("beanrow.")


class Finalized:
    """Tells whether an object without weak references, as those with slots are, has been freed."""

    def __init__(self, thing: Session | Tube) -> None:
        witness = Witness("brief")
        self._witness = weakref.ref(witness)
        if isinstance(thing, Session):
            thing.owner = witness
        else:
            thing.name = witness

    def freed(self) -> bool:
        return self._witness() is None


class Witness(str):
    """A str that can be watched."""

    __slots__ = ("__weakref__",)


def execute(peer: Peer, request: requests.Request) -> bytes | None:
    """Carry out one request and hear what was said."""
    engine: Any = peer.queue.engine
    reply: bytes | None = engine.execute(peer.session, request, peer.queue.now)
    peer.hear()
    return reply


def test_a_queue_that_is_filled_at_once_is_as_one_filled_job_by_job() -> None:
    pick, tube = random.Random(4), Tube("a", 0)
    jobs = [new_job(number, tube, pick.choice((0, 3, 3, 7)), 0, 1, b"", 0) for number in range(500)]
    jobs += [new_job(500 + number, tube, 100 + number, 0, 1, b"", 0) for number in range(100)]
    filled, pushed = ReadyQueue(), ReadyQueue()
    filled.fill(list(jobs))
    for job in jobs:
        pushed.push(job)
    late = new_job(1_000, tube, 3, 0, 1, b"", 0)
    filled.push(late)
    pushed.push(late)
    assert filled.count == pushed.count == 601
    leaving = [filled.pop().id for _ in range(601)]
    assert leaving == [pushed.pop().id for _ in range(601)]
