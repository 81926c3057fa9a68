"""Private servers for tests: the real beanstalkd, and ours as a process.

Law: a server is private to the test process, listens on loopback only, and is stopped by the id
of the process that was started here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Self

from tests.engines import Engine

START_SECONDS = 10.0
START_TRIES = 5
HOST = "127.0.0.1"


def find_daemon() -> str | None:
    """The path of beanstalkd, also where an ordinary user's PATH does not lead."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which("beanstalkd", path=f"{path}:/usr/bin:/usr/sbin:/usr/local/sbin")


class DaemonStartError(Exception):
    """The daemon ended, or did not answer, before it served a first command."""


class Daemon:
    """A real beanstalkd on a free loopback port, until `stop` or the end of the `with` block.

    Extra arguments are the daemon's own flags: `Daemon("-z", "100")`.
    """

    def __init__(self, *args: str) -> None:
        program = find_daemon()
        if program is None:
            raise DaemonStartError("beanstalkd is not installed: make install-daemon")
        self.host = HOST
        # A file, not a pipe: a full pipe would stop a talkative daemon.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        for tries_left in reversed(range(START_TRIES)):
            self.port = free_port()
            command = [program, "-l", self.host, "-p", str(self.port), *args]
            self._process = subprocess.Popen(command, stdout=self._output, stderr=self._output)
            try:
                self._wait_until_it_answers()
                break
            except DaemonStartError:
                self._end_process()
                if not tries_left:
                    self._output.close()
                    raise

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End the process; a second call does nothing."""
        self._end_process()
        self._output.close()

    def _end_process(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _wait_until_it_answers(self) -> None:
        """Return when our own process answers.

        Between `free_port` and the daemon's bind somebody else may take the port: then the daemon
        ends, and whoever answers there shows another process id.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                self._output.seek(0)
                words = self._output.read().decode(errors="replace").strip()
                raise DaemonStartError(f"beanstalkd ended with {self._process.returncode}: {words}")
            if served_by(self.host, self.port) == self.pid:
                return
            time.sleep(0.005)  # a daemon has no way to say that it is ready
        raise DaemonStartError(f"beanstalkd did not answer within {START_SECONDS:g} s")


def free_port() -> int:
    """A loopback port that is free now; whoever binds it must expect to lose it still."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def served_by(host: str, port: int) -> int | None:
    """The process id that a server tells in its statistics, or None where none answers."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, port), timeout=1) as connection,
    ):
        connection.sendall(b"stats\r\nquit\r\n")
        with connection.makefile("rb") as replies:
            for line in replies:
                if line.startswith(b"pid: "):
                    return int(line.removeprefix(b"pid: "))
    return None


class OurServer:
    """Our server on a free loopback port, until `stop` or the end of the `with` block.

    Extra arguments are its flags, as for `Daemon`; `environment` replaces the process's own, and
    `module` is what is run, a server with something planted in it.
    """

    def __init__(
        self,
        *args: str,
        environment: dict[str, str] | None = None,
        module: str = "beanrow.server",
    ) -> None:
        self.host = HOST
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                "-p",
                "0",
                "--announce",
                "--with-parent",
                *args,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address, f"our server did not start: {self.told()}"
        self.port = 0 if self.address.startswith("unix:") else int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.process.pid

    def told(self) -> str:
        """What it wrote to stderr so far."""
        file = self.errors.fileno()  # its place in the file is the server's own: no seek
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def stop(self) -> None:
        """End the process; a second call does nothing."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class GatewayServer(OurServer):
    """A gateway of ours over an engine: its own, unless it is given the address of a store."""

    def __init__(
        self, *args: str, store: str | None = None, module: str = "beanrow.cluster"
    ) -> None:
        self.engine = Engine() if store is None else None
        address = store or self.engine.url  # type: ignore[union-attr]  # one of them is there
        try:
            super().__init__("--store", address, *args, module=module)
        except BaseException:
            self._end_engine()
            raise

    def _end_engine(self) -> None:
        if self.engine is not None:
            self.engine.stop()

    def stop(self) -> None:
        """End it, and then its own engine."""
        super().stop()
        self._end_engine()


Server = Daemon | OurServer
