"""What all verbs share: help, how the server is named, exit codes, one-line errors, the extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from beanrow import Client, __version__
from tests.cli.command import COMMAND, complaint, environment, good, run
from tests.cli.scripted import Scripted
from tests.servers import Daemon, OurServer, Server, free_port

VERBS = ("put", "reserve", "peek", "stats", "tubes")


def test_help_tells_the_verbs_and_every_exit_code() -> None:
    told = good("--help").decode()
    for verb in (*VERBS, "serve"):
        assert f"\n  {verb} " in told
    codes = told.partition("Exit codes:")[2].splitlines()
    assert [line.split()[0] for line in codes if line.startswith("    ")] == [
        *("0", "1", "2", "3", "4", "5", "6", "130")
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_short_help_with_an_example(verb: str) -> None:
    told = good(verb, "--help").decode()
    assert f"  beanrow {verb}" in told.partition("Example")[2]
    assert "--json" in told
    assert "--server" in told
    assert len(told.splitlines()) < 35
    assert max(map(len, told.splitlines())) <= 80


def test_reserve_says_what_it_does_by_default() -> None:
    assert "default: nothing is lost" in good("reserve", "--help").decode()


def test_version() -> None:
    assert good("--version") == f"beanrow {__version__}\n".encode()


def test_the_server_before_and_after_the_verb_and_in_the_environment(server: Server) -> None:
    pid = f"{server.pid}".encode()
    nobody = f"127.0.0.1:{free_port()}"
    url = f"beanstalk://{server.address}"
    assert pid in good("--server", server.address, "stats").split()
    assert pid in good("stats", "--server", url).split()
    assert pid in good("--server", nobody, "stats", "--server", server.address).split()
    for value in (server.address, url):
        assert pid in run("stats", env=environment(BEANSTALKD_URL=value)).stdout.split()
    env = environment(BEANSTALKD_URL=nobody)
    assert pid in run("--server", server.address, "stats", env=env).stdout.split()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "beanrow: Missing command"),
        (("nope",), "No such command"),
        (("--nope",), "No such option"),
        (("put", "--tube", "-x", "b"), "begins with '-'"),
        (("put", "--tube", "", "b"), "is empty"),
        (("put", "--tube", "x" * 201, "b"), "has 201 bytes"),
        (("put", "--tube", "a\r\nb", "b"), "may hold only letters"),
        (("put", "--priority", "4294967296", "b"), "is not in 0..4294967295"),
        (("put", "--priority", "high", "b"), "'high' is not a number"),
        (("put", "--delay", "-1", "b"), "is not in 0..4294967295 seconds"),
        (("put", "--ttr", "nan", "b"), "is not in 0..4294967295 seconds"),
        (("put", "--file", "/nowhere/x"), "No such file or directory"),
        (("put", "--file", "/"), "Is a directory"),
        (("put", "--lines", "b"), "not both"),
        (("put", "a", "b"), "unexpected extra argument"),
        (("reserve", "--delete", "--bury"), "only one of"),
        (("reserve", "--timeout", "x"), "'x' is not a number"),
        (("peek", "one"), "'one' is not a number"),
        (("peek", "-1"), "No such option"),
        (("peek", "1", "--state", "ready"), "not both"),
        (("peek", "--state", "reserved"), "'ready', 'delayed', 'buried'"),
        (("stats", "--tube", "a", "--job", "1"), "not both"),
        (("tubes", "--server", "http://x"), "cannot read the address 'http://x'"),
        (("tubes", "--server", "embedded:"), "name a server"),
        (("--server", "localhost", "serve"), "-l and -p"),
    ],
)
def test_bad_use(arguments: tuple[str, ...], told: str) -> None:
    # Nobody listens there: it is found before anything is connected.
    env = environment(BEANSTALKD_URL=f"127.0.0.1:{free_port()}")
    line = complaint(run(*arguments, env=env), 2)
    assert told in line
    assert "--help'" in line


def test_a_bad_address_in_the_environment_is_told_as_such() -> None:
    told = complaint(run("stats", env=environment(BEANSTALKD_URL="http://x")), 2)
    assert "environment BEANSTALKD_URL: cannot read the address 'http://x'" in told


@pytest.mark.parametrize("verb", VERBS)
def test_no_server_there(verb: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run(verb, "--server", address, "--json")
    assert complaint(done, 3) == (
        f"beanrow: cannot connect to {address}: Connection refused; "
        "start a server with 'beanrow serve' or name one with --server\n"
    )
    assert done.stdout == b""


def test_a_server_that_ends_meanwhile(start_ours: Callable[..., OurServer], tube: str) -> None:
    server = start_ours()
    process = subprocess.Popen(
        [*COMMAND, "reserve", "--server", server.address, "--tube", tube],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with Client(server.address) as client:
        end = time.monotonic() + 10
        while client.stats().current_waiting == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    server.stop()
    out, err = process.communicate(timeout=20)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    told = complaint(done, 3)
    assert f"cannot connect to {server.address}" in told, "it was waited for, until the timeout"


def test_a_server_that_is_none() -> None:
    with Scripted({"list-tubes": [b"220 mail.example ESMTP\r\n"]}) as server:
        assert "220 mail.example" in complaint(run("tubes", "--server", server.address), 4)


def test_a_server_that_drains(
    start_ours: Callable[..., OurServer], fresh_daemon: Daemon, tube: str
) -> None:
    for server in (start_ours(), fresh_daemon):
        with Client(server.address) as client:
            client.stats()  # it serves, so it takes signals
            os.kill(server.pid, signal.SIGUSR1)
            end = time.monotonic() + 10
            while not client.stats().draining:
                assert time.monotonic() < end
                time.sleep(0.01)
        assert "DRAINING" in complaint(run("put", "--server", server.address, "x"), 4)


@pytest.mark.parametrize("arguments", [("--help",), ("stats",), ("tubes", "--json")])
def test_a_closed_pipe_is_told_once(server: Server, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = run("--server", server.address, *arguments, stdout=closed)
    assert complaint(done, 5) == "beanrow: cannot write the output: Broken pipe\n"


@pytest.mark.parametrize(
    ("missing", "arguments"), [("click", ("tubes",)), ("click", ("--help",)), ("rich", ("stats",))]
)
def test_without_the_extra(server: Server, missing: str, arguments: tuple[str, ...]) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "from beanrow.cli.__main__ import main; sys.exit(main())"
    )
    env = environment(BEANSTALKD_URL=server.address)
    told = complaint(run(*arguments, env=env, command=[sys.executable, "-c", program]), 2)
    assert missing in told
    assert "pip install 'beanrow[cli]'" in told
    assert "python -m beanrow.server" in told


def test_serve_takes_the_daemons_flags_and_stops_when_told() -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "-l", "127.0.0.1", "-p", "0", "-z", "100", "-VV", "--announce"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(BEANSTALKD_URL="nobody:1"),
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        with Client(address) as client:
            assert client.stats().max_job_size == 100
            assert client.stats().pid == process.pid
        process.terminate()
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert err.decode() == f"beanrow: listening on {address}\n"


def test_serve_refuses_in_one_line() -> None:
    assert "beanrow serve: /proc/none: " in complaint(run("serve", "-b", "/proc/none"), 1)
    assert "beanrow serve: " in complaint(run("serve", "--nope"), 2)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_serve_help_is_the_servers(flag: str) -> None:
    assert b"usage: beanrow serve" in good("serve", flag)
