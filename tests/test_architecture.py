"""The direction of the arrows, read from the imports of every file of beanrow.

Laws: a package imports only what its line in LAYERS names, itself, and SHARED; no cycle joins two
packages; what is pure imports only what can neither read a clock nor touch the world; the core
needs only the standard library; docs/architecture.md shows this table and no other. An import
counts wherever it stands: inside a function or under TYPE_CHECKING it is the same arrow.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "beanrow"
PICTURE = ROOT / "docs" / "architecture.md"


class Layer(NamedTuple):
    level: int
    arrows: set[str]
    planned: bool = False


FACADE = "__init__"  # beanrow/__init__.py: the public names, which nothing inside imports
LAYERS = {
    "contrib": Layer(7, {"cli", "client", "jobs", "protocol", "worker"}),
    FACADE: Layer(6, {"client", "protocol", "worker"}),
    "cli": Layer(
        6,
        {
            "client",
            "cluster",
            "conform",
            "dashboard",
            "jobs",
            "journal",
            "observe",
            "protocol",
            "server",
            "testing",
            "top",
            "worker",
        },
    ),
    "dashboard": Layer(
        5,
        {
            *("client", "cluster.address", "cluster.status", "jobs", "observe.snapshot"),
            *("protocol", "worker.letters"),
            *("server.audit", "server.listeners", "server.log", "server.rights"),
        },
    ),
    "top": Layer(5, {"client", "observe", "protocol"}),
    "testing": Layer(5, {"client", "engine", "protocol", "server", "worker"}),
    "cluster": Layer(
        4,
        {"engine.counters", "protocol", "server.host", "server.listeners", "server.log"},
    ),
    "server": Layer(3, {"engine", "journal", "protocol"}),
    "observe": Layer(
        3,
        {"client", "protocol", "worker.app", "worker.events", "worker.run", "worker.task"},
    ),
    "jobs": Layer(3, {"client", "journal.lines", "protocol", "worker.letters"}),
    "worker": Layer(2, {"client", "protocol"}),
    "journal": Layer(2, {"engine", "protocol"}),
    "client": Layer(1, {"protocol"}),
    "engine": Layer(1, {"protocol"}),
    "conform": Layer(0, set()),
    "protocol": Layer(0, set()),
}
SHARED = {"errors", "version"}  # importable by all, and they import nothing of beanrow
PURE = {"protocol", "engine", *SHARED}
# What pure code may import. Each line is safe as a whole: no socket, clock, thread, random source.
PURE_IMPORTS = {
    *("__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "typing"),
    *("array", "heapq", "itertools", "json", "math", "operator", "re", "struct", "types"),
    "datetime.timedelta",  # a duration; the rest of datetime can ask what time it is
    "sys.maxsize",  # a number; the rest of sys reaches the process and its files
}
PURE_FORBIDS_CALLS = {"__import__", "eval", "exec", "input", "open", "print"}
NEEDS_EXTRAS = {"cli", "cluster", "contrib", "dashboard", "observe", "top"}


class Import(NamedTuple):
    line: int
    target: str  # absolute, down to the name: "beanrow.protocol.values.Job"


def imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{start}.{alias.name}") for alias in node.names)


def within(target: str, allowed: set[str]) -> bool:
    """Whether the target is one of the allowed modules or lies inside one."""
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def inner_target(target: str) -> str | None:
    """Name a target within beanrow: "protocol.values.Job"; None for a foreign one."""
    if not within(target, {"beanrow"}):
        return None
    inner = target.removeprefix("beanrow").removeprefix(".")
    known = inner.partition(".")[0] in LAYERS.keys() | SHARED
    return inner if known else FACADE


def fault(package: str, target: str) -> str | None:
    """Say what is wrong with this package importing this target, or None."""
    if target.startswith("."):
        return f"relative import {target}: write it out, so that the layer shows"
    inner = inner_target(target)
    if inner is not None:
        arrows = LAYERS[package].arrows if package in LAYERS else set()
        if within(inner, arrows | SHARED | {package}):
            return None
        return f"{package} imports {inner}; its arrows lead to {sorted(arrows | SHARED)}"
    if package in PURE and not within(target, PURE_IMPORTS):
        return f"{package} is pure, and {target} is not on the list of what pure code may import"
    if package not in NEEDS_EXTRAS | {FACADE} and within(target, {"importlib"}):
        return f"{package} imports {target}, which would hide its arrows"
    if package not in NEEDS_EXTRAS and target.partition(".")[0] not in sys.stdlib_module_names:
        return f"{package} is core, and {target} is not in the standard library"
    return None


def check_file(path: Path, root: Path = SOURCE) -> list[str]:
    """List the faults of one file, each as "file:line: what is wrong"."""
    relative = path.relative_to(root)
    package = relative.parts[0].removesuffix(".py")
    if package not in LAYERS.keys() | SHARED:
        return [f"{relative}: {package} has no line in LAYERS"]
    tree = ast.parse(path.read_text())
    found = [(line, fault(package, target)) for line, target in imports(tree)]
    if package in PURE:
        names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
        found += [
            (node.lineno, f"{package} is pure and uses {node.id}")
            for node in names
            if node.id in PURE_FORBIDS_CALLS
        ]
    return [f"{relative}:{line}: {what}" for line, what in found if what is not None]


def find_cycle(root: Path = SOURCE) -> list[str]:
    """Find packages that import each other in a ring; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        package = path.relative_to(root).parts[0].removesuffix(".py")
        targets = (inner_target(target) for _, target in imports(ast.parse(path.read_text())))
        packages = {target.partition(".")[0] for target in targets if target is not None}
        graph.setdefault(package, set()).update(packages - {package})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def read_picture(text: str) -> dict[str, Layer]:
    """Read the table back from the block ```layers of docs/architecture.md."""
    block = re.search(r"^```layers\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block is not None, "docs/architecture.md has no block ```layers"
    lines = re.findall(r"^L(\d) +(\w+) +->(.*?)( planned)?$", block[1], re.MULTILINE)
    assert len(lines) == len(block[1].splitlines()), "a line of the picture cannot be read"
    return {
        name: Layer(int(level), set(re.findall(r"[\w.]+", arrows)), bool(planned))
        for level, name, arrows, planned in lines
    }


def test_every_import_follows_an_arrow() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert SOURCE / "protocol" / "__init__.py" in files
    assert [what for path in files for what in check_file(path)] == []


def test_no_cycle_joins_packages() -> None:
    assert find_cycle() == []


def test_the_arrows_of_the_table_point_down() -> None:
    for name, layer in LAYERS.items():
        for arrow in layer.arrows:
            assert LAYERS[arrow.partition(".")[0]].level < layer.level, f"{name} -> {arrow}"


def test_the_picture_shows_the_table() -> None:
    assert read_picture(PICTURE.read_text()) == LAYERS


def used(root: Path = SOURCE) -> dict[str, set[str]]:
    """Give for each package what it imports of the others, down to the name."""
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        package = path.relative_to(root).parts[0].removesuffix(".py")
        targets = (inner_target(target) for _, target in imports(ast.parse(path.read_text())))
        found.setdefault(package, set()).update(filter(None, targets))
    return found


def idle_arrows(layers: dict[str, Layer], root: Path = SOURCE) -> set[tuple[str, str]]:
    """Find the arrows along which nothing is imported."""
    imported = used(root)
    return {
        (name, arrow)
        for name, layer in layers.items()
        for arrow in layer.arrows
        if not layer.planned
        and not any(within(target, {arrow}) for target in imported.get(name, ()))
    }


def test_no_arrow_of_the_picture_is_idle() -> None:
    """The picture would promise a dependency that nobody needs."""
    assert idle_arrows(LAYERS) == set()


def test_an_idle_arrow_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "client/sync.py", "from beanrow.protocol import values")
    layers = {"client": Layer(1, {"protocol", "engine"}), "cluster": Layer(4, {"x"}, planned=True)}
    assert idle_arrows(layers, tmp_path) == {("client", "engine")}


def test_the_page_tells_of_each_package_and_of_modules_that_are_there() -> None:
    text = PICTURE.read_text().partition("## What each is")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^- \*\*`?(\w+)`?\*\*(.*?)(?=^- |^$)", text, re.MULTILINE | re.DOTALL))
    assert set(told) == {name for name, layer in LAYERS.items() if not layer.planned}
    for package, words in told.items():
        modules = {path.stem for path in (SOURCE / package).glob("*")}
        for name in re.findall(r"`([a-z_]+)`", words):
            assert name in modules | {*LAYERS, "beanrow", "pytest_beanrow"}, f"{package}: {name}"


def test_what_is_called_planned_is_not_there_yet() -> None:
    built = {path.name.removesuffix(".py") for path in SOURCE.iterdir()}
    assert {name for name, layer in LAYERS.items() if layer.planned} & built == set()


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("protocol/values.py", "from beanrow.engine import Engine", "imports engine"),
        ("protocol/values.py", "import beanrow.client.sync", "imports client"),
        ("protocol/values.py", "from beanrow import server", "imports server"),
        ("protocol/values.py", "from beanrow import Client", "imports __init__"),
        ("protocol/values.py", "import beanrow", "imports __init__"),
        ("protocol/values.py", "from ..client import sync", "relative import"),
        ("engine/engine.py", "def f():\n    from beanrow.client import Client", ":2: engine"),
        ("engine/engine.py", "if TYPE_CHECKING:\n    import beanrow.server", "imports server"),
        ("client/sync.py", "from beanrow.engine import Engine", "imports engine"),
        ("errors.py", "from beanrow.protocol.values import Job", "imports protocol"),
        ("server/server.py", "from beanrow.client import Client", "imports client"),
        ("cluster/redis.py", "from beanrow.server import local", "imports server.local"),
        ("cluster/redis.py", "from beanrow.server.logs import x", "imports server.logs"),
        ("observe/snapshot.py", "from beanrow.worker.slot import Slot", "imports worker.slot"),
        ("surprise.py", "", "surprise has no line"),
        ("client/sync.py", "import httpx", "not in the standard library"),
        ("client/sync.py", "import importlib", "hide its arrows"),
        ("engine/engine.py", "open('x')", "uses open"),
        ("engine/engine.py", "from datetime import datetime", "datetime.datetime"),
        ("protocol/values.py", "import datetime", "datetime is not on the list"),
        *(
            (file, f"import {module}", f"{module} is not on the list")
            for file in ("protocol/values.py", "engine/engine.py")
            for module in (
                *("asyncio", "logging", "os", "random", "secrets", "select", "selectors"),
                *("signal", "socket", "ssl", "subprocess", "threading", "time"),
            )
        ),
    ],
)
def test_a_planted_import_is_caught(tmp_path: Path, file: str, code: str, expected: str) -> None:
    (found,) = check_file(plant(tmp_path, file, code), tmp_path)
    assert found.startswith(file)
    assert expected in found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("protocol/values.py", "from datetime import timedelta"),
        ("protocol/values.py", "from beanrow.protocol import replies"),
        ("engine/engine.py", "from beanrow import errors, protocol"),
        ("client/sync.py", "import socket, time\nfrom beanrow.version import __version__"),
        ("cluster/redis.py", "import hiredis\nfrom beanrow.server.log import Log"),
        ("observe/snapshot.py", "from beanrow.worker import events"),
        ("__init__.py", "from beanrow.client import Client"),
    ],
)
def test_a_good_import_is_let_through(tmp_path: Path, file: str, code: str) -> None:
    assert check_file(plant(tmp_path, file, code), tmp_path) == []


def test_a_planted_cycle_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "engine/job.py", "from beanrow.server import loop")
    plant(tmp_path, "server/loop.py", "from beanrow.protocol import replies")
    assert find_cycle(tmp_path) == []
    plant(tmp_path, "protocol/replies.py", "def f():\n    from beanrow import engine")
    assert {"engine", "protocol", "server"} == set(find_cycle(tmp_path))


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("L1  client         -> protocol", "L1  client         -> protocol, engine"),
        ("L1  client         -> protocol", "L2  client         -> protocol"),
        ("L1  client         -> protocol\n", ""),
    ],
)
def test_a_changed_picture_is_caught(line: str, changed: str) -> None:
    text = PICTURE.read_text()
    assert line in text
    assert read_picture(text.replace(line, changed)) != LAYERS


def plant(root: Path, file: str, code: str) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return path
