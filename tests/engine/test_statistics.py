"""What the engine counts."""

from __future__ import annotations

import pytest

from beanrow.engine.counters import HostFacts
from beanrow.protocol.commands import (
    bury,
    delete,
    ignore,
    kick,
    pause_tube,
    peek_ready,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    stats,
    stats_tube,
    use,
    watch,
)
from beanrow.protocol.stats import ServerStats, TubeStats
from tests.engine.peers import Peer, VirtualQueue

ONE_OF_EACH = {
    b"put 0 0 1 0\r\n\r\n": "cmd_put",
    b"peek 99\r\n": "cmd_peek",
    b"peek-ready\r\n": "cmd_peek_ready",
    b"peek-delayed\r\n": "cmd_peek_delayed",
    b"peek-buried\r\n": "cmd_peek_buried",
    b"reserve\r\n": "cmd_reserve",
    b"reserve-with-timeout 0\r\n": "cmd_reserve_with_timeout",
    b"delete 99\r\n": "cmd_delete",
    b"release 99 0 0\r\n": "cmd_release",
    b"use default\r\n": "cmd_use",
    b"watch default\r\n": "cmd_watch",
    b"ignore default\r\n": "cmd_ignore",
    b"bury 99 0\r\n": "cmd_bury",
    b"kick 1\r\n": "cmd_kick",
    b"touch 99\r\n": "cmd_touch",
    b"stats\r\n": "cmd_stats",
    b"stats-job 99\r\n": "cmd_stats_job",
    b"stats-tube default\r\n": "cmd_stats_tube",
    b"list-tubes\r\n": "cmd_list_tubes",
    b"list-tube-used\r\n": "cmd_list_tube_used",
    b"list-tubes-watched\r\n": "cmd_list_tubes_watched",
    b"pause-tube default 0\r\n": "cmd_pause_tube",
}
COUNTS = [name for name in ServerStats.__annotations__ if name.startswith("cmd_")]


def counts(peer: Peer) -> dict[str, int]:
    figures = peer.server()
    return {name: getattr(figures, name) for name in COUNTS}


def test_the_table_names_every_count() -> None:
    assert sorted(ONE_OF_EACH.values()) == sorted(COUNTS)


@pytest.mark.parametrize(("line", "name"), ONE_OF_EACH.items())
def test_a_command_moves_its_own_count(peer: Peer, other: Peer, line: bytes, name: str) -> None:
    peer(put(b""))  # what a reserve takes
    before = counts(other)
    assert peer.send(line) != b""
    after = counts(other)
    before["cmd_stats"] += 1
    before[name] += 1
    assert after == before


@pytest.mark.parametrize("line", [b"reserve-job 99", b"kick-job 99", b"bogus", b"delete x"])
def test_these_move_none(peer: Peer, other: Peer, line: bytes) -> None:
    before = counts(other)
    peer.send(line + b"\r\n")
    assert counts(other) == before | {"cmd_stats": before["cmd_stats"] + 1}


def test_refused_puts_are_counted_but_no_jobs(queue: VirtualQueue, peer: Peer) -> None:
    peer.send(b"put 0 0 1 1 junk\r\n")
    peer.send(b"put 0 0 1 1\r\nabc")
    peer.send(b"put 0 0 1 65536\r\n" + b"x" * 65536 + b"\r\n")
    queue.engine.draining = True
    peer.send(b"put 0 0 1 1\r\na\r\n")
    queue.engine.draining = False
    peer(put(b""))
    figures = peer.server()
    assert (figures.cmd_put, figures.total_jobs, peer.tube().total_jobs) == (5, 1, 1)


def test_a_malformed_pause_is_counted(peer: Peer) -> None:
    assert peer.send(b"pause-tube -bad 1\r\n") == b"BAD_FORMAT\r\n"
    assert peer.server().cmd_pause_tube == 1
    assert peer.tube().cmd_pause_tube == 0


def test_jobs_by_state(peer: Peer) -> None:
    ids = [peer(put(b"", 1023 if number % 2 else 1024)) for number in range(6)]
    peer(put(b"", 0, delay=9))
    for job in ids[:3]:
        peer(reserve_job(job))
    peer(bury(ids[0]))
    figures: list[TubeStats | ServerStats] = [peer.tube(), peer.server()]
    for seen in figures:
        assert seen.current_jobs_urgent == 2
        assert seen.current_jobs_ready == 3
        assert seen.current_jobs_reserved == 2
        assert seen.current_jobs_delayed == 1
        assert seen.current_jobs_buried == 1
        assert seen.total_jobs == 7


