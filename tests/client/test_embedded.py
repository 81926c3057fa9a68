"""A server of one's own: a child process that ends with whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from beanrow import (
    BadTypeError,
    BadValueError,
    Client,
    ConnectFailedError,
    ConnectionLostError,
    EmbeddedServer,
    JobTooBigError,
)


def ended(pid: int) -> bool:
    """Whether there is no such process, or only its memory in its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_in_one_line() -> None:
    with EmbeddedServer() as server, Client(server.address) as client:
        assert client.stats().pid == server.pid
        job_id = client.put("hello")
        assert client.reserve().id == job_id
    assert ended(server.pid)


def test_closing_twice_is_fine() -> None:
    server = EmbeddedServer()
    server.close()
    server.close()
    assert ended(server.pid)


def test_as_an_address() -> None:
    client = Client("embedded:")
    with client:
        pid = client.stats().pid
        client.put("hello")
        assert client.reserve().text == "hello"
    assert ended(pid)


def test_two_clients_have_two_servers() -> None:
    with Client("embedded:") as one, Client("embedded:") as other:
        assert one.stats().pid != other.stats().pid


def test_the_limit_of_bodies() -> None:
    with EmbeddedServer(max_job_size=10) as server, Client(server.address) as client:
        client.put("x" * 10)
        with pytest.raises(JobTooBigError, match=r"11 bytes .* at most 10"):
            client.put("x" * 11)


def test_a_bad_limit_starts_nothing() -> None:
    with pytest.raises(BadValueError, match="max_job_size -1"):
        EmbeddedServer(max_job_size=-1)
    with pytest.raises(BadTypeError, match="max_job_size"):
        EmbeddedServer(max_job_size="10")  # type: ignore[arg-type]


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ConnectFailedError, match=r"did not start .*-z 4294967295.*at most") as told:
        EmbeddedServer(max_job_size=2**32 - 1)
    assert told.value.outcome == "never-sent"


def test_a_server_without_its_module_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The child is a Python of its own; it may not find what its parent found."""
    broken = tmp_path / "beanrow" / "server"
    broken.mkdir(parents=True)
    (broken.parent / "__init__.py").write_text("")
    (broken / "__init__.py").write_text("raise ImportError('the disk is gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConnectFailedError, match="the disk is gone"):
        Client("embedded:").connect()


def test_it_is_not_hit_by_ctrl_c_of_the_terminal() -> None:
    """Ctrl-C goes to the whole group of processes in the foreground."""
    with EmbeddedServer() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_it_ends_when_its_parent_is_killed() -> None:
    program = (
        "import time, beanrow\n"
        "server = beanrow.EmbeddedServer()\n"
        "print(server.pid, server.address, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().decode().split()
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            parent.send_signal(signal.SIGKILL)
            assert connection.recv(1) == b"", "the server closes its connections as it ends"
        while not ended(int(pid)):
            pass


def test_a_killed_server_is_a_lost_connection() -> None:
    with EmbeddedServer() as server, Client(server.address, timeout=5) as client:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            client.reserve()
