"""What people read before they install says what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from beanrow.version import __version__
from tools import release

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALL = (ROOT / "docs" / "install.md").read_text()


def table() -> dict[str, set[str]]:
    """Each extra of the two tables of docs/install.md, with what it brings."""
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| .*\|$", INSTALL, re.MULTILINE)
    return {name: {word.strip(" `") for word in brings.split(",")} for name, brings in rows}


def brought(extra: str) -> set[str]:
    """What an extra names in pyproject.toml: other extras of ours and distributions."""
    found: set[str] = set()
    for line in PROJECT["optional-dependencies"][extra]:
        name, ours = re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", line).groups()  # type: ignore[union-attr]
        found |= set(ours.split(",")) if name == "beanrow" else {name}
    return found


def test_the_table_names_every_extra() -> None:
    assert set(table()) == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_the_table_tells_what_an_extra_brings(extra: str) -> None:
    assert table()[extra] == brought(extra)


def test_all_is_what_the_table_has_above_it() -> None:
    above = INSTALL.partition("| `all` |")[0]
    assert brought("all") == set(re.findall(r"^\| `([\w-]+)` \|", above, re.MULTILINE))


def test_the_core_needs_nothing() -> None:
    assert PROJECT["dependencies"] == []


def test_no_other_page_has_a_table_of_extras() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert [page.name for page in pages if "| extra |" in page.read_text()] == ["install.md"]


@pytest.mark.parametrize(
    ("changelog", "tags", "changes", "fault"),
    [
        (f"## [{__version__}] - 2026-11-30", "", " M Makefile", "no commit holds"),
        (f"## [{__version__}] - 2026-11-30", f"v0.0.1\nv{__version__}", "", "is released"),
        ("## [99.0] - 2026-11-30", "", "", "has no line"),
        (
            f"## [Unreleased]\n\n### Added\n\n- x\n\n## [{__version__}] - 2026-11-30",
            "",
            "",
            "still",
        ),
    ],
)
def test_a_release_waits_for(changelog: str, tags: str, changes: str, fault: str) -> None:
    (found,) = release.faults(changelog, tags, changes)
    assert fault in found


def test_a_release_may_be() -> None:
    changelog = f"## [Unreleased]\n\n## [{__version__}] - 2026-11-30\n\n- x"
    assert release.faults(changelog, "v0.0.1", "") == []
