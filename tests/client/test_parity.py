"""The two clients have the same methods: names, parameters, docstrings."""

from __future__ import annotations

import inspect

import pytest

from beanrow import AsyncClient, Client


def public_methods(client: type) -> set[str]:
    return {
        name
        for name, _ in inspect.getmembers(client, inspect.isroutine)
        if not name.startswith("_")
    }


METHODS = sorted(public_methods(Client))


def test_each_method_is_there() -> None:
    assert public_methods(AsyncClient) == set(METHODS)
    assert {"connect", "close", "quit", "put", "reserve", "delete", "stats"} < set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same(name: str) -> None:
    sync, awaited = getattr(Client, name), getattr(AsyncClient, name)
    ours, theirs = inspect.signature(sync), inspect.signature(awaited)
    assert list(ours.parameters.values()) == list(theirs.parameters.values())
    assert inspect.getdoc(sync)
    assert awaited.__doc__ == sync.__doc__
    if name == "pipeline":
        assert theirs.return_annotation == f"Async{ours.return_annotation}"
    else:
        assert inspect.iscoroutinefunction(awaited)
        assert theirs.return_annotation == ours.return_annotation
