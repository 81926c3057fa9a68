"""What systemd would do to it: sockets handed over, states told, a watchdog. No systemd needed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import HOST

# LISTEN_PID is known only in the child: it sets it, as systemd does, and becomes the server.
START = """
import os, sys
for place, fd in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(fd, 3 + place)
os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.pop("WRONG", "0")))
os.execv(sys.executable, [sys.executable, "-m", "beanrow.server", *sys.argv[2:]])
"""


@contextmanager
def service(
    sockets: list[socket.socket], *flags: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that was handed these sockets."""
    # Copies far from the numbers that they will get.
    fds = [os.dup2(one.fileno(), 100 + place) for place, one in enumerate(sockets)]
    process = subprocess.Popen(
        [sys.executable, "-c", START, ",".join(map(str, fds)), *flags],
        env={**os.environ, "LISTEN_FDS": str(len(sockets)), **environment},
        pass_fds=fds,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for fd in fds:
        os.close(fd)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        opened.listen()
        yield opened


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The end at which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "notify"))
        opened.settimeout(10)
        yield opened


def ask(where: tuple[str, int] | str, question: bytes) -> bytes:
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(family) as talk:
        talk.settimeout(10)
        talk.connect(where)
        talk.sendall(question)
        return talk.recv(1000)


def test_it_serves_on_sockets_that_were_handed_over(
    listener: socket.socket, tmp_path: Path
) -> None:
    path = str(tmp_path / "queue")
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as http:
        unix.bind(path)
        unix.listen()
        http.bind((HOST, 0))
        http.listen()
        names = "beanrow.socket:http:beanrow.socket"
        with service([listener, http, unix], "-p", "1", LISTEN_FDNAMES=names) as process:
            assert ask(listener.getsockname(), b"list-tube-used\r\n") == b"USING default\r\n"
            assert ask(path, b"list-tube-used\r\n") == b"USING default\r\n"
            assert ask(http.getsockname(), b"GET /live HTTP/1.1\r\n\r\n").startswith(
                b"HTTP/1.1 200"
            )
            process.terminate()
            assert process.wait(10) == 0
        assert os.path.exists(path)  # it is systemd's


def test_a_connection_waits_for_the_start(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname(), timeout=10) as talk:
        talk.sendall(b"list-tube-used\r\n")
        with service([listener]):
            assert talk.recv(100) == b"USING default\r\n"


def test_what_is_meant_for_another_process_is_left(listener: socket.socket) -> None:
    with service([listener], "-p", "0", "--announce", WRONG="1") as process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().decode().strip().rpartition(":")
        assert int(port) != listener.getsockname()[1]
        assert ask((host, int(port)), b"list-tube-used\r\n") == b"USING default\r\n"


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong, service([wrong]) as process:
        _, told = process.communicate(timeout=10)
        assert process.returncode == 1
        assert b"ListenStream=" in told
        assert told.count(b"\n") == 1


def test_it_tells_its_states_and_that_it_lives(
    listener: socket.socket, manager: socket.socket
) -> None:
    path = str(manager.getsockname())
    with service([listener], NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as process:
        assert manager.recv(100) == b"READY=1"
        assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
        process.send_signal(signal.SIGTERM)
        while (told := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"
        assert process.wait(10) == 0


def test_a_manager_that_is_gone_is_no_reason_to_stop(listener: socket.socket) -> None:
    with service([listener], NOTIFY_SOCKET="/no/such/socket", WATCHDOG_USEC="100000"):
        assert ask(listener.getsockname(), b"list-tube-used\r\n") == b"USING default\r\n"


DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def unit_lines(name: str) -> list[str]:
    return (DEPLOY / name).read_text().splitlines()


def flags_in_dockerfile() -> list[str]:
    import json

    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    return [
        word
        for line in lines
        if line.startswith(("ENTRYPOINT", "CMD"))
        for word in json.loads(line.split(" ", 1)[1])
    ]


@pytest.mark.parametrize("where", ["unit", "Dockerfile"])
def test_the_flags_of_the_deployment_are_those_of_the_program(where: str) -> None:
    from beanrow.server.__main__ import _parser

    if where == "unit":
        (start,) = (line for line in unit_lines("beanrow.service") if line.startswith("ExecStart="))
        words = start.removeprefix("ExecStart=").split()
    else:
        words = flags_in_dockerfile()
    flags = words[words.index("beanrow.server") + 1 :]
    options = _parser("test").parse_args(flags)
    assert options.data, "the default keeps its data"


def test_the_container_does_not_run_as_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER nobody" in lines
    assert 'VOLUME ["/data"]' in lines
