"""In which order ready jobs leave: by priority, then by id, over all watched tubes."""

from __future__ import annotations

import random

import pytest

from beanrow.protocol.commands import (
    bury,
    delete,
    kick,
    kick_job,
    peek_ready,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    use,
    watch,
)
from tests.engine.peers import Peer, VirtualQueue


def take(peer: Peer) -> int | None:
    job = peer(reserve_with_timeout(0))
    return None if job is None else job.id


def take_all(peer: Peer) -> list[int]:
    return list(iter(lambda: take(peer), None))


def test_the_lowest_priority_number_leaves_first(peer: Peer) -> None:
    ids = {priority: peer(put(b"", priority)) for priority in (5, 0, 2**32 - 1, 1)}
    assert take_all(peer) == [ids[0], ids[1], ids[5], ids[2**32 - 1]]


def test_equal_priorities_leave_in_the_order_of_their_ids(peer: Peer) -> None:
    ids = [peer(put(b"", 7)) for _ in range(10)]
    assert take_all(peer) == ids


def test_a_released_job_goes_back_to_its_place_by_id(peer: Peer) -> None:
    first, second, third = (peer(put(b"", 7)) for _ in range(3))
    assert [take(peer), take(peer)] == [first, second]
    peer(release(second, 7))
    assert peer(reserve()).id == second  # type: ignore[union-attr]
    peer(release(second, 7))
    peer(release(first, 7))
    assert take_all(peer) == [first, second, third]


def test_a_released_job_takes_its_new_priority(peer: Peer) -> None:
    first, second = peer(put(b"", 7)), peer(put(b"", 7))
    assert take(peer) == first
    peer(release(first, 8))
    assert peer.job(first).pri == 8
    assert take_all(peer) == [second, first]


def test_a_job_that_ran_out_of_time_goes_back_to_its_place(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    first, second = peer(put(b"", 7, ttr=9)), peer(put(b"", 7))
    assert take(other) == first
    queue.pass_time(9)
    assert take_all(peer) == [first, second]


def test_the_jobs_of_a_closed_connection_go_back_to_their_places(peer: Peer, other: Peer) -> None:
    ids = [peer(put(b"", 7)) for _ in range(4)]
    assert [take(other), take(peer), take(other)] == ids[:3]
    other.close()
    assert take_all(peer) == [ids[0], ids[2], ids[3]]


@pytest.mark.parametrize("back", ["kick", "kick_job"])
def test_a_kicked_job_goes_back_to_its_place(peer: Peer, back: str) -> None:
    first, second = peer(put(b"", 7)), peer(put(b"", 7))
    assert take(peer) == first
    peer(bury(first, 7))
    assert peer(kick(1)) == 1 if back == "kick" else peer(kick_job(first)) is None
    assert take_all(peer) == [first, second]


def test_a_buried_job_takes_its_new_priority(peer: Peer) -> None:
    first, second = peer(put(b"", 7)), peer(put(b"", 7))
    assert take(peer) == first
    peer(bury(first, 9))
    peer(kick(1))
    assert take_all(peer) == [second, first]


def test_the_best_of_all_watched_tubes_leaves_first(peer: Peer, other: Peer) -> None:
    peer(use("b"))
    in_b = peer(put(b"", 7))
    peer(use("a"))
    in_a = peer(put(b"", 7))
    urgent = peer(put(b"", 6))
    for tube in ("a", "b"):
        other(watch(tube))
    assert take_all(other) == [urgent, in_b, in_a]


def test_a_tube_that_is_not_watched_gives_nothing(peer: Peer, other: Peer) -> None:
    peer(use("a"))
    peer(put(b"", 0))
    assert take(other) is None


def test_peek_ready_shows_what_leaves_next(peer: Peer) -> None:
    peer(put(b"late", 9))
    peer(put(b"soon", 3))
    shown = peer(peek_ready())
    assert shown is not None
    assert (shown.id, shown.body) == (2, b"soon")
    assert take(peer) == 2


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_leaves_in_order(seed: int) -> None:
    """Against a sorted list, with few priorities, so that lanes fill, empty and refill."""
    pick, peer = random.Random(seed), VirtualQueue().peer()
    ready: list[tuple[int, int]] = []
    held: list[int] = []
    for _ in range(600):
        step, priority = pick.random(), pick.choice([0, 1, 1, 1, 1023, 1024])
        if step < 0.3:
            ready.append((priority, peer(put(b"", priority))))
        elif step < 0.55:
            ready.sort()
            expected = ready.pop(0)[1] if ready else None
            assert take(peer) == expected
            held += [] if expected is None else [expected]
        elif step < 0.8 and held:
            job = held.pop(pick.randrange(len(held)))
            peer(release(job, priority))
            ready.append((priority, job))
        elif step < 0.9 and ready:
            job = ready.pop(pick.randrange(len(ready)))[1]
            peer(reserve_job(job))
            held.append(job)
        elif ready:
            peer(delete(ready.pop(pick.randrange(len(ready)))[1]))
        assert peer.tube().current_jobs_ready == len(ready)
        shown = peer(peek_ready())
        assert (shown and shown.id) == (min(ready)[1] if ready else None)
