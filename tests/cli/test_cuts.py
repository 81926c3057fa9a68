"""`migrate` and `restore` killed in the middle: a ledger of bodies, none of which may be missing."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beanrow import Client
from beanrow.cli import migrate as migrate_module
from beanrow.cli.pace import Pace
from beanrow.client.pipeline import Result
from beanrow.jobs.lines import Spec
from beanrow.jobs.search import find, next_jobs
from beanrow.jobs.selection import Selection
from beanrow.jobs.store import store
from tests.cli.command import COMMAND, SECONDS, environment
from tests.cli.inside import refused, told, well
from tests.servers import Daemon, OurServer, Server

WINDOW = 100


def start(kind: str) -> Server:
    return OurServer() if kind == "beanrow" else Daemon()


@pytest.fixture(params=["beanrow", "beanstalkd"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Two servers of a kind that have seen nothing."""
    with start(request.param) as old, start(request.param) as new:
        yield old.address, new.address


def fill(client: Client, tube: str, jobs: int) -> dict[str, str]:
    """Put jobs of each state; what became of each by its body."""
    ledger = {f"{tube} {n}": ("ready", "ready", "delayed", "buried")[n % 4] for n in range(jobs)}
    for state in ("buried", "ready", "delayed"):
        bodies = [body for body, kept in ledger.items() if kept == state]
        ids = client.put_many(bodies, tube=tube, delay=1000 if state == "delayed" else 0, ttr=60)
        for one in ids if state == "buried" else ():
            client.bury(client.reserve_job(one))
    return ledger


def states(address: str, tube: str) -> list[tuple[str, str]]:
    with Client(address) as client:
        if tube not in client.list_tubes():
            return []
        found = find(client, Selection(tubes=(tube,)), bodies=True)
        return [(one.known_body.decode(), one.stats.state) for one in found]


def killed(*arguments: str, watched: str, after: int) -> None:
    """Start `beanrow`, and kill it when that server has got so many jobs."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    try:
        with Client(watched) as client:
            end = time.monotonic() + SECONDS
            first = client.stats().total_jobs
            while client.stats().total_jobs < first + after and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def settled(address: str) -> None:
    """Wait until the server has noticed that the killed one is gone."""
    with Client(address) as client:
        end = time.monotonic() + 10
        while client.stats().current_jobs_reserved:
            assert time.monotonic() < end
            time.sleep(0.005)


def check(ledger: dict[str, str], old: str, new: str, tube: str, cuts: int) -> None:
    assert states(old, tube) == []
    found = states(new, tube)
    assert dict(found) == ledger, "none is missing, and each has its state"
    assert len(found) - len(ledger) <= cuts * WINDOW


def test_migrate_moves_each_job_as_it_is(pair: tuple[str, str], tube: str) -> None:
    old, new = pair
    with Client(old) as client:
        ledger = fill(client, tube, 250)
        client.put("another", tube="other")
        held = client.reserve_job(client.put("held", tube=tube))
        go = ("migrate", f"{tube}*", "--server", old, "--to-server", new)
        assert told(*go, "--dry-run") == {"would-migrate": 250, "tubes": [tube]}
        assert "Say --yes" in refused(2, *go)
        assert well(*go, "--yes") == "250 jobs migrated; 1 job left, held by workers\n"
        client.delete(held)
        check(ledger, old, new, tube, cuts=0)
        assert "no ready or delayed or buried job" in refused(1, *go, "--yes")
        assert client.stats_tube("other").current_jobs_ready == 1
        client.put("paused", tube=tube, ttr=1)
        client.pause_tube(tube, 100)
        assert told(*go, "--yes") == {"migrated": 1, "held": 0, "twice": 0}
    assert "the same server" in refused(2, "migrate", "--server", old, "--to-server", old)


def test_migrate_stops_at_what_the_new_server_refuses(tube: str) -> None:
    with OurServer() as old, OurServer("-z", "10") as new, Client(old.address) as client:
        big = client.put("x" * 11, tube=tube, priority=3)
        client.put("small", tube=tube)
        go = ("migrate", tube, "--server", old.address, "--to-server", new.address, "--yes")
        error = refused(4, *go)
        assert "JOB_TOO_BIG" in error
        assert f"job {big} of tube {tube} stays where it is" in error
        assert client.stats_job(big).state == "ready"
        assert client.stats_job(big).pri == 3


@pytest.mark.parametrize("taken_too", [False, True])
def test_what_somebody_takes_while_it_is_migrated(
    pair: tuple[str, str], tube: str, taken_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He has it on the old server, so the copy goes again, if nobody has taken that too."""
    with (
        Client(pair[0]) as old,
        Client(pair[1]) as new,
        Client(pair[0]) as his,
        Client(pair[1]) as theirs,
    ):

        def store_and_take(client: Client, specs: list[Spec]) -> list[Result[int]]:
            ids = store(client, specs)
            if taken_too:
                theirs.reserve_job(int(str(ids[0])))
            return ids

        monkeypatch.setattr(migrate_module, "store", store_and_take)
        job_id = old.put("x", tube=tube, delay=100)
        (found,) = next_jobs(old, tube, "delayed", 1)
        his.reserve_job(job_id)
        moved = migrate_module._move(old, new, [found], Pace(None), held=False)
        assert moved == ((1, 1) if taken_too else (0, 0))
        assert new.stats().current_jobs_reserved == taken_too
        assert new.stats().current_jobs_delayed == 0
        assert old.stats_job(job_id).state == "reserved"


