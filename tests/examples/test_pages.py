"""Every page people read: its Python runs, its commands are understood, its links lead somewhere.

Blocks of Python run from top to bottom in one namespace for each page, against a server of our own
in place of `localhost:11300`. Comments before a block, which readers of the page do not see:

    <!-- shown: WHY -->    it is compiled and not run
    <!-- setup: CODE -->   what runs before it
    <!-- file: NAME -->    it is written into a file of that name, which later blocks may import

A function `test_...(beanstalk)` in a block is called as pytest would. What is a file of the
repository as it stands has a test of its own and is not run here.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from beanrow.cli.program import command_line
from beanrow.testing import Beanstalk
from examples import fetch_worker, put_urls
from tests.servers import OurServer

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = ROOT / "README.md"
TESTED_ELSEWHERE = {"docs/testing.md"}  # tests/testing/test_docs.py: its blocks are test files

BLOCK = re.compile(
    r"(?P<notes>(?:^ *<!-- (?:shown|setup|file):.*?-->\n)*)"
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    kind: str
    line: int
    text: str
    notes: dict[str, str]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        notes = re.findall(r"<!-- (\w+): ?(.*?) ?-->", found["notes"], re.DOTALL)
        line = text.count("\n", 0, found.start("text"))
        yield Block(found["kind"], line, textwrap.dedent(found["text"]), dict(notes))


def python_of(page: Path) -> list[Block]:
    return [one for one in blocks(page) if one.kind == "python"]


FILES = {path.read_text() for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("page", [one for one in PAGES if python_of(one)], ids=name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, our_server: OurServer
) -> None:
    if name(page) in TESTED_ELSEWHERE:
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BEANSTALKD_URL", our_server.address)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # a page may add one
    before = set(sys.modules)
    namespace: dict[str, Any] = {"__name__": "page"}
    with asyncio.Runner() as runner:
        for block in python_of(page):
            run(block, page, namespace, runner, our_server.address)
    close_all(namespace)
    for handler in logging.getLogger().handlers:
        handler.close()
    for module in set(sys.modules) - before:
        file = getattr(sys.modules[module], "__file__", None)
        if file and tmp_path in Path(file).parents:
            close_all(vars(sys.modules.pop(module)))


def run(
    block: Block, page: Path, namespace: dict[str, Any], runner: asyncio.Runner, address: str
) -> None:
    """Run a block as its page says; line numbers of failures are those of the page."""
    text = here(block.text, address)
    ast.parse(text)
    if file := block.notes.get("file"):
        Path(file).write_text(text)
    if "shown" in block.notes or file or block.text in FILES:
        return
    known = set(namespace)
    for code in filter(None, (block.notes.get("setup"), "\n" * block.line + text)):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compiled = compile(here(code, address), page, "exec", flags=flags)
        if compiled.co_flags & inspect.CO_COROUTINE:
            runner.run(awaited(compiled, namespace))
        else:
            exec(compiled, namespace)
    for test in [one for one in namespace if one.startswith("test_") and one not in known]:
        with Beanstalk() as beanstalk:
            namespace[test](beanstalk)


def here(code: str, address: str) -> str:
    """Put the server of the test in the place of the one that pages speak of."""
    port = address.rpartition(":")[2]
    return code.replace("localhost:11300", address).replace("11300", port)


async def awaited(code: Any, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)


def close_all(namespace: dict[str, Any]) -> None:
    """Close what a block left open, as its process would by ending."""
    for value in namespace.values():
        if type(value).__module__.startswith("beanrow.") and hasattr(value, "close"):
            value.close()


def commands() -> Iterator[Any]:
    """Each line of a page that calls a program of this repository."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind not in {"", "sh"}:  # what stands in a `console` is run by other tests
                continue
            for line in re.sub(r" *\\\n *", " ", block.text).splitlines():
                command = line.partition(" #")[0].partition(" > ")[0]
                command = command.replace(".venv/bin/", "").removesuffix(" &").strip()
                if re.match(
                    r"(python3? -m beanrow\.|beanrow [a-z-]|python manage.py beanrow )", command
                ):
                    yield pytest.param(command, id=f"{name(page)}: {command}")


@pytest.mark.parametrize("command", [*commands()])
def test_a_command_of_a_page_is_understood(command: str) -> None:
    """Each word is parsed by the program's own parser; nothing is carried out."""
    command = re.sub(r"\| .*", "", command.replace("python manage.py ", ""))
    words = shlex.split(re.sub(r"\$\w+", "localhost:11300", command))
    if words[0] == "beanrow":
        understood(words[1:])
    elif words[2] == "beanrow.server":
        server_flags(words[3:])
    elif words[2] == "beanrow.worker":
        worker_flags(words[3:])
    else:
        assert words[2] == "beanrow.testing", command
        flags_of_a_server_for_tests(words[3:])


def understood(words: list[str]) -> None:
    """Find the verb and parse what follows; options before it are the server's address."""
    while words[0] == "--server":
        words = words[2:]
    if words in (["--help"], ["--version"]):
        return
    command: click.Command = command_line
    while isinstance(command, click.Group):
        verb, *words = words
        found = command.commands.get(verb)
        assert found is not None, f"beanrow has no verb {verb}"
        command = found
    if verb == "work":
        worker_flags(words if ":" in words[0] else ["project:app", *words])
    elif verb == "serve" and "--test" in words:
        flags_of_a_server_for_tests([one for one in words if one != "--test"])
    elif verb == "serve" and "--store" in words:
        gateway_flags(words)
    elif verb == "serve":
        server_flags(words)
    else:
        with pytest.MonkeyPatch.context() as patch:  # files that a page names need not be there
            patch.setattr(click.Path, "convert", lambda _self, value, *_: value)
            patch.setattr(click.File, "convert", lambda _self, value, *_: value)
            command.make_context(verb, words, parent=click.Context(command_line, obj=()))


def server_flags(words: list[str]) -> None:
    from beanrow.server.__main__ import _parser

    if words not in (["-h"], ["--help"]):
        _parser("page").parse_args(words)


def flags_of_a_server_for_tests(words: list[str]) -> None:
    from beanrow.testing.__main__ import _parser

    _parser("page").parse_args(words)


def gateway_flags(words: list[str]) -> None:
    from beanrow.cluster.__main__ import _parser

    _parser("page").parse_args(words)


def worker_flags(words: list[str]) -> None:
    from beanrow.worker.__main__ import _parser

    _parser("page").parse_args(words)


@pytest.mark.parametrize("file", ["fetch_worker.py", "put_urls.py"])
def test_the_readme_shows_the_example_as_it_is(file: str) -> None:
    assert (ROOT / "examples" / file).read_text() in [one.text for one in python_of(README)]


def test_worker_and_producer_mean_the_same_tube() -> None:
    assert fetch_worker.TUBE == put_urls.TUBE


def make_targets() -> set[str]:
    return {
        target
        for page in PAGES
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("target", sorted(make_targets()))
def test_the_makefile_has_what_a_page_names(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", one.lower()).strip() for one in headings)
    return {re.sub(r"[ -]+", "-", one) for one in plain}


def links() -> Iterator[Any]:
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            yield pytest.param(page, link, id=f"{name(page)}: {link}")


@pytest.mark.parametrize(("page", "link"), [*links()])
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    file, _, anchor = link.partition("#")
    target = page.parent / file if file else page
    assert target.exists()
    if ROOT / "docs" in page.parents:
        assert ROOT / "docs" in target.resolve().parents, "the site has no such page"
    if anchor:
        assert anchor in anchors(target)
