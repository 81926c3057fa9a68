"""Workers as processes of their own, of each kind, on each kind of server."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest

from beanrow import Client
from tests.servers import OurServer, Server
from tests.worker.conftest import KINDS, each_kind, is_gone, one_server, until
from tests.worker.worker_process import Ledger, elapsed, is_alive, worker_process


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def put(client: Client, tube: str, task: str, **arguments: object) -> int:
    return client.put(json.dumps(arguments), tube=f"{tube}-{task}", ttr=1)


@each_kind
def test_jobs_run_once_and_sigterm_ends_the_worker(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    for n in range(100):
        put(client, tube, "note", n=n)
    with worker_process(server.address, tube, ledger, kind, "3") as worker:
        ran = ledger.wait_for("ran", 100)
        began = time.monotonic()
        assert "Traceback" not in worker.stop()
        assert elapsed(began) < 5
    assert sorted(int(one[1]) for one in ran) == list(range(100))
    assert len({one[2] for one in ran}) == 1 or kind == "--processes"


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "task"),
    [
        *itertools.product(KINDS, ["sleep", "later", "block"]),
        ("--processes", "hog"),  # only a parent can touch for a child that holds its interpreter
    ],
)
def test_a_job_of_many_ttr_runs_once(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str, task: str
) -> None:
    job_id = put(client, tube, task, n=1, seconds=4)
    with worker_process(server.address, tube, ledger, kind, "2") as worker:
        ledger.wait_for("ran")
        until(lambda: is_gone(client, job_id))
        worker.stop()
    assert [one[0] for one in ledger.lines()] == ["began", "ran"]


@each_kind
def test_kill_9_of_a_worker_has_its_jobs_run_elsewhere_at_once(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    with worker_process(server.address, tube, ledger, kind, "4") as first:
        for n in range(4):
            client.put(json.dumps({"n": n, "seconds": 30}), tube=f"{tube}-sleep", ttr=100)
        ledger.wait_for("began", 4)
        children = first.children()
        with worker_process(server.address, tube, ledger, kind, "4") as second:
            until(lambda: client.stats_tube(f"{tube}-sleep").current_waiting == 4)
            began = time.monotonic()
            first.kill()
            ledger.wait_for("began", 8)
            assert elapsed(began) < 2
            until(lambda: not any(map(is_alive, children)), 2)
            second.stop_now()
    stats = client.stats_tube(f"{tube}-sleep")
    assert stats.current_jobs_ready == 4


@one_server
def test_children_die_with_their_parent_though_they_hear_nothing(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    with worker_process(server.address, tube, ledger, "--processes", "2") as worker:
        for n in range(2):  # each by itself: one that hogs hears nobody else
            put(client, tube, "stuck", n=n)
        ledger.wait_for("began", 2)
        children = worker.children()
        assert len(children) == 2
        worker.kill()
        until(lambda: not any(map(is_alive, children)), 2)


@one_server
def test_a_child_that_dies_is_replaced_and_its_job_goes_on_elsewhere(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    with worker_process(server.address, tube, ledger, "--processes", "2") as worker:
        job_id = put(client, tube, "sleep", n=1, seconds=1.5)
        victim = int(ledger.wait_for("began")[0][2])
        os.kill(victim, signal.SIGKILL)
        ledger.wait_for("ran")
        until(lambda: is_gone(client, job_id))
        until(lambda: len(worker.children()) == 2)
        worker.stop()
    assert [one[0] for one in ledger.lines()] == ["began", "crash", "began", "ran"]


@one_server
def test_a_job_that_kills_its_workers_is_set_aside(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    job_id = put(client, tube, "kill", n=1)
    for n in range(20):
        put(client, tube, "note", n=n)
    with worker_process(server.address, tube, ledger, "--processes", "2") as worker:
        ledger.wait_for("buried", seconds=40)
        ledger.wait_for("ran", 20)
        worker.stop()
    assert client.stats_job(job_id).state == "buried"
    assert len(ledger.lines("began")) == 11
    assert sorted(int(one[1]) for one in ledger.lines("ran")) == list(range(20))


@one_server
def test_time_limits_of_children(server: Server, client: Client, tube: str, ledger: Ledger) -> None:
    soft, hard = put(client, tube, "soft", n=1), put(client, tube, "hard", n=2)
    with worker_process(server.address, tube, ledger, "--processes", "2") as worker:
        buried = ledger.wait_for("buried", 2)
        assert {int(one[1]) for one in buried} == {soft, hard}
        assert all("TimeLimitExceeded:" in one for one in buried)
        until(lambda: len(worker.children()) == 2)
        worker.stop()
    for job_id in (soft, hard):
        assert client.stats_job(job_id).state == "buried"


@one_server
def test_a_child_is_replaced_after_so_many_jobs(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    with worker_process(
        server.address, tube, ledger, "--processes", "1", "--max-jobs", "10"
    ) as worker:
        for n in range(35):
            put(client, tube, "note", n=n)
        ran = ledger.wait_for("ran", 35)
        worker.stop()
    assert sorted(int(one[1]) for one in ran) == list(range(35))
    assert len({one[2] for one in ran}) == 4
    assert ledger.lines("lost") == []


def test_a_child_is_told_that_its_lease_is_lost(
    our_server: OurServer, tube: str, ledger: Ledger
) -> None:
    """On ours alone: the daemon 1.12 misses some expiries of a holder that is silent."""
    with (
        Client(our_server.address) as client,
        worker_process(our_server.address, tube, ledger, "--processes", "1") as worker,
    ):
        job_id = put(client, tube, "until", n=1)
        pid = int(ledger.wait_for("began")[0][2])
        worker.send(signal.SIGSTOP)  # so that nobody touches, and the ttr of a second runs out
        client.watch(f"{tube}-until")
        job = client.reserve(timeout=10)
        assert job is not None
        assert job.id == job_id
        client.release(job, delay=60)
        worker.send(signal.SIGCONT)
        assert int(ledger.wait_for("told")[0][2]) == pid
        ledger.wait_for("lost")
        worker.stop()
        assert client.stats_job(job_id).state == "delayed"


@each_kind
def test_what_outlasts_the_grace_time_is_given_back_and_costs_no_attempt(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    job_id = client.put(json.dumps({"n": 1, "seconds": 30}), tube=f"{tube}-sleep", ttr=100)
    with worker_process(server.address, tube, ledger, kind, "2", "--grace", "0.2") as worker:
        ledger.wait_for("began")
        began = time.monotonic()
        worker.stop()
        assert elapsed(began) < 5
    until(lambda: client.stats_job(job_id).state == "ready")
    stats = client.stats_job(job_id)
    assert (stats.releases, stats.timeouts, stats.reserves) == (0, 0, 1)


@each_kind
@pytest.mark.long
def test_rolling_restarts_under_load_lose_and_double_nothing(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    client.put_many((json.dumps({"n": n}) for n in range(4000)), tube=f"{tube}-note")
    for _ in range(4):
        with worker_process(server.address, tube, ledger, kind, "3") as worker:
            seen = len(ledger.lines("ran"))
            until(lambda seen=seen: len(ledger.lines("ran")) > min(seen + 300, 3999))  # type: ignore[misc]
            worker.stop()
    with worker_process(server.address, tube, ledger, kind, "3") as worker:
        ledger.wait_for("ran", 4000)
        worker.stop()
    assert sorted(int(one[1]) for one in ledger.lines("ran")) == list(range(4000))
    assert ledger.lines("lost") == []
