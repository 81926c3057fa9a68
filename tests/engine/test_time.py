"""What time does: delays, ttrs, the last second, pauses, waits that end."""

from __future__ import annotations

import pytest

from beanrow.engine.timers import SECOND
from beanrow.errors import DeadlineSoon, NotFoundError
from beanrow.protocol.commands import (
    bury,
    delete,
    ignore,
    kick,
    kick_job,
    pause_tube,
    peek_delayed,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    touch,
    use,
    watch,
)
from tests.engine.peers import WAITING, Peer, VirtualQueue

MOMENT = 1 / SECOND


def take(peer: Peer) -> int | None:
    job = peer(reserve_with_timeout(0))
    return None if job is None else job.id


# -- delays ---------------------------------------------------------------------------------------


def test_a_delayed_job_becomes_ready_when_its_delay_ends(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=5))
    queue.pass_time(5 - MOMENT)
    assert (take(peer), peer.job(job).state) == (None, "delayed")
    queue.pass_time(MOMENT)
    assert peer.job(job).state == "ready"
    assert take(peer) == job


def test_delayed_jobs_become_ready_in_the_order_of_their_deadlines(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    slow, fast = peer(put(b"", 0, delay=5)), peer(put(b"", 9, delay=3))
    other.begin(reserve())
    queue.pass_time(5)
    assert other.answer().id == fast
    assert take(peer) == slow


def test_jobs_whose_delays_end_together_come_in_the_order_of_their_coming(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    """As in the daemon, where their times would differ by microseconds."""
    first, second = peer(put(b"")), peer(put(b""))
    for job in (second, first):
        peer(reserve_job(job))
        peer(release(job, delay=5))
    assert peer(peek_delayed()).id == second  # type: ignore[union-attr]
    other.begin(reserve())
    queue.pass_time(5)
    assert other.answer().id == second


def test_a_job_delayed_anew_to_the_same_moment_comes_last(peer: Peer) -> None:
    first, second = peer(put(b"", delay=5)), peer(put(b"", delay=5))
    peer(kick_job(first))
    peer(reserve_job(first))
    peer(release(first, delay=5))
    assert peer(peek_delayed()).id == second  # type: ignore[union-attr]


def test_a_released_job_waits_out_its_delay(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b""))
    assert take(peer) == job
    peer(release(job, delay=2))
    assert (peer.job(job).state, peer.job(job).delay) == ("delayed", 2)
    queue.pass_time(2)
    assert take(peer) == job


@pytest.mark.parametrize("way", ["reserved", "kicked", "deleted"])
def test_a_delay_that_was_cut_short_does_nothing_at_its_end(
    queue: VirtualQueue, peer: Peer, way: str
) -> None:
    job = peer(put(b"", delay=5))
    if way == "reserved":
        peer(reserve_job(job))
        peer(bury(job))
    elif way == "kicked":
        peer(kick_job(job))
    else:
        peer(delete(job))
    queue.pass_time(10)
    if way == "deleted":
        with pytest.raises(NotFoundError):
            peer.job(job)
    else:
        assert peer.job(job).state == {"reserved": "buried", "kicked": "ready"}[way]


def test_a_job_delayed_again_waits_for_its_new_delay(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=5))
    peer(reserve_job(job))
    peer(release(job, delay=8))
    queue.pass_time(5)
    assert peer.job(job).state == "delayed"
    queue.pass_time(3)
    assert peer.job(job).state == "ready"


def test_time_left_of_a_delay_is_rounded_down(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=60))
    assert peer.job(job).time_left == 59
    queue.pass_time(59)
    assert peer.job(job).time_left == 0


def test_a_job_keeps_its_delay_field(queue: VirtualQueue, peer: Peer) -> None:
    kicked, expired = peer(put(b"", delay=5)), peer(put(b"", delay=6))
    peer(kick_job(kicked))
    queue.pass_time(6)
    assert [peer.job(job).delay for job in (kicked, expired)] == [5, 6]


# -- ttr ------------------------------------------------------------------------------------------


