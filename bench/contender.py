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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from bench.child import BUILD, end, pin
from bench.machine import BenchError, find_program

HOST = "127.0.0.1"
START_SECONDS = 10.0
START_TRIES = 5


class Contender(NamedTuple):
    """A server by name; the port is added to its command.

    One that ``keeps`` its jobs does so in a directory that is added too.
    """

    name: str
    command: tuple[str, ...]
    keeps: bool = False


class Running(NamedTuple):
    pid: int
    port: int


def daemon(*flags: str, keeps: bool = False) -> Contender:
    command = ("beanstalkd", "-l", HOST, *flags, "-p")
    return Contender("beanstalkd", command, keeps)


def beanrow(*flags: str, keeps: bool = False) -> Contender:
    command = (sys.executable, "-m", "beanrow.server", "-l", HOST, *flags, "-p")
    return Contender("beanrow", command, keeps)


@contextlib.contextmanager
def running(contender: Contender, core: int) -> Iterator[Running]:
    """A fresh server of that kind on that core, until the end of the block."""
    with contextlib.ExitStack() as stack:
        words = []
        if contender.keeps:
            words = ["-b", str(stack.enter_context(data_directory()))]
        output = stack.enter_context(tempfile.TemporaryFile("w+"))
        process, port = _start(contender, words, core, output)
        try:
            yield Running(process.pid, port)
        finally:
            end(process)


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """An empty directory on the disk of this repository: /tmp may be memory, where a sync is free."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="data-") as directory:
        yield Path(directory)


def _start(
    contender: Contender, words: Sequence[str], core: int, output: IO[str]
) -> tuple[subprocess.Popen[str], int]:
    for _ in range(START_TRIES):
        port = free_port()
        process = launch(contender, [str(port), *words], output)
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


def launch(contender: Contender, words: Sequence[str], output: IO[str]) -> subprocess.Popen[str]:
    """Start it, with these words behind its command, the first of them its port."""
    program, *flags = contender.command
    return subprocess.Popen(
        [find_program(program), *flags, *words], stdout=output, stderr=output, text=True
    )


def free_port() -> int:
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
