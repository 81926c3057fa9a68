"""docs/from-cl-beanstalk.md is whole and true: every symbol is there, every name exists."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest

import beanrow

PAGE = Path(__file__).parent.parent / "docs" / "from-cl-beanstalk.md"
EXPORTED = {
    "with-beanstalk-connection",
    "quit",
    "connect",
    "disconnect",
    "beanstalk-error",
    "bad-reply",
    "beanstalkd-out-of-memory",
    "buried-job",
    "beanstalkd-draining",
    "beanstalkd-internal-error",
    "bad-message-format",
    "expected-crlf",
    "unknown-command",
    "deadline-soon",
    "yaml-parsing-failed",
    "use",
    "put",
    "reserve",
    "delete",
    "release",
    "bury",
    "touch",
    "watch",
    "ignore",
    "peek",
    "peek-ready",
    "peek-delayed",
    "peek-buried",
    "kick",
    "list-tube-used",
    "stats-job",
    "stats-tube",
    "stats",
    "list-tubes",
    "list-tubes-watched",
}


def rows() -> list[tuple[str, str, str]]:
    """Every row of every table: left, name, remark."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 3 for row in cells)
    return [
        (left, name.strip("`"), remark)
        for left, name, remark in cells
        if name != "beanrow" and set(left) != {"-"}
    ]


def symbols() -> list[str]:
    """The left side of the tables of what is exported."""
    exported = PAGE.read_text().partition("## What was not exported")[0]
    return re.findall(r"^\| `([^`]+)` \|", exported, re.MULTILINE)


def test_every_exported_symbol_has_one_row() -> None:
    assert sorted(symbols()) == sorted(EXPORTED)


@pytest.mark.parametrize("name", sorted({name for _, name, _ in rows()}))
def test_every_name_exists(name: str) -> None:
    first, *rest = name.split(".")
    assert first in beanrow.__all__
    assert reduce(getattr, rest, getattr(beanrow, first)) is not None


def test_every_name_in_the_remarks_exists() -> None:
    remarks = " ".join(remark for _, _, remark in rows())
    classes = set(re.findall(r"`([A-Z]\w+)(?:\.\w+)?`", remarks)) - {"Retry"}
    assert len(classes) > 8
    assert classes <= set(beanrow.__all__)


def test_the_example_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with beanrow.EmbeddedServer() as server:
        exec(program.replace("localhost:11300", server.address), {})
        with beanrow.Client(server.address) as client:
            assert client.stats().cmd_delete == 1
