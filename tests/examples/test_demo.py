"""The demo as a user starts it: on its own server and on a running beanstalkd."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanrow import Client, TubeStats
from examples.demo.__main__ import main
from examples.demo.processes import ROOT
from examples.put_urls import TUBE
from tests.servers import Daemon, free_port

PAGES = 40
FAILING = 4  # of so few pages: one missing, one failing, one cut, one picture
MANY_PAGES = 600  # enough for something to happen in the middle of the run


class Demo:
    """A demo that runs, and what it says."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.text = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"{pattern!r} not in: {self.text}{self.process.communicate()[1]}")

    def wait(self) -> tuple[int, str, str]:
        """The exit status, standard output and standard error."""
        rest, errors = self.process.communicate(timeout=50)
        return self.process.returncode, self.text + rest, errors

    def workers(self) -> list[int]:
        """The process ids of its workers, which it tells."""
        match = self.read_until(r"process ids ([0-9, ]+)")
        return [int(pid) for pid in match[1].split(", ")]

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    with contextlib.ExitStack() as stack:

        def start_demo(*arguments: str) -> Demo:
            demo = Demo(*arguments)
            stack.callback(demo.process.communicate)
            stack.callback(demo.process.kill)
            return demo

        yield start_demo


@pytest.fixture
def client(fresh_daemon: Daemon) -> Iterator[Client]:
    with Client(fresh_daemon.address) as opened:
        yield opened


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_ended(pids: list[int]) -> None:
    wait_for(lambda: not any(map(is_running, pids)), f"the end of {pids}")


def tube_of(client: Client) -> TubeStats:
    """The demo's tube, which must exist by now."""
    wait_for(lambda: TUBE in client.list_tubes(), "the tube")
    return client.stats_tube(TUBE)


def wait_for_deletes(client: Client, count: int) -> None:
    wait_for(lambda: tube_of(client).cmd_delete >= count, f"{count} deletes")


def assert_nothing_left(client: Client) -> None:
    assert client.list_tubes() == ["default"]
    stats = client.stats()
    assert stats.current_jobs_ready + stats.current_jobs_reserved == 0
    assert stats.current_jobs_delayed + stats.current_jobs_buried == 0


def assert_summary(output: str, pages: int) -> None:
    assert f"{pages} put = {pages - FAILING} deleted + {FAILING} buried" in output
    assert "jobs per second" in output
    for reason in ("HTTP 404 Not Found", "HTTP 500 Internal", "image/png", "peer closed"):
        assert reason in output
    assert "Every job is accounted for." in output
    assert "\x1b" not in output  # no terminal, so no drawing


def test_on_its_own_server(start: Callable[..., Demo]) -> None:
    demo = start("--pages", str(PAGES))
    pids = demo.workers()
    assert len(pids) == 4
    children = demo.children()
    assert len(children) == 6  # the server and the web site, too
    status, output, errors = demo.wait()
    assert (status, errors) == (0, "")
    assert_summary(output, PAGES)
    wait_until_ended(children)


def test_on_a_running_daemon_it_leaves_nothing_and_touches_nothing(
    start: Callable[..., Demo], client: Client, fresh_daemon: Daemon
) -> None:
    others = [client.put("of somebody else"), client.put("likewise", tube="another", delay=900)]
    demo = start("--server", fresh_daemon.address, "--pages", str(PAGES), "--workers", "2")
    status, output, errors = demo.wait()
    assert (status, errors) == (0, "")
    assert_summary(output, PAGES)
    assert [client.stats_job(job).state for job in others] == ["ready", "delayed"]
    assert [client.stats_job(job).reserves for job in others] == [0, 0]
    for job in others:
        client.delete(job)
    client.use("default")
    assert_nothing_left(client)


