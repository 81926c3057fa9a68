"""Where the server has a list of jobs the verbs use it: they find, print and do the same without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beanrow import Client
from beanrow.jobs import search
from beanrow.jobs.search import Part, find, next_jobs, windows
from beanrow.jobs.selection import Selection
from beanrow.protocol.listing import ListedJob
from tests.cli.inside import told, well
from tests.servers import OurServer

Forbid = Callable[[], None]


@pytest.fixture
def client(our_server: OurServer) -> Iterator[Client]:
    with Client(our_server.address) as one:
        yield one


@pytest.fixture
def at(our_server: OurServer) -> tuple[str, str]:
    return ("--server", our_server.address)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Forbid:
    """Have the verbs do as on the original server from here on."""
    return lambda: monkeypatch.setattr(search, "lists_jobs", lambda _: False)


def fill(client: Client) -> None:
    """Jobs of three tubes in every state, more of some than a page holds; holes in the ids."""
    for number in range(60):
        tube, delay = f"t{number % 3}", 1000 * (number % 5 == 4)
        job = client.put(f"job {number}", tube=tube, delay=delay, ttr=1000)
        if number % 5 == 3:
            client.bury(client.reserve_job(job))
        elif number % 5 == 2 and number % 2:
            client.reserve_job(job)
        elif number % 7 == 6:
            client.delete(job)
    client.put_many(["many"] * 1200, tube="t1")


QUESTIONS = [
    (),
    ("--tube", "t1"),
    ("--tube", "t*", "--state", "buried", "--state", "reserved"),
    ("--tube", "t0", "--tube", "t2", "--match", "job .*5"),
    ("--ids", "11:40"),
    ("--ids", "11:40", "--tube", "t1", "--state", "ready"),
    ("--older-than", "1000"),
    ("--ids", "5000:6000"),
]


def timeless(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = {"age", "time-left", "created", "delayed-until"}
    return [{key: one[key] for key in one.keys() - timed} for one in jobs]


def test_the_same_is_listed_and_dumped(
    client: Client, at: tuple[str, str], without: Forbid
) -> None:
    fill(client)

    def answers() -> list[Any]:
        listed = [timeless(told("list", *one, *at)) for one in QUESTIONS]
        dumped = [well("dump", *one, *at).splitlines() for one in QUESTIONS]
        return [listed, [timeless([json.loads(line) for line in lines]) for lines in dumped]]

    with_list = answers()
    asked = client.stats().cmd_stats_job
    assert asked == 0
    without()
    assert answers() == with_list
    assert client.stats().cmd_stats_job > 0
    ids = [one["id"] for one in with_list[0][0]]
    assert ids == sorted(ids)
    assert len(ids) > 1200
    assert with_list[0][-1] == []


def test_the_same_is_deleted_and_kicked(
    our_server: OurServer, start_ours: Callable[..., OurServer], without: Forbid, tmp_path: Path
) -> None:
    def done(server: OurServer, name: str) -> list[Any]:
        at = ("--server", server.address)
        with Client(server.address) as client:
            fill(client)
            return [
                told("kick", "--tube", "t0", "--all", *at),
                told("delete", "--tube", "t0", "--state", "delayed", "--yes", *at),
                told("delete", "--tube", "t2", "--yes", "--undo", str(tmp_path / name), *at),
                told("delete", "--match", "7$", "--yes", *at),
                timeless([json.loads(line) for line in (tmp_path / name).read_text().splitlines()]),
                told("truncate", "t*", "--yes", *at),
                [job.id for job in client.list_jobs("t1", "reserved")],
                client.stats().current_jobs_ready,
            ]

    with_list = done(our_server, "with")
    without()
    others = done(start_ours(), "without")
    # Without a list they come one by one, by what is next; which ones they are is the same.
    assert sorted(others.pop(4), key=str) == sorted(with_list.pop(4), key=str)
    assert others == with_list


def test_truncate_is_one_command(client: Client, at: tuple[str, str]) -> None:
    fill(client)
    before = client.stats()
    assert told("truncate", "t1", "--yes", *at)["deleted"] > 1200
    after = client.stats()
    assert (after.cmd_delete, after.cmd_reserve_with_timeout) == (
        before.cmd_delete,
        before.cmd_reserve_with_timeout,
    )


def test_a_tube_is_migrated_by_the_list(
    client: Client, our_server: OurServer, start_ours: Callable[..., OurServer]
) -> None:
    fill(client)
    other = start_ours()
    stats = client.stats()
    left = stats.current_jobs_ready + stats.current_jobs_delayed + stats.current_jobs_buried
    with Client(other.address) as new:
        told_ = told(
            *("migrate", "--server", our_server.address, "--to-server", other.address, "--yes")
        )
        assert told_["migrated"] == left
        moved = new.stats()
        assert (moved.current_jobs_delayed, moved.current_jobs_buried) == (
            stats.current_jobs_delayed,
            stats.current_jobs_buried,
        )
        assert client.stats().cmd_peek_delayed == 0


def test_a_job_that_changes_its_state_meanwhile_comes_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = client.put_many(["x"] * 30, tube="a")
    client.put_many(["x"] * 30, tube="a", delay=100)
    real = Client.list_jobs
    pages = 0

    def list_jobs(self: Client, tube: str, state: str, **named: Any) -> list[ListedJob]:
        nonlocal pages
        page = real(self, tube, state, **named)
        pages += 1
        if pages == 1:  # all that was ready on the first page is delayed on the next one
            for job in jobs[:20]:
                self.release(self.reserve_job(job), delay=100)
        return page

    monkeypatch.setattr(Client, "list_jobs", list_jobs)
    found = [one.stats.id for one in find(client, Selection(tubes=("a",)))]
    assert found == [*range(jobs[0], jobs[0] + 60)]


def test_a_window_has_what_is_still_there(client: Client) -> None:
    jobs = client.put_many(["x"] * 250, tube="a", delay=100)
    seen = []
    for some in windows(client, Part("a", "delayed", 250), 200, 100):
        assert len(some) <= 50
        assert {one.body for one in some} == {b"x"}
        seen += [one.stats.id for one in some]
        client.delete_many(one.stats.id for one in some)
        if len(seen) == 50:
            client.kick_job(jobs[199])
            client.delete(jobs[60])
    assert seen == [job for job in jobs[:199] if job != jobs[60]]
    client.use("a")
    assert [one.stats.id for one in next_jobs(client, "a", "delayed", 1)] == [jobs[200]]
    assert list(windows(client, Part("gone", "ready", 5), 5, 5)) == []


def test_a_tube_with_the_longest_name_is_listed(client: Client, at: tuple[str, str]) -> None:
    """Its line has more than the 224 bytes of the protocol."""
    tube = "x" * 200
    job_id = client.put("hi", tube=tube, priority=2**32 - 1, delay=2**32 - 1, ttr=2**32 - 1)
    assert [job.id for job in client.list_jobs(tube, "delayed")] == [job_id]
    assert [one["id"] for one in told("list", "--tube", tube, *at)] == [job_id]
