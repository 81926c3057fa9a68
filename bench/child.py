"""A child process: on its core, and ended by its id whatever happens."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.machine import BenchError

ROOT = Path(__file__).parents[1]
END_SECONDS = 5.0


def pin(process: subprocess.Popen[str], core: int) -> None:
    """Keep a child on one core, if it still runs."""
    try:
        os.sched_setaffinity(process.pid, {core})
    except ProcessLookupError:
        pass  # it has ended; whoever waits for it will say why


def end(process: subprocess.Popen[str]) -> None:
    """End a child, firmly if it does not listen."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def result_of(command: Sequence[str], core: int, patience: float) -> dict[str, str]:
    """Run a program to its end on that core; its one line of `name=value` words.

    BenchError with its own words if it fails, or lasts longer than ``patience`` seconds.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            pin(process, core)
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise BenchError(f"no end after {patience:g} s: {' '.join(command)}") from None
        finally:
            end(process)
    if process.returncode:
        said = errors.strip() or f"status {process.returncode}"
        raise BenchError(f"{' '.join(command)}:\n{said}")
    return dict(word.split("=", 1) for word in output.split())
