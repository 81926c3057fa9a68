"""A server that takes part: how it is started, and that it ends.

Laws: loopback only; one fresh process per measurement; ended by the id of the process started
here, whatever happens; and it is our process that answers, not one that took its port.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, NamedTuple

from bench.child import end, pin
from bench.machine import BenchError, find_program

HOST = "127.0.0.1"
START_SECONDS = 10.0
START_TRIES = 5


class Contender(NamedTuple):
    """A server by name; the port is added to its command."""

    name: str
    command: tuple[str, ...]


class Running(NamedTuple):
    pid: int
    port: int


def daemon() -> Contender:
    return Contender("beanstalkd", (find_program("beanstalkd"), "-l", HOST, "-p"))


def beanrow() -> Contender:
    return Contender("beanrow", (sys.executable, "-m", "beanrow.server", "-l", HOST, "-p"))


@contextlib.contextmanager
def running(contender: Contender, core: int) -> Iterator[Running]:
    """A fresh server of that kind on that core, until the end of the block."""
    with tempfile.TemporaryFile("w+") as output:
        process, port = _start(contender, core, output)
        try:
            yield Running(process.pid, port)
        finally:
            end(process)


def _start(contender: Contender, core: int, output: IO[str]) -> tuple[subprocess.Popen[str], int]:
    for _ in range(START_TRIES):
        port = _free_port()
        process = subprocess.Popen(
            [*contender.command, str(port)], stdout=output, stderr=output, text=True
        )
        try:
            pin(process, core)
            if _wait_until_it_answers(process, port):
                return process, port
        except BaseException:
            end(process)
            raise
        end(process)  # another process took the port, or this one broke down
    output.seek(0)
    said = output.read().strip()[-2000:] or "it said nothing"
    raise BenchError(f"{contender.name} did not start ({' '.join(contender.command)}):\n{said}")


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(process: subprocess.Popen[str], port: int) -> bool:
    """True when this very process answers; False when it ended or another one answers."""
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        try:
            return _pid_behind(port) == process.pid
        except OSError:
            time.sleep(0.01)
    return False


def _pid_behind(port: int) -> int:
    """The process id in the server's own statistics; 0 if it has none."""
    with socket.create_connection((HOST, port), 1.0) as connection:
        connection.sendall(b"stats\r\nquit\r\n")
        with connection.makefile("rb") as reply:
            for line in reply:
                if line.startswith(b"pid: "):
                    return int(line[5:])
    return 0
