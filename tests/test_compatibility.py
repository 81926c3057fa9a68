"""Where our server differs from beanstalkd 1.12 on purpose: tests for each line of the list.

Each shows what ours does and, where it can be shown on demand, what the daemon does instead: a
line whose two sides have become the same fails too. Everything else is compared by
tests/differential.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanrow.engine.engine import Engine
from beanrow.engine.timers import SECOND
from beanrow.protocol import replies
from beanrow.protocol.requests import Put, Reserve, ReserveWithTimeout
from beanrow.server import __main__ as program
from beanrow.server.listeners import listen_tcp
from beanrow.server.loop import wall_clock
from beanrow.server.server import Server as RunningServer
from beanrow.version import __version__
from tests.differential.run import Peer
from tests.servers import HOST, Daemon, OurServer, Server, find_daemon

DOCUMENT = Path(__file__).parent.parent / "docs" / "compatibility.md"
PUT = b"put 0 0 60 1\r\nx\r\n"

Connect = Callable[[Server], Peer]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open connections; the test's end closes them all."""
    with contextlib.ExitStack() as opened:

        def open_one(server: Server) -> Peer:
            peer = Peer(server)
            opened.callback(peer.socket.close)
            return peer

        yield open_one


def await_waiters(control: Peer, count: int) -> None:
    while b"current-waiting: %d\n" % count not in control.converse(b"stats\r\n"):
        pass


def stat(document: bytes, key: str) -> str:
    (value,) = re.findall(rf"^{key}: (.*)$", document.decode(), re.MULTILINE)
    return str(value)


# -- the list itself ---------------------------------------------------------------------------


def listed() -> list[list[str]]:
    """The lines of the table of differences, each as its five cells."""
    table = DOCUMENT.read_text().partition("| what |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table.splitlines()[2:]
    ]


def named_tests() -> list[str]:
    return [name for *_, tests in listed() for name in re.findall(r"`(\w+)`", tests)]


def test_each_line_of_the_list_is_whole_and_names_tests_of_this_file() -> None:
    lines = listed()
    assert len(lines) > 10
    for line in lines:
        assert len(line) == 5, line
        assert all(line), f"an empty cell: {line}"
        assert re.findall(r"`(test_\w+)`", line[4]), f"no test: {line}"
    missing = [name for name in named_tests() if not callable(globals().get(name))]
    assert missing == []


def test_each_test_of_this_file_stands_in_the_list() -> None:
    about_the_list = {
        "test_each_line_of_the_list_is_whole_and_names_tests_of_this_file",
        "test_each_test_of_this_file_stands_in_the_list",
    }
    tests = {name for name in globals() if name.startswith("test_")} - about_the_list
    assert tests == set(named_tests())


# -- what is said ------------------------------------------------------------------------------


def test_strings_of_statistics_are_quoted(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect
) -> None:
    daemon, ours = connect(fresh_daemon), connect(our_server)
    for peer in (daemon, ours):
        peer.converse(b"use 12145\r\n")
        peer.converse(PUT)
    for request, key in ((b"stats-tube 12145\r\n", "name"), (b"stats-job 1\r\n", "tube")):
        assert stat(daemon.converse(request), key) == "12145"
        assert stat(ours.converse(request), key) == '"12145"'
    theirs, own = daemon.converse(b"stats\r\n"), ours.converse(b"stats\r\n")
    for key in ("hostname", "os", "platform"):
        assert stat(own, key) == f'"{stat(theirs, key)}"'
    for key in ("id", "draining"):  # bare in 1.13 too
        assert '"' not in stat(own, key)
    assert ours.converse(b"list-tubes\r\n") == daemon.converse(b"list-tubes\r\n")


def test_the_version_is_our_own(daemon: Daemon, our_server: OurServer, connect: Connect) -> None:
    assert stat(connect(daemon).converse(b"stats\r\n"), "version").startswith('"1.')
    own = stat(connect(our_server).converse(b"stats\r\n"), "version")
    assert own == f'"beanrow {__version__}"'
    assert run_ours("-v").stdout.strip() == f"beanrow {__version__}"