def test_a_job_held_past_its_ttr_becomes_ready(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    job = peer(put(b"", ttr=10))
    assert take(peer) == job
    queue.pass_time(10 - MOMENT)
    assert other.job(job).state == "reserved"
    queue.pass_time(MOMENT)
    stats = other.job(job)
    assert (stats.state, stats.timeouts, stats.reserves, stats.releases) == ("ready", 1, 1, 0)
    assert other.server().job_timeouts == 1
    with pytest.raises(NotFoundError):
        peer(touch(job))


def test_a_ttr_of_zero_is_one_second(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", ttr=0))
    assert (take(peer), peer.job(job).ttr) == (job, 1)
    queue.pass_time(1)
    assert peer.job(job).state == "ready"


def test_touch_starts_the_ttr_anew(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", ttr=10))
    assert take(peer) == job
    for _ in range(5):
        queue.pass_time(9)
        peer(touch(job))
        assert peer.job(job).time_left == 9
    queue.pass_time(10)
    assert (peer.job(job).state, peer.job(job).timeouts) == ("ready", 1)


def test_each_of_several_held_jobs_has_its_own_ttr(queue: VirtualQueue, peer: Peer) -> None:
    long, short = peer(put(b"", 0, ttr=20)), peer(put(b"", 1, ttr=5))
    assert [take(peer), take(peer)] == [long, short]
    queue.pass_time(5)
    assert [peer.job(job).state for job in (long, short)] == ["reserved", "ready"]
    queue.pass_time(15)
    assert peer.job(long).state == "ready"


def test_a_job_that_ran_out_of_time_goes_to_who_waits(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    job = peer(put(b"", ttr=10))
    assert take(peer) == job
    other.begin(reserve())
    queue.pass_time(10)
    assert other.answer().id == job
    with pytest.raises(NotFoundError):
        peer(delete(job))


def test_jobs_that_ran_out_together_go_in_the_order_of_their_deadlines(
    queue: VirtualQueue, peer: Peer, other: Peer
) -> None:
    """Not best first, and not by reservation: the later tick finds both over."""
    best, soonest = peer(put(b"", 0, ttr=6)), peer(put(b"", 9, ttr=5))
    assert [take(peer), take(peer)] == [best, soonest]
    other.begin(reserve())
    queue.now += 7 * SECOND
    queue.engine.tick(queue.now)
    assert other.answer().id == soonest


# -- the last second ------------------------------------------------------------------------------


def test_deadline_soon_at_once_in_the_last_second(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", ttr=10))
    assert take(peer) == job
    queue.pass_time(9 - MOMENT)
    assert take(peer) is None
    queue.pass_time(MOMENT)
    for command in (reserve(), reserve_with_timeout(0), reserve_with_timeout(60)):
        with pytest.raises(DeadlineSoon):
            peer(command)


def test_deadline_soon_to_one_already_waiting(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", ttr=10))
    assert take(peer) == job
    peer.begin(reserve())
    queue.pass_time(9 - MOMENT)
    assert peer.answer() is WAITING
    queue.pass_time(MOMENT)
    with pytest.raises(DeadlineSoon):
        peer.answer()
    assert peer.server().current_waiting == 0
    assert peer.job(job).state == "reserved"


def test_with_ttr_1_every_reserve_on_empty_tubes_is_deadline_soon(peer: Peer) -> None:
    peer(put(b"", ttr=1))
    take(peer)
    with pytest.raises(DeadlineSoon):
        take(peer)


def test_a_ready_job_is_given_even_in_the_last_second(queue: VirtualQueue, peer: Peer) -> None:
    peer(put(b"", ttr=1))
    take(peer)
    ready = peer(put(b""))
    assert take(peer) == ready


def test_a_ready_job_of_a_paused_tube_does_not_hold_it_back(peer: Peer) -> None:
    peer(put(b"", ttr=1))
    take(peer)
    peer(put(b""))
    peer(pause_tube("default", 10))
    with pytest.raises(DeadlineSoon):
        take(peer)


def test_a_job_of_a_tube_no_longer_watched_triggers_it(peer: Peer) -> None:
    peer(put(b"", ttr=1))
    take(peer)
    peer(watch("other"))
    peer(ignore("default"))
    with pytest.raises(DeadlineSoon):
        take(peer)


def test_deadline_soon_before_the_time_out_of_the_same_moment(
    queue: VirtualQueue, peer: Peer
) -> None:
    peer(put(b"", ttr=10))
    take(peer)
    peer.begin(reserve_with_timeout(9))
    queue.pass_time(9)
    with pytest.raises(DeadlineSoon):
        peer.answer()


@pytest.mark.parametrize("way", ["touch", "delete", "release", "bury"])
def test_no_deadline_soon_once_the_job_is_safe(queue: VirtualQueue, peer: Peer, way: str) -> None:
    peer(use("apart"))
    job = peer(put(b"", ttr=10))
    peer(reserve_job(job))
    queue.pass_time(9.5)
    peer({"touch": touch, "delete": delete, "release": release, "bury": bury}[way](job))  # type: ignore[operator]
    assert take(peer) is None
    peer.begin(reserve_with_timeout(5))
    queue.pass_time(5)
    assert peer.answer() is None


def test_only_the_holder_is_told(queue: VirtualQueue, peer: Peer, other: Peer) -> None:
    peer(put(b"", ttr=1))
    take(peer)
    assert take(other) is None


def test_a_job_taken_by_a_waiter_has_its_own_last_second(queue: VirtualQueue, peer: Peer) -> None:
    """The alarm of the wait was later than the one the job needs."""
    peer.begin(reserve_with_timeout(100))
    queue.peer()(put(b"", ttr=3))
    job = peer.answer()
    peer.begin(reserve_with_timeout(100))
    queue.pass_time(2)
    with pytest.raises(DeadlineSoon):
        peer.answer()
    queue.pass_time(1)
    assert peer.job(job.id).state == "ready"


# -- waits ----------------------------------------------------------------------------------------


def test_a_wait_ends_when_its_time_is_over(queue: VirtualQueue, peer: Peer) -> None:
    peer.begin(reserve_with_timeout(3))
    queue.pass_time(3 - MOMENT)
    assert peer.answer() is WAITING
    queue.pass_time(MOMENT)
    assert peer.answer() is None


def test_a_wait_of_no_time_is_answered_at_once(peer: Peer) -> None:
    assert peer(reserve_with_timeout(0)) is None


def test_a_wait_for_ever_asks_for_no_tick(queue: VirtualQueue, peer: Peer) -> None:
    peer.begin(reserve())
    assert queue.engine.next_deadline() is None
    queue.pass_time(10**9)
    assert peer.answer() is WAITING


def test_the_longest_times_of_the_protocol(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=2**32 - 1, ttr=2**32 - 1))
    peer(pause_tube("default", 2**32 - 1))
    assert peer.job(job).time_left == 2**32 - 2
    assert peer.tube().pause_time_left == 2**32 - 2
    peer(reserve_job(job))
    assert peer.job(job).time_left == 2**32 - 2
    queue.pass_time(2**32 - 1)
    assert peer.job(job).state == "ready"
    assert peer.tube().pause == 0


# -- pauses ---------------------------------------------------------------------------------------


def test_a_paused_tube_gives_nothing_until_the_pause_ends(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b""))
    peer(pause_tube("default", 5))
    assert (peer.tube().pause, peer.tube().pause_time_left) == (5, 4)
    assert take(peer) is None
    peer.begin(reserve())
    queue.pass_time(5 - MOMENT)
    assert peer.answer() is WAITING
    queue.pass_time(MOMENT)
    assert peer.answer().id == job
    assert (peer.tube().pause, peer.tube().pause_time_left) == (0, 0)


def test_pause_0_ends_a_pause_and_wakes_who_waits(peer: Peer, other: Peer) -> None:
    job = peer(put(b""))
    peer(pause_tube("default", 5))
    other.begin(reserve())
    peer(pause_tube("default", 0))
    assert other.answer().id == job


def test_a_pause_counts_anew_with_each_command(queue: VirtualQueue, peer: Peer) -> None:
    peer(put(b""))
    peer(pause_tube("default", 5))
    queue.pass_time(4)
    peer(pause_tube("default", 5))
    queue.pass_time(4)
    assert take(peer) is None
    peer(pause_tube("default", 2))
    queue.pass_time(2)
    assert take(peer) is not None


def test_other_tubes_go_on(peer: Peer, other: Peer) -> None:
    peer(put(b"", 0))
    peer(use("b"))
    in_b = peer(put(b"", 9))
    other(watch("b"))
    peer(pause_tube("default", 5))
    assert take(other) == in_b


def test_a_pause_does_not_stop_delays(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=2))
    peer(pause_tube("default", 5))
    queue.pass_time(2)
    assert peer.job(job).state == "ready"
    assert take(peer) is None
    queue.pass_time(3)
    assert take(peer) == job


def test_reserve_job_and_kick_ignore_a_pause(peer: Peer) -> None:
    job = peer(put(b"", delay=5))
    peer(pause_tube("default", 5))
    assert peer(kick(1)) == 1
    assert peer(reserve_job(job)).id == job


def test_pause_of_no_tube(peer: Peer) -> None:
    with pytest.raises(NotFoundError, match="no such tube"):
        peer(pause_tube("nowhere", 5))


def test_a_tube_made_again_is_not_paused(queue: VirtualQueue, peer: Peer) -> None:
    peer(use("brief"))
    peer(pause_tube("brief", 100))
    peer(use("default"))
    peer(use("brief"))
    tube = peer.tube("brief")
    assert (tube.pause, tube.pause_time_left, tube.cmd_pause_tube) == (0, 0, 0)


# -- ticks ----------------------------------------------------------------------------------------


def test_the_engine_tells_when_it_wants_a_tick(queue: VirtualQueue, peer: Peer) -> None:
    engine, start = queue.engine, queue.now
    assert engine.next_deadline() is None
    peer(put(b"", delay=9, ttr=30))
    assert engine.next_deadline() == start + 9 * SECOND
    peer(pause_tube("default", 7))
    assert engine.next_deadline() == start + 7 * SECOND
    peer.begin(reserve_with_timeout(8))
    queue.pass_time(7)
    assert engine.next_deadline() == start + 8 * SECOND
    queue.pass_time(1)
    assert peer.answer() is None
    peer.begin(reserve())
    queue.pass_time(1)
    assert peer.answer().id == 1
    assert engine.next_deadline() == start + (9 + 30) * SECOND
    queue.pass_time(30)
    assert peer.job(1).state == "ready"
    assert engine.next_deadline() is None


def test_an_early_tick_changes_nothing(queue: VirtualQueue, peer: Peer) -> None:
    job = peer(put(b"", delay=9))
    queue.now += SECOND
    queue.engine.tick(queue.now)
    assert peer.job(job).state == "delayed"
    queue.pass_time(8)
    assert peer.job(job).state == "ready"