def test_migrate_is_as_fast_as_it_may_be(pair: tuple[str, str], tube: str) -> None:
    old, new = pair
    with Client(old) as client:
        client.put_many(["x"] * 30, tube=tube)
        start = time.monotonic()
        told("migrate", "--server", old, "--to-server", new, "--yes", "--rate", "100")
        assert time.monotonic() - start >= 0.19, "20 jobs behind the first 10"


def test_migrate_that_is_killed_loses_nothing(pair: tuple[str, str], tube: str) -> None:
    old, new = pair
    with Client(old) as client:
        ledger = fill(client, tube, 600)
    go = ("migrate", tube, "--server", old, "--to-server", new, "--yes")
    killed(*go, "--rate", "2000", watched=new, after=250)
    settled(old)
    left = states(old, tube)
    assert left, "it was killed too late"
    assert all(ledger[body] == state for body, state in left), "each has its state"
    told(*go)
    check(ledger, old, new, tube, cuts=1)


def test_restore_that_is_killed_loses_nothing(
    pair: tuple[str, str], tube: str, tmp_path: Path
) -> None:
    old, new = pair
    with Client(old) as client:
        ledger = fill(client, tube, 3000)
    file = tmp_path / "jobs"
    file.write_text(well("dump", "--server", old))
    go = ("restore", "--file", str(file), "--progress", str(tmp_path / "mark"), "--server", new)
    killed(*go, watched=new, after=500)
    assert len(states(new, tube)) < len(ledger), "it was killed too late"
    told(*go)
    found = states(new, tube)
    assert {body for body, _ in found} == set(ledger)
    assert len(found) - len(ledger) <= WINDOW
    wrong = collections.Counter(one for one in found if ledger[one[0]] != one[1])
    assert len(wrong) <= WINDOW, "what was to be buried when it was cut is delayed"
    ready = [one for one in wrong.elements() if one[1] == "ready"]
    assert len(ready) <= 1, "the one that was reserved, and not yet buried, when the line broke"
    assert {state for _, state in wrong} <= {"delayed", "ready"}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_migrate_killed_again_and_again(pair: tuple[str, str], tube: str, seed: int) -> None:
    old, new = pair
    chance = random.Random(seed)
    go = ("migrate", tube, "--server", old, "--to-server", new, "--yes")
    with Client(old) as client:
        ledger = fill(client, tube, 4000)
        for _ in range(10):
            killed(*go, watched=new, after=chance.randrange(1, 500))
            settled(old)
        assert tube in client.list_tubes(), "it was not killed in the middle"
    assert told(*go)["migrated"] > 0
    check(ledger, old, new, tube, cuts=10)