# -- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    ["", "abc", "+0", "\t0", "0 junk", "0x", "-1", "2147483648", "4294967295", "4294967296"],
)
def test_reserve_with_timeout_takes_one_number_up_to_2_31(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect, argument: str
) -> None:
    request = f"reserve-with-timeout {argument}\r\n".encode()
    daemon, ours = connect(fresh_daemon), connect(our_server)
    for peer in (daemon, ours):
        peer.converse(PUT)
    assert daemon.converse(request) == b"RESERVED 1 1\r\nx\r\n"
    assert ours.converse(request) == b"BAD_FORMAT\r\n"
    assert ours.converse(b"reserve-with-timeout 2147483647\r\n") == b"RESERVED 1 1\r\nx\r\n"


@pytest.mark.parametrize("bound", [b"-1", b" -1", b"\t-5"])
def test_a_negative_kick_is_badly_formed(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect, bound: bytes
) -> None:
    daemon, ours = connect(fresh_daemon), connect(our_server)
    for peer in (daemon, ours):
        for _ in range(7):
            peer.converse(b"put 0 1000 60 0\r\n\r\n")
    assert daemon.converse(b"kick %b\r\n" % bound) == b"KICKED 7\r\n"
    assert ours.converse(b"kick %b\r\n" % bound) == b"BAD_FORMAT\r\n"


@pytest.mark.parametrize("line", [b"quitx\r\n", b"quit now\r\n", b"quit-job 1\r\n"])
def test_quit_takes_nothing_behind_it(
    daemon: Daemon, our_server: OurServer, connect: Connect, line: bytes
) -> None:
    assert connect(daemon).converse(line) == b""
    ours = connect(our_server)
    assert ours.converse(line) == b"UNKNOWN_COMMAND\r\n"
    assert ours.converse(b"quit \r\n") == b""


@pytest.mark.parametrize("line", [b"capabilities\r\n", b"capabilities truncate\r\n"])
def test_capabilities_is_known(
    daemon: Daemon, our_server: OurServer, connect: Connect, line: bytes
) -> None:
    assert connect(daemon).converse(line) == b"UNKNOWN_COMMAND\r\n"
    assert connect(our_server).converse(line).startswith(b"OK ")
    assert connect(our_server).converse(b"truncate default\r\n") == b"UNKNOWN_COMMAND\r\n"


