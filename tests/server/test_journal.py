"""A server that keeps its jobs: what is there after it ended, however, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beanrow import Client
from beanrow.journal.codec import HEADER_SIZE, VERSION
from tests.server.talk import Talk, bytes_in
from tests.servers import OurServer

Start = Callable[..., OurServer]


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


def last_bytes(segment: Path) -> int:
    """Where the records of a segment end: behind them it is allocated, and zero."""
    return len(segment.read_bytes().rstrip(b"\0"))


def refused(*flags: str) -> str:
    """The one line of a server that does not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "beanrow.server", "-p", "0", *flags],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def kill(server: OurServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()


def stop(server: OurServer) -> None:
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.mark.parametrize("end", [kill, stop])
def test_all_that_a_job_is_survives(
    start_ours: Start, tmp_path: Path, end: Callable[[OurServer], None]
) -> None:
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        ready = client.put("ready", priority=7, ttr=30)
        held = client.put("held", priority=1)
        client.put_many(["first", "second"], priority=2, tube="buried")
        delayed = client.put("delayed", delay=1000, tube="later")
        client.watch("buried")
        assert client.reserve(timeout=0).id == held  # type: ignore[union-attr]
        one, other = client.reserve_many(2)
        client.bury(other, priority=9)
        client.bury(one, priority=9)
        client.pause_tube("later", 500)
        end(server)
    with Client(start_ours("-b", str(tmp_path)).address) as client:
        stats = client.stats_job(ready)
        assert (stats.state, stats.pri, stats.ttr) == ("ready", 7, 30)
        stats = client.stats_job(held)  # whoever held it is gone, and it knows how often it was
        assert (stats.state, stats.reserves) == ("ready", 1)
        stats = client.stats_job(one)
        assert (stats.state, stats.pri, stats.buries) == ("buried", 9, 1)
        client.use("buried")
        assert client.peek_buried().id == other.id  # type: ignore[union-attr]
        stats = client.stats_job(delayed)
        assert (stats.state, stats.delay) == ("delayed", 1000)
        assert 900 < stats.time_left <= 1000
        tube = client.stats_tube("later")
        assert (tube.pause, tube.total_jobs, tube.cmd_pause_tube) == (500, 1, 1)
        assert tube.pause_time_left > 400
        assert client.put("next") == delayed + 1


def test_delays_and_pauses_run_on_while_it_is_down(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        client.put("delayed", delay=2)
        client.put("paused", tube="paused")
        client.pause_tube("paused", 2)
    kill(server)
    time.sleep(2)  # of the wall's clock, which is what is tested
    with Client(start_ours("-b", str(tmp_path)).address) as client:
        client.watch("paused")
        assert {job.body for job in client.reserve_many(2)} == {b"delayed", b"paused"}


def test_a_torn_tail_is_cut_off_and_told(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        client.put_many(["one", "two", "three"])
    kill(server)
    (segment,) = segments(tmp_path)
    os.truncate(segment, last_bytes(segment) - 2)
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        assert client.stats().current_jobs_ready == 3  # what was cut were the tube's counts
    assert f"{segment.name}: a write at byte" in server.told()


def test_bit_rot_costs_a_record_and_is_named(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        for body in ("first", "second, to rot", "third"):
            client.put(body)
    stop(server)
    (segment,) = segments(tmp_path)
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"to rot", b"tO rot"))
    server = start_ours("-b", str(tmp_path))
    with Client(server.address) as client:
        assert [job.id for job in client.reserve_many(3)] == [1, 3]
        assert client.put("next") == 4
    assert re.search(
        rf"{segment.name}: \d+ damaged bytes at byte \d+ .*put of job 2", server.told()
    )
    stop(server)
    server = start_ours("-b", str(tmp_path))  # the damaged file is not lost, and not told for ever
    assert segment.exists() or segment.with_name(segment.name + ".damaged").exists()


def test_a_second_server_on_the_directory_is_refused(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("-b", str(tmp_path))
    line = refused("-b", str(tmp_path))
    assert str(tmp_path) in line
    assert f"process {server.pid}" in line


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, tmp_path / "no" / "such", Path("/proc/beanrow")):
        assert str(path) in refused("--data", str(path))


def test_a_newer_journal_is_refused(start_ours: Start, tmp_path: Path) -> None:
    stop(start_ours("-b", str(tmp_path)))
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    for copy in (0, HEADER_SIZE // 2):
        data[copy + 16 : copy + 20] = (VERSION + 1).to_bytes(4, "little")
    segment.write_bytes(data)
    assert f"version {VERSION + 1}" in refused("-b", str(tmp_path))


def test_a_copy_of_a_running_servers_directory_is_a_backup(
    start_ours: Start, tmp_path: Path
) -> None:
    """As docs/journal.md prints it. Jobs come and go meanwhile, and compaction works."""
    live = tmp_path / "live"
    server = start_ours("-b", str(live), "-s", "1000000", "--fsync", "never")
    stopping = threading.Event()

    def work() -> None:
        with Client(server.address) as client:
            while not stopping.is_set():
                client.delete_many(client.put_many(["x" * 1000] * 100, tube="passing"))

    with Client(server.address) as client:
        client.put_many([f"job {n}" for n in range(2000)])
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(5):
            copy = tmp_path / f"copy-{number}"
            copy.mkdir()
            command = [
                "flock",
                "--shared",
                f"{live}/hold",
                "sh",
                "-c",
                f"cp {live}/*.journal {copy}",
            ]
            subprocess.run(command, check=True, timeout=20)
            with Client(start_ours("-b", str(copy)).address) as of_the_copy:
                assert of_the_copy.stats_tube("default").current_jobs_ready == 2000
    finally:
        stopping.set()
        worker.join()


def test_its_figures(start_ours: Start, our_server: OurServer, tmp_path: Path) -> None:
    with Client(our_server.address) as client:
        stats = client.stats()
        assert (stats.binlog_current_index, stats.binlog_records_written) == (0, 0)
        assert (stats.binlog_oldest_index, stats.binlog_records_migrated) == (0, 0)
        assert client.stats_job(client.put("x")).file == 0
    with Client(start_ours("-b", str(tmp_path)).address) as client:
        assert client.stats_job(client.put("x")).file == 1
        assert (client.stats().binlog_current_index, client.stats().binlog_oldest_index) == (1, 1)
        assert client.stats().binlog_records_written > 0


def test_its_size_follows_the_jobs(start_ours: Start, tmp_path: Path) -> None:
    """200 jobs that come and go 100 times: the daemon's binlog grows from 1 file to 10."""
    server = start_ours("-b", str(tmp_path), "-s", "1000000", "--fsync", "never")
    with Client(server.address) as client:
        ids = client.put_many(["x" * 1000] * 200)
        for _ in range(100):
            ids, old = client.put_many(["x" * 1000] * 200), ids
            client.delete_many(old)
        live = 200 * 1000
        end = time.monotonic() + 20
        while bytes_in(tmp_path) > 2 * live + 1_000_000:
            assert time.monotonic() < end, "it was not compacted"
            time.sleep(0.01)


def test_the_end_waits_for_no_reply_that_cannot_be_kept(start_ours: Start, tmp_path: Path) -> None:
    """What is answered is kept: a put under way when SIGTERM comes is one or the other."""
    server = start_ours("-b", str(tmp_path))
    with Talk(server) as talk:
        talk.send(b"".join(b"put 0 0 60 5\r\nhello\r\n" for _ in range(2000)))
        assert talk.reply() == b"INSERTED 1\r\n"
        server.process.terminate()
        answered = 1
        with contextlib.suppress(ConnectionResetError):  # puts that it no longer read are behind
            while (reply := talk.reply()).startswith(b"INSERTED"):
                answered += 1
            assert reply == b""
    assert server.process.wait(20) == 0
    with Client(start_ours("-b", str(tmp_path)).address) as client:
        assert client.stats().current_jobs_ready >= answered
