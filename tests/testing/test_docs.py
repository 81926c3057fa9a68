"""docs/testing.md: its Python is test files that pass, its control port answers what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.inside import inside
from tests.testing.program import TestServer
from tests.testing.test_plugin import run_pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_python_of_the_page_passes(tmp_path: Path) -> None:
    files = {f"test_block_{n}.py": block for n, block in enumerate(blocks("python"))}
    assert len(files) > 5
    written = sum(len(re.findall(r"^ *def test_", one, re.MULTILINE)) for one in files.values())
    assert f"{written} passed" in run_pytest(tmp_path, files)


def test_the_console_of_the_page_shows_what_happens() -> None:
    (block,) = blocks("console")
    with TestServer() as server:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            assert run(command, server) == shown.rstrip("\n"), command


def run(command: str, server: TestServer) -> str:
    """Do what a line of the page does."""
    if command.startswith("beanrow "):
        return inside(*command.split()[1:], url=server.queue).out.decode().strip()
    curl = re.fullmatch(r"curl -s( -X POST)? 'http://127\.0\.0\.1:11301(/[^']*)'", command)
    assert curl is not None, command
    status, told = server.ask("POST" if curl[1] else "GET", curl[2])
    assert (status == 400) == ("error" in told)
    return json.dumps(told)


def test_each_request_of_the_page_is_there() -> None:
    told = re.findall(r"`((?:GET|POST) /[a-zA-Z/-]*)", PAGE)
    with TestServer() as server:
        _, answer = server.ask("GET", "/nowhere")
    known = answer["error"].partition("there are ")[2].split(", ")
    kinds = {"cut", "drop", "hang", "delay", "slow"}
    wanted = {one for name in told for one in spelled(name, kinds)}
    assert wanted == set(known)


def spelled(name: str, kinds: set[str]) -> list[str]:
    return [name.replace("KIND", kind) for kind in kinds] if "KIND" in name else [name]
