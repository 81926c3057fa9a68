"""docs/tutorial.md as a newcomer walks it: the installed wheel, a directory of one's own, a shell.

tests/examples/test_pages.py runs the page's Python in the checkout; this runs its programs too.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.packaging.installed import ROOT, SECONDS, Installed, serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
PUT, WORK, SHOP, PUT_TASKS, TEST = re.findall(
    r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)


class Newcomer:
    """Does what the page says, in one environment, against the server of the page."""

    def __init__(self, home: Installed, address: str) -> None:
        self.home = home
        self.address = address

    def write(self, name: str, text: str) -> None:
        (self.home.path / name).write_text(text.replace("localhost:11300", self.address))

    def python(self, text: str) -> str:
        return self.home.run("python", "-c", text.replace("localhost:11300", self.address))

    def shell(self, command: str) -> str:
        """Run a line of the page."""
        assert f"\n{command}\n" in PAGE, f"the tutorial does not say {command!r}"
        program, *words = command.split()
        return self.home.run(program, *words, BEANSTALKD_URL=self.address)


def counts(home: Installed, address: str, tube: str) -> str:
    """The line of a tube in the table of `beanrow tubes`; empty if there is no such tube."""
    told = home.run("beanrow", "tubes", BEANSTALKD_URL=address)
    return next((line for line in told.splitlines() if line.startswith(f"{tube} ")), "")


def test_the_tutorial_from_top_to_bottom(wheel: Path, tmp_path: Path) -> None:
    home = Installed.make(tmp_path, sys.executable)
    home.pip("install", f"{wheel}[cli]", "pytest")
    with serving(home, "beanrow", "serve") as (address, _):
        newcomer = Newcomer(home, address)
        assert newcomer.python(PUT) == "1\n"
        assert re.search(r"^greetings +1 ", newcomer.shell("beanrow tubes"), re.MULTILINE)
        assert newcomer.shell("beanrow peek --tube greetings") == "hello"
        assert newcomer.python(WORK) == "1 hello\n"

        newcomer.write("shop.py", SHOP)
        newcomer.python(PUT_TASKS)
        told = worked(newcomer, "beanrow work shop:app --threads 10")
        assert "welcome, user 42, in de" in told
        assert told.count("welcome") == 101  # and one is delayed

        newcomer.write("test_shop.py", TEST)
        assert "1 passed" in home.run("python", "-m", "pytest", "test_shop.py")

        home.run("beanrow", "put", "--tube", "old", "x", BEANSTALKD_URL=address)
        with serving(home, "beanrow", "serve", "--data", "kept") as (kept, process):
            migrate = "beanrow migrate '*' --server old:11300 --to-server localhost:11300"
            assert f"\n{migrate}\n" in PAGE
            home.run("beanrow", "migrate", "*", "--yes", "--server", address, "--to-server", kept)
            process.kill()
        assert counts(home, address, "old") == ""
        with serving(home, "beanrow", "serve", "--data", "kept") as (kept, _):
            assert counts(home, kept, "old").split()[:2] == ["old", "1"]


def worked(newcomer: Newcomer, command: str) -> str:
    """Run the worker until nothing is ready or reserved, then end it with Ctrl-C; its output."""
    assert f"\n{command}\n" in PAGE
    program, *words = command.split()
    with subprocess.Popen(
        newcomer.home.command(program, *words),
        cwd=newcomer.home.path,
        env=newcomer.home.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        end = time.monotonic() + SECONDS
        while counts(newcomer.home, newcomer.address, "emails").split()[1:4] != ["0", "0", "1"]:
            assert time.monotonic() < end, "the jobs of the tutorial are not done"
            time.sleep(0.2)
        worker.send_signal(signal.SIGINT)
        told, _ = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0
    return told