@pytest.mark.parametrize("path", ["/", "/" + "a" * 208, "/" + "a" * 209, "/" + "a" * 1000])
def test_http_closes_the_connection(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect, path: str
) -> None:
    """A page led a browser here; one of the paths makes a line that swallows the next one."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:11300\r\nUser-Agent: Mozilla/5.0\r\n"
        f"Content-Length: 17\r\n\r\n{PUT.decode()}"
    ).encode()
    for server, jobs in ((fresh_daemon, "1"), (our_server, "0")):
        peer = connect(server)
        peer.socket.sendall(request)
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.reply():
            pass
        assert stat(connect(server).converse(b"stats\r\n"), "total-jobs") == jobs
    assert connect(our_server).converse(b"GET / HTTP/1.1\r\n") == b""


# -- what happens to jobs ----------------------------------------------------------------------


def test_an_unfinished_put_is_nothing_yet(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect
) -> None:
    seen = {}
    for server in (fresh_daemon, our_server):
        peer, other = connect(server), connect(server)
        assert peer.converse(b"use t\r\nput 0 0 60 5\r\nab") == b"USING t\r\n"
        before = other.converse(b"stats\r\n")
        job = other.converse(b"stats-job 1\r\n")
        state = "none" if job == b"NOT_FOUND\r\n" else stat(job, "state")
        second = other.converse(PUT)
        counted = stat(before, "cmd-put"), stat(before, "current-producers")
        seen[server] = state, counted, second, peer.converse(b"cde\r\n")
    assert seen[fresh_daemon] == ("invalid", ("1", "1"), b"INSERTED 2\r\n", b"INSERTED 1\r\n")
    assert seen[our_server] == ("none", ("0", "0"), b"INSERTED 1\r\n", b"INSERTED 2\r\n")


def test_waiters_are_served_in_order_of_arrival(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect
) -> None:
    assert in_order_of_arrival(our_server, connect) == [True] * 4
    assert in_order_of_arrival(fresh_daemon, connect) != [True] * 4


def in_order_of_arrival(server: Server, connect: Connect) -> list[bool]:
    """Whether those who waited first were served first, in several rounds of four."""
    control, waiters, rounds = connect(server), [connect(server) for _ in range(4)], []
    for _ in range(4):
        for count, waiter in enumerate(waiters, start=1):
            waiter.socket.sendall(b"reserve\r\n")
            await_waiters(control, count)
        put = [control.converse(PUT).removeprefix(b"INSERTED ").strip() for _ in waiters]
        taken = [(waiter.reply() or b"").split()[1] for waiter in waiters]
        rounds.append(taken == put)
        for waiter, job in zip(waiters, taken, strict=True):
            waiter.converse(b"delete %b\r\n" % job)
    return rounds


def test_a_silent_holder_loses_its_job_on_time() -> None:
    """On a clock of our own, to the nanosecond: the daemon's fault is two equal times."""
    engine = Engine(0)
    session = engine.open()
    for ttr in (1, 2, 3):
        engine.execute(session, Put(0, 0, ttr, b"x"), 0)
        engine.execute(session, Reserve(), 0)
    for second in (1, 2, 3):
        assert engine.next_deadline() == second * SECOND
        engine.tick(second * SECOND - 1)
        engine.tick(second * SECOND)
        assert engine.counters.job_timeouts == second
    assert engine.next_deadline() is None


