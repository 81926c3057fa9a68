"""The server as a program: its flags, its signals, how it ends."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.talk import Talk
from tests.servers import OurServer

ROOT = os.getuid() == 0


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beanrow.server", *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["-b", "/dev/null", "-p", "0"], "/dev/null"),
        (["-b", "/no/such/place", "-p", "0"], "/no/such/place"),
        (["--fsync", "sometimes"], "--fsync"),
        (["-f", "-1"], "-f"),
        (["-p", "x"], "-p"),
        (["-p", "99999"], "65535"),
        (["-z", "-1"], "-z"),
        (["-z", "1073741825"], "1073741824"),
        (["-u", "nobody-of-this-name", "-p", "0"], "nobody-of-this-name"),
        (["-l", "256.1.1.1"], "256.1.1.1"),
        (["--what"], "--what"),
    ],
)
def test_a_bad_flag_is_refused_in_one_line(args: list[str], told: str) -> None:
    assert told in one_line(run(*args))


def test_a_port_in_use_is_told_in_one_line(our_server: OurServer) -> None:
    told = one_line(run("-p", str(our_server.port)))
    assert str(our_server.port) in told
    assert "in use" in told


def test_a_unix_socket_of_a_live_server_is_not_taken(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    server = start_ours("-l", f"unix:{tmp_path}/queue")
    assert "in use" in one_line(run("-l", f"unix:{tmp_path}/queue"))
    with Talk(server) as talk:
        assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"


def test_the_version_and_the_help() -> None:
    assert run("-v").stdout.startswith("beanrow ")
    told = run("-h").stdout
    assert all(
        flag in told
        for flag in (
            "-l",
            "-p",
            "-b",
            "--data",
            "--fsync",
            "-f",
            "-F",
            "-s",
            "-u",
            "-z",
            "-v",
            "-V",
        )
    )


def test_the_flags_of_a_journal_are_taken_without_one(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours("-f", "50", "-F", "-s", "4096", "-V", "-z", "10")
    assert "listening on 127.0.0.1:" in server.told()
    with Talk(server) as talk:
        assert talk.figure("max-job-size") == 10
        assert talk.ask(b"put 0 0 60 11\r\n01234567890\r\n") == b"JOB_TOO_BIG\r\n"
        assert talk.ask(b"put 0 0 60 10\r\n0123456789\r\n") == b"INSERTED 1\r\n"


def test_beyond_loopback_it_warns(start_ours: Callable[..., OurServer]) -> None:
    assert "WARNING" in start_ours("-l", "0.0.0.0").told()
    assert "WARNING" not in start_ours().told()


@pytest.mark.skipif(not ROOT, reason="only root may become somebody else")
def test_it_becomes_another_user(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours("-u", "nobody")
    assert os.stat(f"/proc/{server.pid}").st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(our_server: OurServer, number: signal.Signals) -> None:
    with Talk(our_server) as talk:
        talk.ask(b"put 0 0 60 1\r\na\r\n")
        os.kill(our_server.pid, number)
        assert our_server.process.wait(10) == 0
        assert talk.reply() == b""
    assert our_server.told() == ""


def test_sigusr1_begins_drain_mode(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        talk.ask(b"put 0 0 60 1\r\na\r\n")
        os.kill(our_server.pid, signal.SIGUSR1)
        while b"draining: true" not in talk.ask(b"stats\r\n"):
            pass
        assert talk.ask(b"put 0 0 60 1\r\na\r\n") == b"DRAINING\r\n"
        assert talk.ask(b"reserve\r\n") == b"RESERVED 1 1\r\na\r\n"
        assert talk.figure("total-jobs") == 1


PARENT = """
import os, subprocess, sys, time
server = subprocess.Popen(
    [sys.executable, "-m", "beanrow.server", "-p", "0", "--announce", "--with-parent"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(server.stdout.readline().decode().strip(), flush=True)
if os.fork() == 0:  # a worker that outlives its parent, the pipe to the server in hand
    time.sleep(20)
time.sleep(20)
"""


def test_it_ends_with_its_parent_though_a_fork_of_that_lives_on() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        assert parent.stdout is not None
        host, _, port = parent.stdout.readline().strip().rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.settimeout(10)
            parent.kill()
            assert connection.recv(1) == b""
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
