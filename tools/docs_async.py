"""An extension of griffe: a method of an asyncio class is told as its counterpart tells it.

In the code a decorator copies the docstring when the module is imported; the reference is made
without importing anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import griffe


class AsyncDocstrings(griffe.Extension):
    """Gives ``AsyncX.method`` the docstring of ``X.method``."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Copy what is missing, when all of the package is read."""
        classes = {one.name: one for one in _classes(pkg)}
        for name, cls in classes.items():
            counterpart = classes.get(name.removeprefix("Async"))
            if counterpart is None or counterpart is cls:
                continue
            for method in cls.functions.values():
                told = counterpart.functions.get(method.name)
                if told is not None and method.docstring is None:
                    method.docstring = told.docstring


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    yield from module.classes.values()
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _classes(inner)
