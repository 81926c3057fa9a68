"""The processes of the demo: the web site, and the workers.

Laws: each is a child in a process group of its own, so that a Ctrl-C reaches the demo alone; each
is ended by its own process id; what they say is read all the time, so that none waits on a pipe.
"""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.demo.accounting import Report

__all__ = ["Crew", "StartError", "WebSite", "Worker"]

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 20
STOP_SECONDS = 5


class StartError(Exception):
    """A process of the demo did not start."""


class WebSite:
    """The web site of ``web_site.py`` as a child, from construction to ``close``."""

    def __init__(self, pages: int, seed: int) -> None:
        command = [sys.executable, "-m", "examples.demo.web_site"]
        command += ["--pages", str(pages), "--seed", str(seed)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, process_group=0
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        port = self._process.stdout.readline().decode().strip() if ready else ""
        if not port:
            self.close()
            raise StartError(f"the web site did not start: {' '.join(command)}")
        self.urls = [f"http://127.0.0.1:{port}/pages/{number}" for number in range(1, pages + 1)]

    def close(self) -> None:
        """End the site; it goes when its standard input ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        _wait_or_kill(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Worker:
    """The README's worker as a child; its lines go to ``lines`` as (number, line)."""

    def __init__(
        self, number: int, address: str, lines: queue.SimpleQueue[tuple[int, str]]
    ) -> None:
        self.number = number
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._last_words = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.fetch_worker", "--server", address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=_without_proxies(),
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def _read(self, lines: queue.SimpleQueue[tuple[int, str]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # else its writer was killed in the middle of it
                lines.put((self.number, line.decode(errors="replace")))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there may be more lines of it."""
        return self._reader.is_alive() or self._process.poll() is None

    @property
    def fate(self) -> str:
        """How it ended, for people; empty while it runs and when it left in order."""
        code = self._process.poll()
        if not code:
            return ""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit {code}: {self._complaint()}"

    def _complaint(self) -> str:
        """Give the last line of its standard error."""
        if not self._errors.closed:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").split("\n")
            self._last_words = next((line for line in reversed(lines) if line.strip()), "")
        return self._last_words or "it said nothing"

    def terminate(self) -> None:
        """Ask it to end; the server then gives its job to another."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End it and wait for it."""
        self.terminate()
        _wait_or_kill(self._process)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._complaint()
        self._errors.close()


class Crew:
    """Some workers, and what they report."""

    def __init__(self, count: int, address: str) -> None:
        self._lines: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self.workers: list[Worker] = []
        try:
            for number in range(1, count + 1):
                self.workers.append(Worker(number, address, self._lines))
        except BaseException:
            self.close()
            raise

    def next_report(self, wait: float) -> Report | None:
        """Give the next report, or None if none came within ``wait`` seconds."""
        try:
            number, line = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
        except queue.Empty:
            return None
        return Report.read(number, line)

    @property
    def is_running(self) -> bool:
        """Whether any of them runs."""
        return any(worker.is_running for worker in self.workers)

    @property
    def died(self) -> set[int]:
        """The numbers of those that did not leave in order."""
        return {worker.number for worker in self.workers if worker.fate}

    def close(self) -> None:
        """End those that still run."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _without_proxies() -> dict[str, str]:
    """Give the environment without proxies: the pages are on loopback."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
