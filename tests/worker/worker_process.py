"""Workers as people start them: processes, with a ledger outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.worker.conftest import until

ROOT = Path(__file__).parent.parent.parent


class Ledger:
    """What the runs wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, word: str = "") -> list[list[str]]:
        lines = [line.split(" ") for line in self.path.read_text().splitlines()]
        return [line for line in lines if not word or line[0] == word]

    def wait_for(self, word: str, count: int = 1, seconds: float = 30) -> list[list[str]]:
        try:
            until(lambda: len(self.lines(word)) >= count, seconds)
        except AssertionError:
            raise AssertionError(f"not {count} times {word!r}: {self.lines()[-20:]}") from None
        return self.lines(word)


class WorkerProcess:
    """``python -m beanrow.worker`` with the tasks of ``programs``."""

    def __init__(
        self, address: str, tube: str, ledger: Ledger, *flags: str, app: str = "app"
    ) -> None:
        environment = {
            **os.environ,
            "BEANSTALKD_URL": address,
            "TUBE": tube,
            "LEDGER": str(ledger.path),
            "PYTHONWARNINGS": "ignore",
        }
        # A file: a pipe that nobody reads while the worker runs is full after some hundred
        # lines, and then the worker waits for its reader.
        self._log = tempfile.TemporaryFile(dir=ledger.path.parent)  # noqa: SIM115  (closed by wait)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "beanrow.worker", f"tests.worker.programs:{app}", *flags],
            cwd=ROOT,
            env=environment,
            stderr=self._log,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(one) for one in path.read_text().split()]

    def stop(self, seconds: float = 20) -> str:
        """SIGTERM, and wait; gives what it logged."""
        self._process.terminate()
        return self.wait(seconds)

    def stop_now(self) -> None:
        """SIGTERM until it has ended; two that are sent at once are one."""

        def has_ended() -> bool:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
            return self._process.poll() is not None

        until(has_ended)
        self.wait()

    def wait(self, seconds: float = 20) -> str:
        self._process.wait(seconds)
        if self._log.closed:
            return ""
        with self._log as log:
            log.seek(0)
            return log.read().decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, of the parent alone."""
        self._process.kill()
        self.wait()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()


@contextlib.contextmanager
def worker_process(
    address: str, tube: str, ledger: Ledger, *flags: str, app: str = "app"
) -> Iterator[WorkerProcess]:
    process = WorkerProcess(address, tube, ledger, *flags, app=app)
    try:
        yield process
    finally:
        process.end()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def elapsed(since: float) -> float:
    return time.monotonic() - since
