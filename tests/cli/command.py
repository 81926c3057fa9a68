"""The real command `beanrow`, run as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import IO, Any

COMMAND = [sys.executable, "-m", "beanrow.cli"]
SECONDS = 30


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, without a server that the user may have named there."""
    kept = {name: value for name, value in os.environ.items() if name != "BEANSTALKD_URL"}
    return {**kept, "TERM": "xterm", **changes}


def run(
    *arguments: str | bytes,
    stdin: bytes = b"",
    stdout: int | IO[bytes] = subprocess.PIPE,
    env: dict[str, str] | None = None,
    command: list[str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `beanrow` to its end."""
    return subprocess.run(
        [*(command or COMMAND), *arguments],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=env or environment(),
        timeout=SECONDS,
        check=False,
    )


def good(*arguments: str | bytes, stdin: bytes = b"") -> bytes:
    """Run `beanrow`, which succeeds and says nothing on stderr; its output."""
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return bytes(done.stdout)


def document(*arguments: str | bytes, stdin: bytes = b"") -> Any:
    """Run `beanrow ... --json`; the one document of its output."""
    return json.loads(good(*arguments, "--json", stdin=stdin))


def read_terminal(ours: int, theirs: int) -> bytes:
    """All that was written to a terminal whose programs have ended; closes both its ends."""
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while data := terminal.read(4096):  # OSError is how Linux tells the end
            shown += data
    return shown


def complaint(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """The one line of an error, which ended with this exit code."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert text.startswith("beanrow"), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n"), text
    return text
