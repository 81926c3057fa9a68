"""Who waits gets the job: in the order of arrival, until the wait or the connection ends."""

from __future__ import annotations

import pytest

from beanrow.protocol.commands import (
    bury,
    delete,
    ignore,
    kick,
    pause_tube,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    touch,
    use,
    watch,
)
from beanrow.protocol.replies import TIMED_OUT
from tests.engine.peers import WAITING, Peer, VirtualQueue


def test_a_job_goes_to_who_waits(peer: Peer, other: Peer) -> None:
    other.begin(reserve())
    assert other.answer() is WAITING
    job = peer(put(b"body"))
    taken = other.answer()
    assert (taken.id, taken.body) == (job, b"body")
    assert peer.job(job).state == "reserved"


def test_waiters_are_served_in_the_order_of_their_arrival(queue: VirtualQueue, peer: Peer) -> None:
    waiters = [queue.peer() for _ in range(5)]
    for waiter in waiters:
        waiter.begin(reserve())
    ids = [peer(put(b"")) for _ in range(5)]
    assert [waiter.answer().id for waiter in waiters] == ids


def test_one_who_waits_anew_stands_behind(queue: VirtualQueue, peer: Peer) -> None:
    early, late = queue.peer(), queue.peer()
    early.begin(reserve())
    late.begin(reserve())
    peer(put(b""))
    early.answer()
    early.begin(reserve())
    job = peer(put(b""))
    assert late.answer().id == job
    assert early.answer() is WAITING


def test_arrival_counts_over_several_tubes(queue: VirtualQueue, peer: Peer) -> None:
    wide, narrow = queue.peer(), queue.peer()
    wide(watch("a"))
    wide.begin(reserve())
    narrow(watch("a"))
    narrow(ignore("default"))
    narrow.begin(reserve())
    peer(use("a"))
    first, second = peer(put(b"")), peer(put(b""))
    assert (wide.answer().id, narrow.answer().id) == (first, second)


def test_one_job_wakes_one_waiter_of_several_tubes(peer: Peer, other: Peer) -> None:
    for tube in ("a", "b"):
        other(watch(tube))
    other.begin(reserve())
    peer(use("b"))
    job = peer(put(b""))
    assert other.answer().id == job
    peer(use("a"))
    rest = peer(put(b""))
    assert peer.job(rest).state == "ready"
    assert [peer.tube(name).current_waiting for name in ("a", "b", "default")] == [0, 0, 0]


def test_a_tube_not_watched_wakes_nobody(peer: Peer, other: Peer) -> None:
    other.begin(reserve())
    peer(use("a"))
    peer(put(b""))
    assert other.answer() is WAITING


@pytest.mark.parametrize("way", ["release", "kick", "close", "expire", "undelay"])
def test_every_way_to_become_ready_wakes(
    queue: VirtualQueue, peer: Peer, other: Peer, way: str
) -> None:
    job = peer(put(b"", ttr=5))
    peer(reserve_job(job))
    other.begin(reserve())
    if way == "release":
        peer(release(job))
    elif way == "kick":
        peer(bury(job))
        peer(kick(1))
    elif way == "close":
        peer.close()
    elif way == "expire":
        queue.pass_time(5)
    else:
        peer(release(job, delay=5))
        queue.pass_time(5)
    assert other.answer().id == job


def test_kick_hands_jobs_out_one_at_a_time_in_the_order_of_burial(
    queue: VirtualQueue, peer: Peer
) -> None:
    good, bad = peer(put(b"", 1)), peer(put(b"", 9))
    for job, priority in ((bad, 9), (good, 1)):
        peer(reserve_job(job))
        peer(bury(job, priority))
    waiter = queue.peer()
    waiter.begin(reserve())
    assert peer(kick(2)) == 2
    assert waiter.answer().id == bad


def test_a_wait_in_a_paused_tube_lasts_until_its_end(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    peer(pause_tube("default", 5))
    other.begin(reserve())
    job = peer(put(b""))
    assert other.answer() is WAITING
    queue.pass_time(5)
    assert other.answer().id == job


def test_the_end_of_a_pause_serves_all_who_wait(queue: VirtualQueue, peer: Peer) -> None:
    peer(pause_tube("default", 5))
    ids = [peer(put(b"")) for _ in range(3)]
    waiters = [queue.peer() for _ in range(4)]
    for waiter in waiters:
        waiter.begin(reserve())
    queue.pass_time(5)
    assert [waiter.answer().id for waiter in waiters[:3]] == ids
    assert waiters[3].answer() is WAITING


def test_what_stands_behind_a_wait_is_done_after_it(peer: Peer, other: Peer) -> None:
    other.begin(reserve())
    other._begun = None
    assert other.send(b"use behind\r\nlist-tube-used\r\n") == b""
    peer(put(b"x"))
    assert other.hear() == b"RESERVED 1 1\r\nx\r\n"
    assert other.send(b"") == b"USING behind\r\nUSING behind\r\n"


# -- connections that end -------------------------------------------------------------------------


def test_a_closed_connection_waits_no_more(peer: Peer, other: Peer) -> None:
    other(watch("a"))
    other.begin(reserve())
    other.close()
    job = peer(put(b""))
    assert peer.job(job).state == "ready"
    assert peer.server().current_waiting == 0


def test_the_next_in_line_takes_the_place_of_one_that_closed(
    queue: VirtualQueue, peer: Peer
) -> None:
    first, second = queue.peer(), queue.peer()
    first.begin(reserve())
    second.begin(reserve())
    first.close()
    job = peer(put(b""))
    assert second.answer().id == job


def test_jobs_of_a_closed_connection_go_out_in_the_order_of_their_reservation(
    queue: VirtualQueue, peer: Peer
) -> None:
    """Not best first: one at a time, as in the daemon."""
    holder, waiter = queue.peer(), queue.peer()
    good, bad = peer(put(b"", 1)), peer(put(b"", 9))
    holder(reserve_job(bad))
    holder(reserve_job(good))
    waiter.begin(reserve())
    holder.close()
    assert waiter.answer().id == bad
    assert peer.job(good).state == "ready"
    assert peer.job(good).releases == peer.job(good).timeouts == 0


def test_half_closing_ends_a_wait(peer: Peer, other: Peer) -> None:
    other.begin(reserve())
    other.half_close()
    assert other.answer() is None
    assert peer.server().current_waiting == 0
    job = peer(put(b""))
    assert peer.job(job).state == "ready"


def test_after_half_closing_nothing_waits(peer: Peer, other: Peer) -> None:
    other.half_close()
    assert other(reserve()) is None
    assert other(reserve_with_timeout(60)) is None
    job = peer(put(b""))
    assert other(reserve()).id == job  # type: ignore[union-attr]


def test_half_closing_while_nothing_waits_says_nothing(other: Peer) -> None:
    other.half_close()
    assert other.hear() == b""


def test_closing_twice_half_says_one_time_out(other: Peer) -> None:
    other.begin(reserve())
    other.half_close()
    other.half_close()
    assert other.session.replies == [TIMED_OUT]


def test_only_the_connection_that_reserved_may_finish(peer: Peer, other: Peer) -> None:
    job = peer(put(b""))
    other(reserve())
    for line in (b"delete %d", b"release %d 0 0", b"bury %d 0", b"touch %d"):
        assert peer.send(line % job + b"\r\n") == b"NOT_FOUND\r\n"
    other(touch(job))
    other(delete(job))
