"""``beanrow journal``: what servers keep, looked after without one; also the daemon's binlogs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanrow import Client, NotFoundError
from tests.cli.command import complaint, document, good, run
from tests.servers import Daemon, OurServer

Start = Callable[..., OurServer]
TIMES = {"age", "time-left", "file"}


def stop(server: OurServer) -> None:
    server.process.terminate()
    server.process.wait(20)


@pytest.fixture
def kept(start_ours: Start, tmp_path: Path) -> Path:
    """A journal with a ready, a delayed, a buried and a deleted job, and a paused tube."""
    server = start_ours("-b", str(tmp_path / "kept"))
    with Client(server.address) as client:
        client.put("ready", priority=7, ttr=30)
        client.put(b"\xff\x00 not text", delay=1000, tube="later")
        buried = client.put("buried", priority=1)
        client.delete(client.put("deleted"))
        job = client.reserve(timeout=0)
        assert job is not None
        assert job.id == buried
        client.bury(job, priority=9)
        client.pause_tube("later", 500)
    stop(server)
    return tmp_path / "kept"


def stats_of(server: OurServer | Daemon) -> dict[str, Any]:
    """Everything of the jobs and tubes that outlives a server, the times to the second aside."""
    with Client(server.address) as client:
        jobs = {}
        for job_id in range(1, 5):
            try:
                stats = client.stats_job(job_id)
            except NotFoundError:
                continue
            told = {key: value for key, value in stats.as_dict().items() if key not in TIMES}
            jobs[job_id] = (told, client.peek(job_id).body)
        pauses = {tube: client.stats_tube(tube).pause for tube in client.list_tubes()}
        return {"jobs": jobs, "pauses": pauses, "next": client.put("x")}


def test_check_tells_what_there_is(kept: Path) -> None:
    found = document("journal", "check", str(kept))
    assert (found["jobs"], found["ready"], found["delayed"], found["buried"]) == (3, 1, 1, 1)
    assert (found["damage"], found["notes"]) == ([], [])
    assert b"jobs: 3\n" in good("journal", "check", str(kept))


def test_check_tells_damage_by_its_exit_code(kept: Path) -> None:
    (segment,) = kept.glob("*.journal")
    segment.write_bytes(segment.read_bytes().replace(b"not text", b"nOt text"))
    assert "put of job 2" in complaint(run("journal", "check", str(kept)), 6)
    assert "put of job 2" in complaint(run("journal", "dump", str(kept)), 6)


def test_what_is_dumped_can_be_restored(kept: Path, start_ours: Start, tmp_path: Path) -> None:
    lines = good("journal", "dump", str(kept))
    for line in lines.splitlines():
        json.loads(line)
    assert good("journal", "restore", str(tmp_path / "new"), stdin=lines) == b"3 jobs\n"
    assert good("journal", "dump", str(tmp_path / "new")) == lines
    before = stats_of(start_ours("-b", str(kept)))
    assert stats_of(start_ours("-b", str(tmp_path / "new"))) == before
    assert before["next"] == 5
    assert {job_id: stats["state"] for job_id, (stats, _) in before["jobs"].items()} == {
        1: "ready",
        2: "delayed",
        3: "buried",
    }


def test_lines_of_ones_own_are_restored(start_ours: Start, tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    file.write_text('{"id": 3, "body": "x"}\n\n{"id": 9, "tube": "t", "pri": 1, "body": "y"}\n')
    told = document("journal", "restore", str(tmp_path / "new"), "--file", str(file))
    assert told == {"jobs": 2, "next-id": 10}
    with Client(start_ours("-b", str(tmp_path / "new")).address) as client:
        assert client.peek(3).body == b"x"
        assert client.stats_job(9).tube == "t"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[]", "no JSON object"),
        ("{", "Expecting"),
        ('{"id": 1}', "body"),
        ('{"id": 0, "body": ""}', "no job 0"),
        ('{"id": 1, "body": "", "state": "reserved"}', "state 'reserved'"),
        ('{"id": 1, "body": "", "tube": "-x"}', "'-x'"),
        ('{"id": 1, "body": "", "pri": 4294967296}', "pri is 4294967296"),
        ('{"id": 1, "body_base64": "?"}', "base64"),
        ('{"beanrow-journal": 2}', "newer beanrow"),
        ('{"other": 1}', "neither a job"),
    ],
)
def test_a_line_that_cannot_be_restored_is_named(tmp_path: Path, line: str, why: str) -> None:
    lines = f'{{"id": 7, "body": "good"}}\n{line}\n'
    done = run("journal", "restore", str(tmp_path / "new"), stdin=lines.encode())
    told = complaint(done, 6)
    assert "line 2: " in told
    assert why in told
    assert not (tmp_path / "new").exists()


def test_nothing_is_made_where_something_is(kept: Path) -> None:
    told = complaint(run("journal", "restore", str(kept), stdin=b'{"id": 1, "body": "x"}'), 6)
    assert "not empty" in told


@pytest.mark.parametrize("verb", ["check", "dump", "compact"])
def test_what_is_no_journal_is_told(verb: str, tmp_path: Path) -> None:
    assert str(tmp_path / "none") in complaint(run("journal", verb, str(tmp_path / "none")), 6)
    if verb != "compact":
        assert "no journal" in complaint(run("journal", verb, str(tmp_path)), 6)


def test_a_journal_in_use_is_read_but_not_compacted(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        client.put_many(["x"] * 100)
        assert document("journal", "check", str(tmp_path))["jobs"] == 100
        assert len(good("journal", "dump", str(tmp_path)).splitlines()) == 102  # head and a tube
        told = complaint(run("journal", "compact", str(tmp_path)), 6)
        assert f"process {server.pid}" in told
        client.put("and on")


def test_compact_leaves_what_is_needed(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path), "-s", "20000000", "--fsync", "never")
    with Client(server.address) as client:
        for _ in range(3):
            ids = client.put_many(["x" * 10_000] * 300)
            client.delete_many(ids)
        client.put_many(["kept"] * 10)
    stop(server)
    dumped = good("journal", "dump", str(tmp_path))
    told = document("journal", "compact", str(tmp_path))
    assert told["bytes"] < told["bytes-before"]
    assert good("journal", "dump", str(tmp_path)) == dumped


# -- binlogs of the real daemon ------------------------------------------------------------------


def binlog_of(daemon: Daemon) -> None:
    """Jobs of every kind, one of which ends the daemon's own replay."""
    with Client(daemon.address) as client:
        client.put("ready", priority=7, ttr=30)
        client.put("delayed", delay=1000, tube="later")
        client.put("buried", priority=1)
        client.delete(client.put("deleted"))
        job = client.reserve(timeout=0)
        assert job is not None
        client.bury(job, priority=9)
    os.kill(daemon.pid, signal.SIGKILL)
    daemon._process.wait()