def test_jobs_expire_after_a_wait_that_ended_deadline_soon() -> None:
    engine = Engine(0)
    session = engine.open()
    for ttr in (3, 4):
        engine.execute(session, Put(0, 0, ttr, b"x"), 0)
        engine.execute(session, Reserve(), 0)
    assert engine.execute(session, ReserveWithTimeout(100), 0) is None
    engine.tick(2 * SECOND)
    assert session.replies[-1] == replies.DEADLINE_SOON
    for second in (3, 4):
        engine.tick(second * SECOND)
        assert engine.counters.job_timeouts == second - 2


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_the_clock_never_steps_back(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = wall_clock()
    before = clock()
    assert abs(before / 1e9 - time.time()) < 5
    moved = time.time_ns() + int(seconds * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: moved)
    monkeypatch.setattr(time, "time", lambda: moved / 1e9)
    assert 0 <= clock() - before < 5 * SECOND


def test_a_half_close_is_noticed_at_once(our_server: OurServer, connect: Connect) -> None:
    """Also with requests behind the reserve, where the daemon may notice only seconds later."""
    control = connect(our_server)
    for behind in (b"", b"list-tube-used\r\n", b"reserve\r\nlist-tube-used\r\n"):
        peer = connect(our_server)
        peer.socket.sendall(b"reserve\r\n" + behind)
        await_waiters(control, 1)
        start = time.monotonic()
        peer.socket.shutdown(socket.SHUT_WR)
        said = list(itertools.takewhile(bool, iter(peer.reply, None)))
        assert time.monotonic() - start < 0.5
        answers = [b"TIMED_OUT\r\n"] * (1 + behind.count(b"reserve"))
        assert said == answers + [b"USING default\r\n"] * behind.count(b"list")


# -- what a restart leaves ---------------------------------------------------------------------


Start = Callable[..., Server]


def after_a_kill(
    start: Start, connect: Connect, directory: Path, before: list[bytes], then: list[bytes]
) -> list[bytes]:
    """Say something, kill the server, start it on the same directory, and ask."""
    directory.mkdir()
    server = start("-b", str(directory))
    peer = connect(server)
    for request in before:
        peer.converse(request)
    os.kill(server.pid, signal.SIGKILL)
    assert peer.reply() == b""
    again = connect(start("-b", str(directory)))
    return [again.converse(request) for request in then]


def test_a_restart_keeps_all_that_a_job_and_a_tube_are(
    start_daemon: Start, start_ours: Start, connect: Connect, tmp_path: Path
) -> None:
    before = [
        *(b"use a\r\n", b"watch a\r\n", b"put 5 0 60 1\r\nx\r\n", b"put 7 0 60 1\r\ny\r\n"),
        *(b"reserve\r\n", b"release 1 99 0\r\n", b"reserve\r\n", b"bury 2 3\r\n"),
        b"pause-tube a 100\r\n",
    ]
    then = [b"stats-job 1\r\n", b"stats-job 2\r\n", b"stats-tube a\r\n"]

    def told(start: Start, name: str) -> list[str]:
        released, buried, tube = after_a_kill(start, connect, tmp_path / name, before, then)
        return [
            *(stat(released, key) for key in ("pri", "releases", "reserves")),
            stat(buried, "buries"),
            *(stat(tube, key) for key in ("total-jobs", "pause", "cmd-pause-tube")),
        ]

    assert told(start_daemon, "theirs") == ["5", "0", "0", "2", "0", "0", "0"]
    assert told(start_ours, "ours") == ["99", "1", "1", "1", "2", "100", "1"]


@pytest.mark.parametrize("size", [65534, 65535])
def test_a_large_body_does_not_end_the_replay(
    start_daemon: Start, start_ours: Start, connect: Connect, tmp_path: Path, size: int
) -> None:
    large = b"put 0 0 60 %d\r\n" % size + b"x" * size + b"\r\n"
    then = [b"peek 1\r\n", b"peek 2\r\n"]
    found = after_a_kill(start_daemon, connect, tmp_path / "theirs", [large, PUT], then)
    assert found == [b"NOT_FOUND\r\n"] * 2
    found = after_a_kill(start_ours, connect, tmp_path / "ours", [large, PUT], then)
    assert [reply[:7] for reply in found] == [b"FOUND 1", b"FOUND 2"]


def test_an_id_is_not_given_out_again(
    start_daemon: Start, start_ours: Start, connect: Connect, tmp_path: Path
) -> None:
    for start, name, last in ((start_daemon, "theirs", b"1"), (start_ours, "ours", b"2")):
        directory = tmp_path / name
        directory.mkdir()
        for requests in ([PUT, b"delete 1\r\n"], []):  # two, until the old file is gone
            server = start("-b", str(directory))
            peer = connect(server)
            for request in requests:
                peer.converse(request)
            os.kill(server.pid, signal.SIGKILL)
            assert peer.reply() == b""
        assert connect(start("-b", str(directory))).converse(PUT) == b"INSERTED %b\r\n" % last


@pytest.mark.daemon
def test_a_reply_waits_for_the_disk_unless_told_otherwise() -> None:
    path = find_daemon()
    assert path is not None
    told = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    assert "default is 50ms" in told.stdout + told.stderr
    assert "before each reply (the default)" in " ".join(run_ours("-h").stdout.split())


def test_s_bounds_the_whole_journal(start_daemon: Start, start_ours: Start, tmp_path: Path) -> None:
    """And not one file; told in either case as binlog-max-size."""
    sizes = {}
    for start, name in ((start_daemon, "theirs"), (start_ours, "ours")):
        directory = tmp_path / name
        directory.mkdir()
        start("-b", str(directory), "-s", "1000000")
        sizes[name] = sum(file.stat().st_size for file in directory.iterdir())
    assert sizes["ours"] < 1_000_000 <= sizes["theirs"]


def test_a_binlog_of_the_daemon_is_not_taken_over(start_daemon: Start, tmp_path: Path) -> None:
    start_daemon("-b", str(tmp_path))
    ended = run_ours("-p", "0", "-b", str(tmp_path))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert str(tmp_path) in line
    assert "beanrow journal import" in line


# -- how it is started and ended ---------------------------------------------------------------


def run_ours(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run our server with flags that make it end by itself."""
    command = [sys.executable, "-m", "beanrow.server", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def run_daemon(*flags: str) -> str:
    """Run the daemon with flags it may or may not end by itself on; what it wrote."""
    path = find_daemon()
    assert path is not None
    command = [path, "-l", HOST, "-p", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.2)  # it tells nobody when it has started
        process.terminate()
        assert process.stderr is not None
        return process.stderr.read()


@pytest.mark.daemon
@pytest.mark.parametrize(
    ("flags", "of_the_daemon"),
    [
        (["-z", "1073741825"], "was set to 1073741824"),
        (["-z", "-1"], "was set to 1073741824"),
        (["-c"], "was removed"),
        (["-n"], "was removed"),
    ],
)
def test_flags_that_cannot_be_obeyed_are_refused(flags: list[str], of_the_daemon: str) -> None:
    assert of_the_daemon in run_daemon(*flags)
    ended = run_ours("-p", "0", *flags)
    assert ended.returncode > 0
    (line,) = ended.stderr.splitlines()
    assert flags[0] in line


@pytest.mark.daemon
def test_listens_on_loopback_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    path = find_daemon()
    assert path is not None
    told = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    assert "default is 0.0.0.0" in told.stdout + told.stderr

    asked: list[tuple[str, int]] = []

    def listen_here(host: str, port: int) -> socket.socket:
        asked.append((host, port))
        return listen_tcp(HOST, 0)

    monkeypatch.setattr(program, "listen_tcp", listen_here)
    monkeypatch.setattr(RunningServer, "run", close_listeners)
    assert program.main(["-p", "11300"]) == 0
    assert asked == [(HOST, 11300)]


class Elsewhere(socket.socket):
    """A loopback listener that says it is none: no test listens where others can reach it."""

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", 11300


def test_warns_where_others_can_reach_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RunningServer, "run", close_listeners)
    for listener, warning in ((socket.socket(), ""), (Elsewhere(), "WARNING")):
        listener.bind((HOST, 0))
        monkeypatch.setattr(program, "listen_tcp", lambda *_, there=listener: there)
        assert program.main(["-l", "192.0.2.1"]) == 0
        told = capsys.readouterr().err
        assert (warning in told) if warning else told == ""


def close_listeners(server: RunningServer, ready: Callable[[], object]) -> bool:
    """In place of `Server.run`: end at once."""
    server._loop.stop()
    server._loop.run()
    return True


@pytest.mark.daemon
def test_the_socket_file_goes_with_the_server(tmp_path: Path) -> None:
    path = find_daemon()
    assert path is not None
    ours = [sys.executable, "-m", "beanrow.server"]
    for name, command, left in (("theirs", [path], True), ("ours", ours, False)):
        file = tmp_path / name
        with subprocess.Popen([*command, "-l", f"unix:{file}"]) as process:
            end = time.monotonic() + 10
            while not answers(file):
                assert time.monotonic() < end
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
        assert file.exists() is left


def test_drain_mode_can_be_ended(
    fresh_daemon: Daemon, our_server: OurServer, connect: Connect
) -> None:
    for server, ends in ((fresh_daemon, True), (our_server, False)):
        peer = connect(server)
        os.kill(server.pid, signal.SIGUSR1)
        while stat(peer.converse(b"stats\r\n"), "draining") != "true":
            pass
        os.kill(server.pid, signal.SIGUSR2)
        if ends:
            assert peer.socket.recv(1) == b""
            continue
        while stat(peer.converse(b"stats\r\n"), "draining") != "false":
            pass
        assert peer.converse(PUT) == b"INSERTED 1\r\n"


def answers(file: Path) -> bool:
    """A word of the server itself: to be connected is not yet to be served, and to heed signals."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(10)
        if probe.connect_ex(str(file)):
            return False
        probe.sendall(b"list-tube-used\r\n")
        return probe.recv(100) == b"USING default\r\n"
