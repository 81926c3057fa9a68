"""Public attributes say their type, so that every type checker knows it and not only ours.

pyright takes the type of an attribute from where it is set only if that is one place and the value
is a name or a constant; anything else it calls ambiguous (`pyright --verifytypes`, which
tests/packaging runs on the installed wheel). This finds the same in a second.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def own_attributes(node: ast.AST) -> Iterator[str]:
    """Give the names that this target sets on self."""
    for one in ast.walk(node):
        match one:
            case ast.Attribute(ast.Name("self"), name, ast.Store()):
                yield name


def ambiguous(tree: ast.Module) -> Iterator[str]:
    """Find public attributes without a type that are set twice, or to more than a name."""
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        typed: set[str] = {
            one.target.id
            for one in cls.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        typed |= {one.name for one in cls.body if isinstance(one, ast.FunctionDef)}  # properties
        places: dict[str, list[bool]] = {}
        for node in ast.walk(cls):
            if isinstance(node, ast.AnnAssign):
                typed.update(own_attributes(node.target))
            elif isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                plain = isinstance(node.value, ast.Name | ast.Constant) and len(targets) == 1
                for target in targets:
                    for name in own_attributes(target):
                        places.setdefault(name, []).append(plain)
        for one in cls.body:  # of the class: what a call makes, such as a descriptor
            match one:
                case ast.Assign([ast.Name(name)], ast.Call()):
                    places[name] = [False]
        for name, plains in places.items():
            public = not name.startswith("_") and not cls.name.startswith("_")
            if public and name not in typed and plains != [True]:
                yield f"{cls.name}.{name}"


def test_every_public_attribute_has_one_type() -> None:
    found = {
        f"{path.relative_to(SOURCE)}: {name}"
        for path in SOURCE.rglob("*.py")
        for name in ambiguous(ast.parse(path.read_text()))
    }
    assert found == set(), "write the type where it is first set: self.name: int = ..."


def test_what_is_ambiguous_is_found() -> None:
    tree = ast.parse(
        "class A:\n"
        "    called: int\n"
        "    described = f()\n"
        "    def __init__(self, plain):\n"
        "        self.plain, self.count = plain, 0\n"
        "        self.once = plain\n"
        "        self.typed: int = 0\n"
        "        self.called = f()\n"
        "        self.made = f()\n"
        "        self._made = f()\n"
        "        self.a = self.b = 0\n"
        "    def add(self):\n"
        "        self.count += 1\n"
        "        self.typed += 1\n"
    )
    assert {*ambiguous(tree)} == {
        "A.described", "A.plain", "A.count", "A.made", "A.a", "A.b"
    }  # fmt: skip