@pytest.mark.daemon
def test_a_binlog_is_imported(start_ours: Start, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    with Daemon("-b", str(theirs), "-f", "0") as daemon:
        binlog_of(daemon)
    assert document("journal", "import", str(theirs), str(ours))["jobs"] == 3
    with Client(start_ours("-b", str(ours)).address) as client:
        stats = client.stats_job(1)
        assert (stats.state, stats.pri, stats.ttr) == ("ready", 7, 30)
        stats = client.stats_job(2)
        assert (stats.state, stats.tube, stats.delay) == ("delayed", "later", 1000)
        assert 900 < stats.time_left <= 1000
        stats = client.stats_job(3)
        assert (stats.state, stats.buries, stats.reserves) == ("buried", 1, 1)
        assert client.put("next") >= 4


@pytest.mark.daemon
@pytest.mark.parametrize("size", [65534, 65535])
def test_an_import_saves_what_the_daemon_would_drop(
    start_ours: Start, tmp_path: Path, size: int
) -> None:
    """Its replay stops at a body as large as the limit allows; what comes later it forgets."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    with Daemon("-b", str(theirs), "-f", "0") as daemon, Client(daemon.address) as client:
        client.put("x" * size)
        client.put_many(["later"] * 5)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon._process.wait()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in theirs.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    with Daemon("-b", str(copy)) as again, Client(again.address) as client:
        assert client.stats().current_jobs_ready == 0
    assert document("journal", "import", str(theirs), str(ours))["jobs"] == 6
    with Client(start_ours("-b", str(ours)).address) as client:
        assert client.stats().current_jobs_ready == 6
        assert len(client.peek(1).body) == size


@pytest.mark.daemon
def test_a_binlog_that_is_in_use_or_none_is_not_imported(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with Daemon("-b", str(theirs)):
        told = complaint(run("journal", "import", str(theirs), str(tmp_path / "ours")), 6)
        assert "stop it first" in told
    assert "no binlog" in complaint(run("journal", "import", str(tmp_path), str(tmp_path / "o")), 6)
    (theirs / "binlog.9").write_bytes(b"\x05\x00\x00\x00" + b"x" * 100)
    told = complaint(run("journal", "import", str(theirs), str(tmp_path / "ours")), 6)
    assert "binlog.9 has version 5" in told
