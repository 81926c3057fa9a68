"""`python -m beanrow.testing` as a child of the test, spoken to over its control port."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any, Self


class TestServer:
    """A test server in a process of its own; ``queue`` and ``control`` are its addresses."""

    __test__ = False

    def __init__(self, *flags: str, module: str = "beanrow.testing") -> None:
        command = [sys.executable, "-m", module, *flags]
        self.process = subprocess.Popen(
            [*command, "-p", "0", "--control", "0", "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        _, self.queue, _, self.control = self.process.stdout.readline().decode().split()

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Ask the control port; status and answer."""
        request = urllib.request.Request(f"http://{self.control}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def post(self, path: str) -> Any:
        """Have something done; the state after it."""
        status, told = self.ask("POST", path)
        assert status == 200, told
        return told

    def get(self, path: str) -> Any:
        status, told = self.ask("GET", path)
        assert status == 200, told
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
