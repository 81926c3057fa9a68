"""Trials with a ledger outside: kill -9 and cuts under load, each kind of worker.

What must hold: every job ran; a job that ran twice was lost in between, and its worker counted it.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from beanrow import Client
from tests.client.proxy import CuttingProxy
from tests.servers import Daemon, Server, find_daemon, served_by
from tests.worker.conftest import KINDS, each_kind, one_server, until
from tests.worker.worker_process import Ledger, worker_process

pytestmark = pytest.mark.long

JOBS = 3000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def put_notes(client: Client, tube: str, count: int) -> None:
    client.put_many((json.dumps({"n": n}) for n in range(count)), tube=f"{tube}-note")


def check(ledger: Ledger, count: int, most_uncounted: int = 0) -> None:
    """Every job ran, and doubles are no more than the leases that were told to be lost."""
    ran = collections.Counter(int(one[1]) for one in ledger.lines("ran"))
    assert set(ran) == set(range(count)), sorted(set(range(count)) - set(ran))[:10]
    doubles = sum(ran.values()) - count
    assert doubles <= len(ledger.lines("lost")) + most_uncounted


def is_empty(client: Client, tube: str) -> bool:
    stats = client.stats_tube(f"{tube}-note")
    return stats.current_jobs_ready + stats.current_jobs_reserved + stats.current_jobs_delayed == 0


@each_kind
def test_kill_9_of_workers_under_load(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    put_notes(client, tube, JOBS)
    kills = 6
    for _ in range(kills):
        with worker_process(server.address, tube, ledger, kind, "4") as worker:
            seen = len(ledger.lines("ran"))
            until(lambda seen=seen: len(ledger.lines("ran")) > min(seen + 200, JOBS - 100))  # type: ignore[misc]
            worker.kill()
    with worker_process(server.address, tube, ledger, kind, "4") as worker:
        until(lambda: is_empty(client, tube))
        worker.stop()
    check(ledger, JOBS, most_uncounted=4 * kills)  # whoever is killed counts nothing: its slots


@one_server
def test_kill_9_of_children_under_load(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    put_notes(client, tube, JOBS)
    kills = 0
    with worker_process(server.address, tube, ledger, "--processes", "4") as worker:
        while not is_empty(client, tube):
            children = worker.children()
            if children and kills < 15:
                os.kill(random.choice(children), signal.SIGKILL)
                kills += 1
            time.sleep(0.03)
        until(lambda: len(worker.children()) == 4)
        worker.stop()
    assert kills > 3
    check(ledger, JOBS, most_uncounted=kills)


@pytest.mark.parametrize("kind", KINDS)
def test_kill_9_of_the_server_under_load(
    tube: str, ledger: Ledger, kind: str, tmp_path: Path
) -> None:
    """A daemon with a log that is synced at each write comes back with what it acknowledged."""
    flags, jobs = ("-b", str(tmp_path), "-f", "0"), 1000
    with Daemon(*flags) as daemon:
        with Client(daemon.address) as client:
            put_notes(client, tube, jobs)
        with worker_process(daemon.address, tube, ledger, kind, "4") as worker:
            for _ in range(3):
                seen = len(ledger.lines("ran"))
                until(lambda seen=seen: len(ledger.lines("ran")) > min(seen + 200, jobs - 100))  # type: ignore[misc]
                os.kill(daemon.pid, signal.SIGKILL)
                daemon._process.wait()
                daemon._process = _again(daemon, *flags)
            with Client(daemon.address) as client:
                until(lambda: is_empty(client, tube), 40)
            worker.stop()
    check(ledger, jobs)


def _again(daemon: Daemon, *flags: str) -> subprocess.Popen[bytes]:
    program = find_daemon()
    assert program is not None
    process = subprocess.Popen(
        [program, "-l", daemon.host, "-p", str(daemon.port), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: served_by(daemon.host, daemon.port) == process.pid)
    return process


@each_kind
def test_cuts_of_the_network_under_load(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    put_notes(client, tube, JOBS)
    with (
        CuttingProxy(server.address) as proxy,
        worker_process(proxy.address, tube, ledger, kind, "4") as worker,
    ):
        for _ in range(8):
            seen = len(ledger.lines("ran"))
            until(lambda seen=seen: len(ledger.lines("ran")) > min(seen + 100, JOBS - 100))  # type: ignore[misc]
            proxy.cut_all()
        until(lambda: is_empty(client, tube), 40)
        worker.stop()
    check(ledger, JOBS)


@each_kind
def test_many_poison_jobs_do_not_slow_the_good(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    """One in eleven cannot be read; the time is told beside that of good ones alone, not judged."""
    good, few = 100_000, 10_000
    with worker_process(server.address, tube, ledger, kind, "10") as worker:
        began = time.monotonic()
        put_notes(client, tube, few)
        until(lambda: is_empty(client, tube), 600)
        alone = time.monotonic() - began
        worker.stop()
    bodies = (
        b"\xff" if n % 11 == 10 else json.dumps({"n": few + n - n // 11}) for n in range(110_000)
    )
    client.put_many(bodies, tube=f"{tube}-note")
    with worker_process(server.address, tube, ledger, kind, "10") as worker:
        began = time.monotonic()
        until(lambda: is_empty(client, tube), 600)
        mixed = time.monotonic() - began
        worker.stop()
    print(  # noqa: T201  (what it is run for)
        f"{kind}: {1e6 * alone / few:.0f} us a good job alone, {1e6 * mixed / good:.0f} among poison"
    )
    check(ledger, few + good)
    assert client.stats_tube(f"{tube}-note").current_jobs_buried == 10_000
