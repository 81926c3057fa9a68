"""A child process: on its core, and ended by its id whatever happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.machine import BenchError

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "bench" / "build"
"""What is made here and may go at any time."""
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


def python(module: str, *words: object) -> list[str]:
    """The command that runs a module of this repository in a fresh Python."""
    return [sys.executable, "-m", module, *map(str, words)]


def result_of(command: Sequence[str], core: int, patience: float) -> dict[str, str]:
    """Run a program to its end on that core; its one line of `name=value` words.

    BenchError with its own words if it fails, or lasts longer than ``patience`` seconds.
    """
    (result,) = results_of([command], core, patience)
    return result


def results_of(
    commands: Sequence[Sequence[str]], core: int, patience: float
) -> list[dict[str, str]]:
    """Run programs at the same time, as `result_of` does one; their results in order."""
    with contextlib.ExitStack() as started:
        processes = [started.enter_context(_started(command, core)) for command in commands]
        return [_result(process, patience) for process in processes]


@contextlib.contextmanager
def _started(command: Sequence[str], core: int) -> Iterator[subprocess.Popen[str]]:
    """A program that runs on that core, until the end of the block at the latest."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            pin(process, core)
            yield process
        finally:
            end(process)


def _result(process: subprocess.Popen[str], patience: float) -> dict[str, str]:
    command = subprocess.list2cmdline(process.args)  # type: ignore[arg-type]  # a list of words
    try:
        output, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise BenchError(f"no end after {patience:g} s: {command}") from None
    if process.returncode:
        said = errors.strip() or f"status {process.returncode}"
        raise BenchError(f"{command}:\n{said}")
    return dict(word.split("=", 1) for word in output.split())
