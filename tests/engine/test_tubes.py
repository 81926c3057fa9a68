"""Tubes come with their first user and go with the last, and how they are listed."""

from __future__ import annotations

import pytest

from beanrow.errors import NotFoundError, NotIgnoredError
from beanrow.protocol.commands import (
    bury,
    delete,
    ignore,
    list_tube_used,
    list_tubes,
    list_tubes_watched,
    pause_tube,
    put,
    release,
    reserve_job,
    use,
    watch,
)
from tests.engine.peers import Peer, VirtualQueue


def test_a_new_connection_uses_and_watches_default(peer: Peer) -> None:
    assert peer(list_tube_used()) == "default"
    assert peer(list_tubes_watched()) == ["default"]
    assert peer(list_tubes()) == ["default"]


def test_use_makes_a_tube_and_leaving_it_drops_it(peer: Peer) -> None:
    assert peer(use("a")) == "a"
    assert peer(list_tube_used()) == "a"
    assert peer(list_tubes()) == ["default", "a"]
    peer(use("a"))
    peer(use("default"))
    assert peer(list_tubes()) == ["default"]


def test_watch_makes_a_tube_and_ignoring_it_drops_it(peer: Peer) -> None:
    assert peer(watch("a")) == 2
    assert peer(list_tubes()) == ["default", "a"]
    assert peer(ignore("a")) == 1
    assert peer(list_tubes()) == ["default"]


@pytest.mark.parametrize("state", ["ready", "delayed", "buried", "reserved"])
def test_a_job_in_any_state_keeps_its_tube(peer: Peer, state: str) -> None:
    peer(use("a"))
    job = peer(put(b"", delay=9 if state == "delayed" else 0))
    if state in ("buried", "reserved"):
        peer(reserve_job(job))
    if state == "buried":
        peer(bury(job))
    peer(use("default"))
    assert peer(list_tubes()) == ["default", "a"]
    peer(delete(job))
    assert peer(list_tubes()) == ["default"]


def test_a_closed_connection_lets_its_tubes_go(peer: Peer, other: Peer) -> None:
    other(use("a"))
    other(watch("b"))
    other(watch("c"))
    peer(watch("c"))
    other.close()
    assert peer(list_tubes()) == ["default", "c"]


def test_a_closed_connection_used_and_watched_the_same_tube(peer: Peer, other: Peer) -> None:
    other(use("a"))
    other(watch("a"))
    other.close()
    assert peer(list_tubes()) == ["default"]


def test_a_job_given_back_by_a_closing_connection_keeps_its_tube(peer: Peer, other: Peer) -> None:
    other(use("a"))
    job = other(put(b""))
    other(reserve_job(job))
    other.close()
    assert peer(list_tubes()) == ["default", "a"]
    assert peer.job(job).state == "ready"


def test_default_never_goes(peer: Peer) -> None:
    peer(use("a"))
    peer(watch("a"))
    peer(ignore("default"))
    assert peer(list_tubes()) == ["default", "a"]
    assert peer.tube().current_using == peer.tube().current_watching == 0


def test_a_tube_made_again_counts_anew(peer: Peer) -> None:
    peer(use("a"))
    peer(delete(peer(put(b""))))
    assert (peer.tube("a").total_jobs, peer.tube("a").cmd_delete) == (1, 1)
    peer(use("default"))
    with pytest.raises(NotFoundError):
        peer.tube("a")
    peer(use("a"))
    assert (peer.tube("a").total_jobs, peer.tube("a").cmd_delete) == (0, 0)


def test_on_removal_the_last_tube_takes_the_hole(peer: Peer, other: Peer) -> None:
    for name in ("a", "b", "c", "d"):
        other(watch(name))
    other(ignore("b"))
    assert peer(list_tubes()) == ["default", "a", "d", "c"]
    other(ignore("c"))
    assert peer(list_tubes()) == ["default", "a", "d"]
    other(watch("b"))
    assert peer(list_tubes()) == ["default", "a", "d", "b"]


def test_on_ignoring_the_last_watched_tube_takes_the_hole(peer: Peer) -> None:
    for name in ("a", "b", "c"):
        peer(watch(name))
    assert peer(ignore("default")) == 3
    assert peer(list_tubes_watched()) == ["c", "a", "b"]
    assert peer(ignore("b")) == 2
    assert peer(list_tubes_watched()) == ["c", "a"]


def test_the_only_watched_tube_stays(peer: Peer) -> None:
    with pytest.raises(NotIgnoredError):
        peer(ignore("default"))
    assert peer(list_tubes_watched()) == ["default"]


def test_watching_twice_counts_once(peer: Peer) -> None:
    assert [peer(watch("a")), peer(watch("a"))] == [2, 2]
    assert peer.tube("a").current_watching == 1
    assert peer(ignore("a")) == 1


def test_ignoring_what_is_not_watched_changes_nothing(peer: Peer, other: Peer) -> None:
    other(watch("a"))
    assert [peer(ignore("a")), peer(ignore("nowhere"))] == [1, 1]
    assert peer(list_tubes_watched()) == ["default"]
    assert peer.tube("a").current_watching == 1
    assert peer(list_tubes()) == ["default", "a"]


def test_a_pause_goes_with_its_tube(queue: VirtualQueue, peer: Peer) -> None:
    peer(use("a"))
    peer(pause_tube("a", 5))
    peer(use("default"))
    assert peer(list_tubes()) == ["default"]
    queue.pass_time(10)
    assert peer(list_tubes()) == ["default"]


def test_a_delay_that_ends_in_a_tube_nobody_uses(queue: VirtualQueue, peer: Peer) -> None:
    peer(use("a"))
    job = peer(put(b"", delay=5))
    peer(use("default"))
    queue.pass_time(5)
    assert peer.job(job).state == "ready"
    peer(reserve_job(job))
    peer(release(job))
    peer(delete(job))
    assert peer(list_tubes()) == ["default"]


@pytest.mark.parametrize("name", ["12145", "1.5", "null", "true", "x" * 200, "(a)+/;.$_-"])
def test_any_name_stays_the_string_it_is(peer: Peer, name: str) -> None:
    assert peer(use(name)) == name
    assert peer(watch(name)) == 2
    job = peer(put(b""))
    assert peer(list_tubes()) == ["default", name]
    assert peer.tube(name).name == name
    assert peer.job(job).tube == name
