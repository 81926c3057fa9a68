"""docs/cli.md: its examples do what it says, on both servers, and no verb is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from beanrow.cli.program import command_line
from tests.cli.inside import inside, well
from tests.servers import Daemon, OurServer, Server

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[str, str]]:
    """Each command of the page, with what it shows."""
    for block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def looks_like(shown: str, output: str) -> bool:
    """Tell whether the output is what the page shows; three dots there stand for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, output, re.DOTALL) is not None


class Shell:
    """As much of a shell as the page needs: one command, its output perhaps into a file."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._code = 0

    def run(self, command: str) -> str:
        for name, value in self._variables.items():
            command = command.replace(f"${name}", value)
        if command == "echo $?":
            return f"{self._code}\n"
        command, _, file = command.partition(" > ")
        program, *words = shlex.split(command)
        assert program == "beanrow", command
        done = inside(*words, url=self._variables["BEANSTALKD_URL"])
        self._code = done.code
        if file:
            Path(file).write_bytes(done.out)
            return done.err
        shown = done.out.decode() + done.err
        return shown if not shown or shown.endswith("\n") else f"{shown}\n"


def start(kind: str, running: ExitStack) -> Server:
    if kind == "beanrow":
        return running.enter_context(OurServer())
    return running.enter_context(Daemon())


@pytest.mark.parametrize("kind", ["beanrow", "beanstalkd"])
def test_the_page_shows_what_happens(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as running:
        server, other = (start(kind, running) for _ in range(2))
        shell = Shell({"BEANSTALKD_URL": server.address, "OTHER": other.address})
        for command, shown in examples():
            output = shell.run(command)
            assert looks_like(shown, output), f"{command}\n{output}"


def verbs() -> list[str]:
    return sorted(command_line.commands)


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_has_a_row(verb: str) -> None:
    assert re.search(rf"^\|.*`{verb}`.*\|.*\|$", PAGE, re.MULTILINE)


SERVERS = {"serve", "work", "dashboard"}
"""They go on until they are told to stop, and have tests of their own."""
OF_THEIR_OWN = {"cluster", "journal"}
"""Groups of verbs, with pages of their own."""


@pytest.mark.parametrize("verb", sorted(set(verbs()) - SERVERS - OF_THEIR_OWN))
def test_each_verb_has_an_example(verb: str) -> None:
    assert any(f"beanrow {verb} " in f"{command} " for command, _ in examples())


@pytest.mark.parametrize("verb", sorted(set(verbs()) - SERVERS - OF_THEIR_OWN))
def test_each_verb_has_help_with_an_example(verb: str) -> None:
    told = well(verb, "--help")
    assert f"  beanrow {verb}" in told.partition("Example")[2]
    assert max(map(len, told.splitlines())) <= 80
    assert len(told.splitlines()) < 60
    command = command_line.commands[verb]
    assert isinstance(command, click.Command)
    if verb not in {"completion", "man", "dump", "exporter"}:  # two write what has its own form
        assert {"--json", "--server"} <= {
            name for parameter in command.params for name in parameter.opts
        }