@pytest.mark.parametrize("state", ["ready", "delayed", "reserved", "buried"])
def test_refuses_a_tube_with_jobs_of_others(
    client: Client, fresh_daemon: Daemon, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    job_id = client.put("theirs", tube=TUBE, delay=900 if state == "delayed" else 0)
    if state in {"reserved", "buried"}:
        job = client.reserve_job(job_id)
        if state == "buried":
            client.bury(job)
    with kept_signals():
        assert main(["--server", fresh_daemon.address, "--pages", "1"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"demo: tube {TUBE} on {fresh_daemon.address} holds jobs of others")
    assert f"(1 {state})" in told
    assert told.count("\n") == 1
    assert client.stats_job(job_id).state == state


@pytest.mark.parametrize("way", ["watch", "use"])
def test_refuses_a_tube_that_others_are_at(
    client: Client, fresh_daemon: Daemon, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    getattr(client, way)(TUBE)
    with kept_signals():
        assert main(["--server", fresh_daemon.address, "--pages", "1"]) == 2
    told = capsys.readouterr().err
    assert "is in use by others (1 connected): stop them first" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("server", "words"),
    [("127.0.0.1:{port}", "127.0.0.1:{port}"), ("not an address", "cannot read the address")],
)
def test_says_in_one_line_that_there_is_no_server(
    capsys: pytest.CaptureFixture[str], server: str, words: str
) -> None:
    port = free_port()
    with kept_signals():
        assert main(["--server", server.format(port=port), "--pages", "1"]) == 2
    told = capsys.readouterr().err
    assert words.format(port=port) in told
    assert told.count("\n") == 1


@pytest.mark.long
def test_a_killed_worker_costs_no_job(
    start: Callable[..., Demo], client: Client, fresh_daemon: Daemon
) -> None:
    demo = start("--server", fresh_daemon.address, "--pages", str(MANY_PAGES))
    pids = demo.workers()
    wait_for_deletes(client, 20)

    def all_hold_a_job() -> bool:
        """Stop the workers where they are; let them go on if one of them holds no job."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if tube_of(client).current_jobs_reserved == len(pids):
            return True
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return False

    wait_for(all_hold_a_job, "a job in every worker's hands")
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: tube_of(client).current_jobs_reserved == 3, "the job of the killed worker")
    for pid in pids[1:]:
        os.kill(pid, signal.SIGCONT)
    status, output, errors = demo.wait()
    assert (status, errors) == (0, "")
    assert f"{MANY_PAGES} put = " in output
    assert "killed by SIGKILL" in output
    assert_nothing_left(client)


def test_without_workers_it_tells_what_is_missing(
    start: Callable[..., Demo], client: Client, fresh_daemon: Daemon
) -> None:
    demo = start("--server", fresh_daemon.address, "--pages", str(MANY_PAGES), "--workers", "2")
    pids = demo.workers()
    wait_for_deletes(client, 20)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    status, output, errors = demo.wait()
    assert (status, errors) == (1, "")
    assert "The jobs do not add up:" in output
    assert "no worker reported its end; the server has it ready" in output
    assert "Every job is accounted for" not in output
    assert_nothing_left(client)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.long
def test_stopped_it_ends_all_and_removes_its_jobs(
    start: Callable[..., Demo], client: Client, fresh_daemon: Daemon, name: str
) -> None:
    demo = start("--server", fresh_daemon.address, "--pages", str(MANY_PAGES))
    demo.workers()
    wait_for_deletes(client, 20)
    children = demo.children()
    assert len(children) == 5
    demo.process.send_signal(signal.Signals[name])
    status, _, errors = demo.wait()
    assert status == 130
    assert errors.count("\n") == 1
    wait_until_ended(children)
    assert_nothing_left(client)


def test_stopped_while_it_puts_it_removes_its_jobs(
    start: Callable[..., Demo], client: Client, fresh_daemon: Daemon
) -> None:
    demo = start("--server", fresh_daemon.address, "--pages", "20000")
    wait_for(lambda: tube_of(client).total_jobs > 20, "the first jobs")
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait()[0] == 130
    assert_nothing_left(client)
    assert client.stats().total_jobs < 20000


def test_a_server_that_dies_is_told_in_one_line(
    start: Callable[..., Demo], fresh_daemon: Daemon
) -> None:
    demo = start("--server", fresh_daemon.address, "--pages", str(MANY_PAGES))
    demo.workers()
    with Client(fresh_daemon.address) as client:
        wait_for_deletes(client, 20)
    children = demo.children()
    fresh_daemon.stop()
    status, _, errors = demo.wait()
    assert status == 1
    assert errors.startswith("demo: ")
    assert errors.count("\n") == 1
    wait_until_ended(children)


@pytest.mark.long
def test_killed_it_leaves_no_process(start: Callable[..., Demo]) -> None:
    demo = start("--pages", str(MANY_PAGES))
    demo.workers()
    children = demo.children()
    demo.process.kill()
    wait_until_ended(children)


@pytest.mark.parametrize("arguments", [["--pages", "0"], ["--workers", "x"], ["--wrong"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@contextlib.contextmanager
def kept_signals() -> Iterator[None]:
    """`main` takes the signals of its process; give them back to the tests."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(name) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
