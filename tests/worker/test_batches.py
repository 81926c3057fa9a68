"""Batches of tiny jobs, in each kind of worker."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from beanrow import App, BadValueError, Client, Rate
from tests.servers import Server
from tests.worker.conftest import each_kind, is_gone, one_server, until, working
from tests.worker.worker_process import Ledger, worker_process

JOBS = 3000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def put(client: Client, tube: str, *calls: dict[str, Any]) -> list[int]:
    return client.put_many((json.dumps(one) for one in calls), tube=f"{tube}-tiny", ttr=1)


def ran(ledger: Ledger) -> list[int]:
    return sorted(int(one[1]) for one in ledger.lines("ran"))


@each_kind
@pytest.mark.long
def test_stops_under_load_lose_and_double_nothing(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    ids = put(client, tube, *({"n": n} for n in range(JOBS)))
    for _ in range(4):
        with worker_process(server.address, tube, ledger, kind, "3", app="small") as worker:
            seen = len(ran(ledger))
            until(lambda seen=seen: len(ran(ledger)) > min(seen + 200, JOBS - 1))  # type: ignore[misc]
            worker.stop()
    left = [one for one in ids if not is_gone(client, one)]
    assert len(left) == JOBS - len(ran(ledger))  # what was done is acknowledged, and no other
    for stats in map(client.stats_job, left[:50]):
        assert (stats.state, stats.releases, stats.timeouts) == ("ready", 0, 0)
    with worker_process(server.address, tube, ledger, kind, "3", app="small") as worker:
        ledger.wait_for("ran", JOBS)
        worker.stop()
    assert ran(ledger) == list(range(JOBS))
    assert ledger.lines("lost") == []
    assert all(is_gone(client, one) for one in left)


@each_kind
def test_a_long_job_keeps_the_leases_of_its_batch(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    # Batches grow as 1, 2, 4, 8: the eighth job begins one of eight.
    put(client, tube, *({"n": n, "seconds": 2.2 if n in {7, 9} else 0} for n in range(15)))
    with (
        worker_process(server.address, tube, ledger, kind, "1", app="small") as worker,
        Client(server.address) as other,
    ):
        ledger.wait_for("began")
        assert ran(ledger) == list(range(7))
        assert client.stats_tube(f"{tube}-tiny").current_jobs_reserved == 8
        other.watch(f"{tube}-tiny")
        assert other.reserve(timeout=2) is None
        ledger.wait_for("began", 2)  # the end of the first long one has been said by now
        assert client.stats_tube(f"{tube}-tiny").current_jobs_reserved == 7
        assert other.reserve(timeout=2) is None
        ledger.wait_for("ran", 15)
        worker.stop()
    assert ran(ledger) == list(range(15))
    assert ledger.lines("lost") == []


@one_server
@pytest.mark.long
def test_kill_9_of_children_loses_nothing(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    ids = put(client, tube, *({"n": n} for n in range(JOBS)))
    kills = 0
    with worker_process(server.address, tube, ledger, "--processes", "3", app="small") as worker:
        while not all(is_gone(client, one) for one in ids[-20:]):
            if kills < 8 and (children := worker.children()):
                os.kill(random.choice(children), signal.SIGKILL)
                kills += 1
            time.sleep(0.02)
        until(lambda: all(is_gone(client, one) for one in ids))
        worker.stop()
    counted = collections.Counter(ran(ledger))
    assert set(counted) == set(range(JOBS))
    assert counted.total() - JOBS <= 16 * kills


@one_server
def test_a_failure_in_a_batch_is_its_own(
    app: App, client: Client, tube: str, server: Server
) -> None:
    @app.task(tube=tube, batch=8)
    def tiny(n: int) -> None:
        if n % 5 == 0:
            raise ValueError("no good")

    ids = tiny.put_many((n,) for n in range(40))
    with working(app, 1):
        until(lambda: client.stats_tube(tube).current_jobs_buried == 8)
        until(lambda: sum(is_gone(client, one) for one in ids) == 32)
    assert [n for n, one in enumerate(ids) if not is_gone(client, one)] == list(range(0, 40, 5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 1}, "not in 2..64"),
        ({"batch": 65}, "64"),
        ({"batch": 8, "hard_time_limit": 5}, "tiny jobs"),
        ({"batch": 8, "rate": Rate(5)}, "tiny jobs"),
    ],
)
def test_what_a_batch_does_not_go_with(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        App().task(tube="tiny", **settings)(lambda n: None)
