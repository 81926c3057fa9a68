"""The real beanstalkd for tests.

Laws: a daemon is private to the test process, listens on loopback only, and is stopped by the id
of the process that was started here. A test that needs it and finds none is skipped with the
reason; where CI=true it fails, since a green run that compared nothing would be a lie.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest

DAEMON_FIXTURES = {"daemon", "fresh_daemon", "start_daemon"}
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


def pytest_report_header() -> str:
    return f"beanstalkd: {find_daemon() or 'not installed'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a daemon, so that `-m daemon` and the check below find it."""
    for item in items:
        if DAEMON_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.daemon)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("daemon") is None or find_daemon() is not None:
        return
    reason = "needs the real beanstalkd, which is not installed: make install-daemon, as root"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """One daemon for the whole test process: use it with a tube of your own (`tube`)."""
    with Daemon() as running:
        yield running


@pytest.fixture
def fresh_daemon() -> Iterator[Daemon]:
    """A daemon that has seen nothing yet and serves this test alone (about 10 ms)."""
    with Daemon() as running:
        yield running


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """Start daemons with flags: `start_daemon("-z", "100")`. The test's end stops them all."""
    with contextlib.ExitStack() as running:
        yield lambda *args: running.enter_context(Daemon(*args))


_tube_numbers = itertools.count(1)


@pytest.fixture
def tube() -> str:
    """The name of a tube that no other test of this run uses."""
    return f"tube-{os.getpid()}-{next(_tube_numbers)}"
