"""The verbs that change what is in a queue: kick, bury, release, touch, delete, truncate, pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanrow import Client
from tests.cli.inside import refused, told, well
from tests.servers import Daemon, OurServer, Server


@pytest.fixture
def at(server: Server) -> tuple[str, str]:
    return ("--server", server.address)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as one:
        yield one


def fill(client: Client, tube: str, *, ready: int = 0, delayed: int = 0, buried: int = 0) -> None:
    """Put jobs of each state; their bodies tell which."""
    for n in range(buried):
        job_id = client.put(f"buried {n}", tube=tube)
        client.bury(client.reserve_job(job_id))
    client.put_many([f"ready {n}" for n in range(ready)], tube=tube)
    client.put_many([f"delayed {n}" for n in range(delayed)], tube=tube, delay=1000)


def counts(client: Client, tube: str) -> tuple[int, int, int]:
    if tube not in client.list_tubes():
        return (0, 0, 0)
    seen = client.stats_tube(tube)
    return (seen.current_jobs_ready, seen.current_jobs_delayed, seen.current_jobs_buried)


# -- kick ----------------------------------------------------------------------------------------


def test_kick_a_number_and_all(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, buried=4, delayed=1)
    assert told("kick", "--tube", tube, "--count", "3", "--dry-run", *at) == {"would-kick": 3}
    assert told("kick", "--tube", tube, "--count", "1", *at) == {"kicked": 1}
    assert well("kick", "--tube", tube, "--all", "--dry-run", *at) == "would kick 3 jobs\n"
    assert counts(client, tube) == (1, 1, 3)
    assert well("kick", "--tube", f"{tube}*", "--all", *at) == "3 jobs kicked\n"
    assert counts(client, tube) == (4, 1, 0), "what is delayed stays"


def test_kick_by_id_and_by_what_is_in_it(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, buried=3, delayed=2)
    (first, second) = (client.put(n, tube=tube, delay=99) for n in "ab")
    assert told("kick", str(first), str(second), *at) == {"kicked": 2}
    assert "neither buried nor delayed" in refused(1, "kick", str(first), *at)
    assert "no job 999999999" in refused(1, "kick", "999999999", *at)
    find = ("kick", "--tube", tube, "--match", "d [12]$", "--state", "buried", *at)
    assert told(*find, "--dry-run") == {"would-kick": 2}
    assert told(*find) == {"kicked": 2}
    assert counts(client, tube) == (4, 2, 1)


# -- bury, release, touch ------------------------------------------------------------------------


def test_bury_by_id_and_a_number(client: Client, tube: str, at: tuple[str, str]) -> None:
    delayed = client.put("x", tube=tube, delay=99, priority=5)
    assert told("bury", str(delayed), *at) == {"buried": [delayed]}
    assert (client.stats_job(delayed).state, client.stats_job(delayed).pri) == ("buried", 5)
    fill(client, tube, ready=3)
    assert well("bury", "--tube", tube, "--count", "2", "--priority", "1", *at) == (
        "2 jobs buried\n"
    )
    assert counts(client, tube) == (1, 0, 3)
    assert "no ready job" in refused(1, "bury", "--tube", f"{tube}-none", *at)


def test_release_takes_from_any_state(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, ready=1, delayed=1, buried=1)
    assert len(told("release", *_ids(client, tube), *at)["released"]) == 3
    assert counts(client, tube) == (3, 0, 0)
    job_id = client.put("x", tube=tube)
    told("release", str(job_id), "--priority", "7", "--delay", "50", *at)
    seen = client.stats_job(job_id)
    assert (seen.state, seen.pri, seen.time_left) == ("delayed", 7, 49)


def _ids(client: Client, tube: str) -> list[str]:
    client.use(tube)
    seen = [client.peek_ready(), client.peek_delayed(), client.peek_buried()]
    return [str(one.id) for one in seen if one is not None]


@pytest.mark.parametrize("verb", ["bury", "release", "touch", "delete"])
def test_what_somebody_holds_is_left_to_him(
    client: Client, tube: str, at: tuple[str, str], verb: str
) -> None:
    job = client.reserve_job(client.put("x", tube=tube))
    more = ("--for", "1") if verb == "touch" else ()
    assert "another connection" in refused(
        1 if verb == "delete" else 2, verb, str(job.id), *more, *at
    )
    client.delete(job)


def test_touch_puts_a_job_back_as_it_was(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, ready=1, delayed=1, buried=1)
    before = counts(client, tube)
    states = [told("touch", one, "--for", "0", *at)["state"] for one in _ids(client, tube)]
    assert states == ["ready", "delayed", "buried"]
    assert counts(client, tube) == before


@pytest.mark.long
def test_touch_holds_a_job_beyond_its_ttr(client: Client, tube: str, at: tuple[str, str]) -> None:
    job_id = client.put("x", tube=tube, ttr=1, priority=9)
    client.watch(tube)
    taken: list[object] = []

    def look() -> None:
        while client.stats_job(job_id).state != "reserved":
            time.sleep(0.01)
        taken.append(client.reserve(timeout=1))

    looking = threading.Thread(target=look)
    looking.start()
    done = told("touch", str(job_id), "--for", "4", *at)
    looking.join()
    assert taken == [None]
    assert done["state"] == client.stats_job(job_id).state == "ready"
    assert client.stats_job(job_id).pri == 9
    assert done["touches"] >= 3


# -- delete and truncate -------------------------------------------------------------------------


def test_delete_by_id(client: Client, tube: str, at: tuple[str, str]) -> None:
    ids = client.put_many("abc", tube=tube)
    assert well("delete", str(ids[0]), str(ids[1]), *at) == "2 jobs deleted\n"
    assert "no job" in refused(1, "delete", str(ids[0]), *at)
    assert counts(client, tube) == (1, 0, 0)


def test_delete_all_in_a_state(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, ready=2, delayed=2, buried=3)
    some = ("delete", "--tube", tube, "--state", "buried", *at)
    assert told(*some, "--dry-run") == {"would-delete": 3}
    assert f"delete 3 jobs (3 buried of {tube})? Say --yes" in refused(2, *some)
    assert counts(client, tube) == (2, 2, 3), "nothing without an answer"
    assert told(*some, "--yes") == {"deleted": 3}
    assert "no buried job" in refused(1, *some, "--yes")
    assert told("delete", "--tube", tube, "--yes", *at) == {"deleted": 4}


def test_delete_what_is_found(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, tube, ready=12, delayed=3)
    some = ("delete", "--tube", tube, "--match", "[02]$", *at)
    assert told(*some, "--dry-run") == {"would-delete": 5}
    assert "Say --yes" in refused(2, *some)
    assert told(*some, "--yes", "--state", "ready") == {"deleted": 3}
    assert counts(client, tube) == (9, 3, 0)
    assert told("delete", "--tube", tube, "--older-than", "100", "--yes", *at) == {"deleted": 0}


def test_an_undo_file_brings_deleted_jobs_back(
    client: Client, tube: str, at: tuple[str, str], tmp_path: Path
) -> None:
    fill(client, tube, ready=2, delayed=1, buried=1)
    client.put(b"\xff\x00", tube=tube, priority=3, ttr=77)
    file = tmp_path / "undo"
    assert told("truncate", tube, "--undo", str(file), "--yes", *at) == {"deleted": 5}
    assert counts(client, tube) == (0, 0, 0)
    assert len(file.read_bytes().splitlines()) == 5
    client.put("x", tube=tube)
    again = refused(2, "truncate", tube, "--undo", str(file), "--yes", *at)
    assert "File exists" in again, "it is not written over"
    assert counts(client, tube) == (1, 0, 0)


def test_truncate_takes_globs(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, f"{tube}-a", ready=250, delayed=2)
    fill(client, f"{tube}-b", buried=1)
    fill(client, f"{tube}x", ready=1)
    assert "Say --yes" in refused(2, "truncate", f"{tube}-*", *at)
    assert told("truncate", f"{tube}-*", "--dry-run", *at) == {"would-delete": 253}
    assert told("truncate", f"{tube}-*", "--yes", *at) == {"deleted": 253}
    assert counts(client, f"{tube}x") == (1, 0, 0)
    assert "no tube none" in refused(1, "truncate", "none", "--yes", *at)


# -- pause and resume ----------------------------------------------------------------------------


def test_pause_and_resume_tubes(client: Client, tube: str, at: tuple[str, str]) -> None:
    fill(client, f"{tube}-a", ready=1)
    fill(client, f"{tube}-b", ready=1)
    assert told("pause", f"{tube}*", "--for", "90", "--dry-run", *at)["would-pause"] == [
        f"{tube}-a",
        f"{tube}-b",
    ]
    assert client.stats_tube(f"{tube}-a").pause == 0
    assert well("pause", f"{tube}*", "--for", "90", *at) == (
        f"paused 2 tubes: {tube}-a, {tube}-b\n"
    )
    assert client.stats_tube(f"{tube}-b").pause == 90
    assert told("resume", f"{tube}-[b]", *at) == {"resumed": [f"{tube}-b"], "seconds": 0}
    assert [client.stats_tube(f"{tube}-{one}").pause for one in "ab"] == [90, 0]
    assert "no tube" in refused(1, "pause", f"{tube}-none", *at)


def test_several_servers_at_once(
    start_ours: Callable[..., OurServer], fresh_daemon: Daemon, tube: str
) -> None:
    addresses = [start_ours().address, fresh_daemon.address]
    servers = [word for one in addresses for word in ("--server", one)]
    for address in addresses:
        with Client(address) as client:
            client.put("x", tube=tube)
    assert told(*servers, "pause", tube)["paused"] == [tube, tube]
    assert told("resume", tube, *servers)["resumed"] == [tube, tube]
    assert "kick takes one --server" in refused(2, "kick", "1", *servers)
    assert "give ID" in refused(2, "delete")