@pytest.mark.parametrize("way", ["take", "delete", "reserve-job", "close"])
def test_urgent_counts_ready_jobs_only(peer: Peer, other: Peer, way: str) -> None:
    job = peer(put(b"", 1023))
    assert peer.tube().current_jobs_urgent == 1
    if way == "take":
        peer(reserve())
    elif way == "delete":
        peer(delete(job))
    else:
        other(reserve_job(job))
    assert peer.tube().current_jobs_urgent == peer.server().current_jobs_urgent == 0
    if way == "close":
        other.close()
        assert peer.tube().current_jobs_urgent == peer.server().current_jobs_urgent == 1


def test_a_release_can_change_what_is_urgent(peer: Peer) -> None:
    job = peer(put(b"", 0))
    peer(reserve())
    peer(release(job, 1024))
    assert peer.tube().current_jobs_urgent == 0
    peer(reserve())
    peer(release(job, 1023))
    assert peer.tube().current_jobs_urgent == 1


def test_connections_by_what_they_do(queue: VirtualQueue, peer: Peer) -> None:
    producer, worker, both = queue.peer(), queue.peer(), queue.peer()
    producer(put(b""))
    worker(reserve_with_timeout(0))
    both(put(b""))
    both(reserve_job(2))
    figures = peer.server()
    assert (figures.current_connections, figures.total_connections) == (4, 4)
    assert (figures.current_producers, figures.current_workers) == (2, 2)
    both.close()
    producer.close()
    figures = peer.server()
    assert (figures.current_connections, figures.total_connections) == (2, 4)
    assert (figures.current_producers, figures.current_workers) == (0, 1)


@pytest.mark.parametrize(
    ("sent", "producers"),
    [
        (b"put 0 0 1 1\r\na\r\n", 1),
        (b"put 0 0 1 1\r\nabc", 1),  # EXPECTED_CRLF
        (b"put 0 0 1 1 junk\r\n", 0),
        (b"put 0 0 1 65536\r\n" + b"x" * 65538, 0),  # JOB_TOO_BIG
    ],
)
def test_who_is_a_producer(peer: Peer, other: Peer, sent: bytes, producers: int) -> None:
    peer.send(sent)
    assert other.server().current_producers == producers


def test_who_is_a_worker(peer: Peer, other: Peer) -> None:
    peer.send(b"reserve-job 99\r\n")
    assert other.server().current_workers == 0
    peer.send(b"reserve-with-timeout 0\r\n")
    assert other.server().current_workers == 1


def test_who_waits(queue: VirtualQueue, peer: Peer, other: Peer) -> None:
    other(watch("a"))
    other.begin(reserve_with_timeout(5))
    assert peer.server().current_waiting == 1
    assert [peer.tube(name).current_waiting for name in ("default", "a")] == [1, 1]
    queue.pass_time(5)
    assert peer.server().current_waiting == 0
    assert [peer.tube(name).current_waiting for name in ("default", "a")] == [0, 0]


def test_who_uses_and_watches(peer: Peer, other: Peer) -> None:
    assert (peer.tube().current_using, peer.tube().current_watching) == (2, 2)
    other(use("a"))
    other(watch("a"))
    other(ignore("default"))
    assert (peer.tube().current_using, peer.tube().current_watching) == (1, 1)
    assert (peer.tube("a").current_using, peer.tube("a").current_watching) == (1, 1)
    other.close()
    assert (peer.tube().current_using, peer.tube().current_watching) == (1, 1)


def test_a_tube_counts_successful_deletes_and_pauses(peer: Peer) -> None:
    peer(delete(peer(put(b""))))
    peer.send(b"delete 1\r\n")
    peer(pause_tube("default", 0))
    peer.send(b"pause-tube nowhere 1\r\n")
    tube, server = peer.tube(), peer.server()
    assert (tube.cmd_delete, server.cmd_delete) == (1, 2)
    assert (tube.cmd_pause_tube, server.cmd_pause_tube) == (1, 2)


def test_tubes_are_counted(peer: Peer) -> None:
    peer(watch("a"))
    peer(use("b"))
    assert peer.server().current_tubes == 3


def test_what_the_host_tells() -> None:
    facts = HostFacts(7, "beanrow 1", 1.5, 0.25, "abc", "box", "#1 SMP", "x86_64", 4096)
    queue = VirtualQueue(max_job_size=99, host=lambda: facts)
    queue.pass_time(10.9)
    figures = queue.peer()(stats())
    assert (figures.pid, figures.version, figures.id) == (7, "beanrow 1", "abc")
    assert (figures.rusage_utime, figures.rusage_stime) == (1.5, 0.25)
    assert (figures.hostname, figures.os, figures.platform) == ("box", "#1 SMP", "x86_64")
    assert (figures.uptime, figures.max_job_size, figures.binlog_max_size) == (10, 99, 4096)
    assert figures.draining is False


def test_looking_changes_nothing(peer: Peer) -> None:
    peer(put(b""))
    before = peer(stats_tube("default"))
    peer(peek_ready())
    peer.job(1)
    peer(kick(0))
    assert peer(stats_tube("default")) == before
