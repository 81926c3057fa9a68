"""An environment in which the wheel is installed, and nothing of this checkout can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = ["3.11", "3.12", "3.13"]
SECONDS = 120


class Installed:
    """A virtual environment and what is run in it, with its own directory as the current one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, path: Path, python: str) -> Installed:
        """Make the environment, with nothing in it, not even pip."""
        subprocess.run([python, "-m", "venv", "--without-pip", path], timeout=SECONDS, check=True)
        return cls(path)

    def pip(self, *words: str, **environment: str) -> None:
        """Have the pip of this process act on it."""
        here = ["--disable-pip-version-check", "-q", "--python", *self.command("python")]
        subprocess.run(
            [sys.executable, "-m", "pip", *here, *words],
            env=self.environment(**environment),
            timeout=SECONDS,
            check=True,
        )

    def run(self, program: str, *words: str, **environment: str) -> str:
        """Run a program of it, which succeeds; what it prints."""
        done = subprocess.run(
            self.command(program, *words),
            cwd=self.path,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (
            f"{program} {words} ended with {done.returncode}: {done.stderr}"
        )
        return done.stdout

    def command(self, program: str, *words: str) -> list[str]:
        return [str(self.path / "bin" / program), *words]

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of this process, without what leads Python to the checkout."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "BEANSTALKD_URL", "VIRTUAL_ENV"))
        }
        return {**kept, **changes}


@contextmanager
def serving(home: Installed, *command: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of it, until the end of the block; the address that it announces."""
    process = subprocess.Popen(
        home.command(*command, "-p", "0", "--announce", "--with-parent"),
        cwd=home.path,
        env=home.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(SECONDS)
