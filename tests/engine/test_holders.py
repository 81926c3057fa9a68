"""How long jobs waited and were held, who holds them, who is connected: on a virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from beanrow.errors import BadValueError, NotFoundError, UnknownCommandError
from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.commands import (
    Command,
    bury,
    delete,
    kick_job,
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
from beanrow.protocol.extensions import (
    capabilities,
    client_name,
    list_clients,
    list_leases,
    list_slow,
    list_times,
    put_in_tube,
)
from beanrow.protocol.times import Histogram, TubeTimes, bucket_end
from tests.engine.peers import Peer, VirtualQueue


@pytest.fixture(autouse=True)
def _asked(peer: Peer) -> None:
    assert peer(capabilities(*CAPABILITIES)) == CAPABILITIES


def times(peer: Peer, tube: str = "default") -> TubeTimes:
    return peer(list_times(tube))


def seconds(histogram: Histogram) -> tuple[int, float]:
    """How many times there are, and their sum."""
    return histogram.number, histogram.seconds


# -- times ------------------------------------------------------------------------


def test_a_wait_is_from_ready_to_reserved_in_turn(peer: Peer, queue: VirtualQueue) -> None:
    peer(put(b"x", delay=10))
    queue.pass_time(13)  # ready for 3
    assert seconds(times(peer).waits) == (0, 0)
    peer(reserve())
    assert seconds(times(peer).waits) == (1, 3.0)
    peer(release(1))
    queue.pass_time(0.5)
    peer(reserve())
    assert seconds(times(peer).waits) == (2, 3.5)


def test_who_waits_for_a_job_makes_it_wait_for_nothing(
    peer: Peer, other: Peer, queue: VirtualQueue
) -> None:
    other.begin(reserve())
    queue.pass_time(9)
    peer(put(b"x"))
    assert seconds(times(peer).waits) == (1, 0)


def test_a_pause_is_a_wait(peer: Peer, other: Peer, queue: VirtualQueue) -> None:
    peer(put(b"x"))
    peer(pause_tube("default", 7))
    other.begin(reserve())
    queue.pass_time(8)
    assert other.answer().id == 1
    assert seconds(times(peer).waits) == (1, 7.0)


def test_what_is_reserved_by_its_id_has_not_waited(peer: Peer, queue: VirtualQueue) -> None:
    job = peer(put(b"x"))
    queue.pass_time(5)
    peer(reserve_job(job))
    assert seconds(times(peer).waits) == (0, 0)
    queue.pass_time(2)
    peer(delete(job))
    assert seconds(times(peer).runs) == (1, 2.0)


def test_a_run_ends_by_what_its_holder_says(peer: Peer, queue: VirtualQueue) -> None:
    ends: list[Command[Any]] = [release(1), bury(1), delete(1)]
    for end in ends:
        if not peer.queue.engine.jobs:
            peer(put(b"x", ttr=100))
        elif peer.job(1).state == "buried":
            peer(kick_job(1))
        peer(reserve())
        queue.pass_time(1.5)
        peer(touch(1))  # a longer lease, and the same run
        queue.pass_time(1.5)
        peer(end)
    assert seconds(times(peer).runs) == (3, 9.0)


def test_a_run_that_its_holder_did_not_end_is_none(
    peer: Peer, other: Peer, queue: VirtualQueue
) -> None:
    peer(put(b"x", ttr=2))
    other(reserve())
    queue.pass_time(3)  # its ttr is over
    assert peer.job(1).timeouts == 1
    other(reserve())
    other.close()
    peer(delete(1))  # of nobody's
    assert seconds(times(peer).runs) == (0, 0)


def test_each_tube_has_its_own_times_and_a_new_one_none(peer: Peer, queue: VirtualQueue) -> None:
    peer(put_in_tube("a", b"x"))
    peer(watch("a"))
    queue.pass_time(1)
    peer(reserve())
    assert seconds(times(peer).waits) == (0, 0)
    assert seconds(times(peer, "a").waits) == (1, 1.0)
    with pytest.raises(NotFoundError):
        times(peer, "b")


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [(0, 0), (1, 0), (2**20 - 1, 0), (2**20, 1), (2**21 - 1, 1), (2**21, 2), (2**60, 41)],
)
def test_the_bucket_of_a_time(
    peer: Peer, queue: VirtualQueue, nanoseconds: int, bucket: int
) -> None:
    peer(put(b"x"))
    queue.now += nanoseconds
    peer(reserve_with_timeout(0))
    waits = times(peer).waits
    assert waits.counts == (*[0] * bucket, 1)
    assert waits.total == nanoseconds
    assert nanoseconds < bucket_end(bucket) * 1e9


def test_a_quantile_is_within_its_bucket() -> None:
    assert Histogram().quantile(0.5) is None
    even = Histogram((0, 100, 0, 100), 0)
    assert even.quantile(0.25) == pytest.approx((bucket_end(0) + bucket_end(1)) / 2)
    assert even.quantile(0.5) == bucket_end(1)
    assert even.quantile(1.0) == bucket_end(3)
    assert Histogram((4,), 0).quantile(0.5) == bucket_end(0) / 2


def test_what_was_counted_since() -> None:
    before, after = Histogram((1, 2), 50), Histogram((1, 5, 0, 1), 90)
    assert after.since(before) == Histogram((0, 3, 0, 1), 40)
    assert after.since(after) == Histogram()
    assert before.since(after) == before  # another tube of that name


# -- leases -----------------------------------------------------------------------


def test_leases_tell_who_holds_what(peer: Peer, other: Peer, queue: VirtualQueue) -> None:
    other.session.peer = "10.0.0.7:4711"
    other(capabilities("client-name"))
    other(client_name("mailer/3"))
    peer(use("mail"))
    for _ in range(3):
        peer(put(b"x", ttr=60))
    other(watch("mail"))
    other(reserve())
    queue.pass_time(12.5)
    peer(reserve_job(3))
    page = peer(list_leases())
    assert page.after is None
    first, second = page.rows
    assert first._asdict() == {
        "id": 1,
        "tube": "mail",
        "connection": 2,
        "peer": "10.0.0.7:4711",
        "client": "mailer/3",
        "held": 12,
        "time_left": 47,
        "ttr": 60,
        "reserves": 1,
    }
    assert (second.id, second.connection, second.client, second.held) == (3, 1, "", 0)
    other(touch(1))
    lease = peer(list_leases()).rows[0]
    assert (lease.held, lease.time_left) == (12, 59)
    other(delete(1))
    assert [one.id for one in peer(list_leases()).rows] == [3]


def test_leases_come_in_pages_by_id(peer: Peer, other: Peer) -> None:
    for _ in range(5):
        peer(put(b"x"))
    for job in (4, 2, 5):
        peer(reserve_job(job))
    for job in (3, 1):
        other(reserve_job(job))
    page = peer(list_leases(0, 2))
    assert ([one.id for one in page.rows], page.after) == ([1, 2], 2)
    page = peer(list_leases(2, 3))
    assert ([one.id for one in page.rows], page.after) == ([3, 4, 5], None)
    assert peer(list_leases(5)) == ([], None)


# -- connections ------------------------------------------------------------------


def test_connections_tell_what_they_do(peer: Peer, other: Peer, queue: VirtualQueue) -> None:
    third = queue.peer()
    peer(use("mail"))
    peer(put(b"x"))
    for name in ("mail", *(f"t{number:02}" for number in range(30))):
        other(watch(name))
    other(reserve())
    third.begin(reserve())
    (first, second, last) = peer(list_clients()).rows
    assert first[:3] == (1, "", "")
    assert (first.producer, first.worker, first.used, first.held) == (True, False, "mail", 0)
    assert (first.watching, first.watched) == (1, ("default",))
    assert (second.worker, second.waiting, second.watching, second.held) == (True, False, 32, 1)
    assert second.watched == ("default", "mail", *(f"t{number:02}" for number in range(18)))
    assert (last.waiting, last.connection) == (True, 3)
    page = peer(list_clients(0, 2))
    assert ([one.connection for one in page.rows], page.after) == ([1, 2], 2)
    other.close()
    assert [one.connection for one in peer(list_clients(1, 9)).rows] == [3]


def test_a_name_is_spelled_like_a_tube(peer: Peer) -> None:
    with pytest.raises(BadValueError, match="spelled like a tube name"):
        client_name("two words")
    assert peer.send(b"client-name -x\r\n") == b"BAD_FORMAT\r\n"


def test_no_command_is_slow_where_nobody_measures(peer: Peer) -> None:
    assert peer(list_slow()) == ([], None)


@pytest.mark.parametrize(
    "line",
    [
        *(b"list-times", b"list-times ", b"list-times a b", b"client-name", b"list-slow"),
        *(b"list-slow -1", b"list-slow 18446744073709551616", b"list-leases", b"list-leases 0"),
        *(b"list-leases 0 0", b"list-leases 0 1001", b"list-leases 18446744073709551616 1"),
        *(b"list-clients 1", b"list-clients 0 10 ", b"list-clients  0 10"),
    ],
)
def test_a_malformed_line(peer: Peer, line: bytes) -> None:
    assert peer.send(line + b"\r\nlist-tube-used\r\n") == b"BAD_FORMAT\r\nUSING default\r\n"


@pytest.mark.parametrize(
    "command",
    [list_times("default"), list_leases(), list_clients(), list_slow(), client_name("a")],
)
def test_who_has_not_asked_knows_none_of_it(other: Peer, command: Command[Any]) -> None:
    with pytest.raises(UnknownCommandError):
        other(command)
