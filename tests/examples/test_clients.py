"""The examples of producer, consumer and pool, as programs against real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from beanrow import Client
from examples.demo.processes import ROOT
from tests.servers import Daemon, OurServer, Server


def program(name: str, *args: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *args],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_lines_are_put_and_taken_by_threads(server: Server, tube: str) -> None:
    where = ("--server", server.address, "--tube", tube)
    done = program("producer", *where, text="".join(f"{number}\n" for number in range(3000)))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("\n3,000 of 3,000 put\n")
    with Client(server.address) as client:
        bad = client.put(b"\xff", tube=tube)
        done = program("consumer", *where, "--threads", "4")
        assert done.returncode == 0
        lines = [line.split() for line in done.stdout.splitlines()]
        assert sorted(int(body) for _, _, body, _ in lines) == list(range(3000))
        assert all(len(body) == int(count) for _, _, body, count in lines)
        assert f"job {bad}: buried" in done.stderr
        assert client.drain_tube(tube) == 1


def test_what_was_not_put_is_told(start_daemon: Callable[..., Daemon]) -> None:
    small = start_daemon("-z", "5")
    done = program("producer", "--server", small.address, text="a\ntoo long\nb\n")
    assert done.returncode == 1
    assert "too long: not stored: put" in done.stderr
    assert "2 of 3 put" in done.stderr


def test_a_consumer_without_a_server_says_so(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours()
    server.stop()
    done = program("consumer", "--server", server.address)
    assert done.returncode == 1
    assert "is a server running there?" in done.stderr


def test_a_pool_takes_what_it_put(
    start_ours: Callable[..., OurServer], start_daemon: Callable[..., Daemon]
) -> None:
    servers: list[Server] = [start_ours(), start_daemon(), start_ours()]
    where = [word for server in servers for word in ("--server", server.address)]
    done = program("pool", *where)
    assert done.stderr == ""
    assert done.stdout.endswith("200 orders taken\n")
    counts = [int(line.split()[0]) for line in done.stdout.splitlines()[:-1]]
    assert sum(counts) == 200
    assert len(counts) == 3
    servers[0].stop()
    done = program("pool", *where)
    assert f"{servers[0].address} is away" in done.stderr
    assert done.stdout.endswith("200 orders taken\n")
