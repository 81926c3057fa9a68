"""`beanrow top` as people see it: in a real terminal, which tmux is, of two sizes and without colour."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanrow import Client
from tests.cli.command import COMMAND, environment
from tests.servers import Daemon, OurServer, Server

PATIENCE = 30.0
TMUX = shutil.which("tmux")


@pytest.fixture(autouse=True)
def _tmux() -> None:
    if TMUX is not None:
        return
    reason = "needs tmux, which is not installed: apt-get install tmux"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
    pytest.skip(reason)


class Terminal:
    """A terminal of a size in which a command runs."""

    def __init__(self, socket: Path, size: tuple[int, int], command: str) -> None:
        self._tmux = [str(TMUX), "-S", str(socket), "-f", os.devnull]
        self._size = size
        width, height = map(str, size)
        # Who looks at its terminal too early may find that it has no size yet, and take 80x24.
        sized = f'until [ "$(stty size)" = "{height} {width}" ]; do sleep 0.01; done'
        shell = f"{sized}; {command}; echo ended $?; cat"
        session = ("new-session", "-d", "-x", width, "-y", height, shell)
        self._run(*session)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words],
            env=environment(LANG="C.UTF-8"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    def screen(self) -> list[str]:
        lines = self._run("capture-pane", "-p").split("\n")[: self._size[1]]
        assert all(len(line) <= self._size[0] for line in lines)
        return lines

    def colours(self) -> set[str]:
        """The escape sequences of colours on the screen; reverse and bold are none."""
        codes = self._run("capture-pane", "-p", "-e").split("\x1b[")[1:]
        return {
            one
            for code in codes
            for one in code.partition("m")[0].split(";")
            if one.isdecimal() and 30 <= int(one) <= 48 and one != "39"
        }

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def until(self, true: Callable[[list[str]], object]) -> list[str]:
        end = time.monotonic() + PATIENCE
        while not true(screen := self.screen()):
            assert time.monotonic() < end, "\n".join(screen)
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(server: Server, size: tuple[int, int], **variables: str) -> Terminal:
        settings = [f"{name}={value}" for name, value in variables.items()]
        words = [
            "env",
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
            f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
            *settings,
            *COMMAND,
        ]
        words += ["top", "--server", server.address, "--interval", "0.2"]
        opened.append(Terminal(tmp_path / f"tmux{len(opened)}", size, shlex.join(words)))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_80_by_24_without_colour(fresh_daemon: Daemon, open_terminal: Open) -> None:
    with Client(fresh_daemon.address) as client:
        client.put_many(["x"] * 7, tube="mail")
        client.use("default")
        terminal = open_terminal(fresh_daemon, (80, 24), NO_COLOR="1", TERM="vt100")
        screen = terminal.until(lambda lines: lines[4].startswith("> mail "))
        assert fresh_daemon.address in screen[0]
        assert "ready 7" in screen[1]
        assert screen[3].startswith("v tube ")
        assert screen[3].rstrip().endswith(" idle")
        assert screen[23].startswith(" q:quit /:filter ")
        assert screen[23].rstrip().endswith("Space:hold")  # nothing is cut off
        assert terminal.colours() == set()
        terminal.keys("p")
        terminal.until(lambda lines: any("pause mail for seconds" in one for one in lines))
        terminal.keys("Enter")
        terminal.until(lambda lines: lines[4].startswith(">Pmail "))
        assert client.stats_tube("mail").pause == 600
        terminal.keys("q")
        terminal.until(lambda lines: any("ended 0" in one for one in lines))


def test_200_by_60(our_server: OurServer, open_terminal: Open) -> None:
    with Client(our_server.address) as client:
        for number in range(80):
            client.put("x", tube=f"tube-{number:02}")
        client.put_many(["body"] * 3, tube="mail")
        client.use("default")
        client.watch("mail")
        client.reserve()
        terminal = open_terminal(our_server, (200, 60), TERM="tmux-256color")
        terminal.until(lambda lines: lines[4].startswith("> mail "))
        titles = ("run", "oldest", "using", "total")  # some of them once there was a second look
        screen = terminal.until(lambda lines: all(f" {one} " in f"{lines[3]} " for one in titles))
        assert screen[57].startswith("  tube-")  # the list fills the screen
        assert screen[59].startswith(" q:quit")
        terminal.keys("w")
        terminal.until(lambda lines: " works " in lines[4] and " mail " in lines[4])
        terminal.keys("t")
        terminal.until(lambda lines: lines[4].startswith("> mail "))
        terminal.keys("Enter")
        terminal.until(lambda lines: lines[0].startswith("mail: job ") and "body" in lines[3])
        terminal.keys("Escape")
        terminal.until(lambda lines: lines[4].startswith("> mail "))
        terminal.keys("q")
        terminal.until(lambda lines: any("ended 0" in one for one in lines))


def test_without_a_terminal_it_says_so(our_server: OurServer) -> None:
    done = subprocess.run(
        [*COMMAND, "top", "--server", our_server.address],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert "--once" in done.stderr
