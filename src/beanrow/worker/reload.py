"""``--reload``: a worker that is started anew when the program's files change. For development.

The files are all those of Python below the working directory, hidden and installed ones apart;
they are looked at twice a second. A worker that is being replaced stops as on
SIGTERM.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_reloading"]

_LOOK_EVERY = 0.5
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def run_reloading(arguments: Sequence[str]) -> int:
    """Run a worker with these arguments, and another one after each change."""
    command = [sys.executable, "-m", "beanrow.worker", *arguments]
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while True:
        seen = _changes()
        with subprocess.Popen(command, process_group=0) as worker:
            while not stopped and _changes() == seen:
                time.sleep(_LOOK_EVERY)
            if worker.poll() is None:
                worker.terminate()
            status = worker.wait()
        if stopped:
            return status
        sys.stderr.write("beanrow: a file changed, starting anew\n")


def _changes() -> dict[Path, float]:
    """Give when each file of Python below the working directory was changed."""
    found: dict[Path, float] = {}
    for path in Path.cwd().rglob("*.py"):
        if _SKIPPED.isdisjoint(path.parts) and not any(one.startswith(".") for one in path.parts):
            try:
                found[path] = path.stat().st_mtime
            except OSError:
                continue  # it went between the two looks
    return found
