"""The two clients have the same methods: names, parameters, docstrings."""

from __future__ import annotations

import inspect

import pytest

from beanrow import AsyncClient, AsyncPool, Client, Pool


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


POOL_METHODS = sorted(public_methods(Pool))


def test_each_method_of_a_pool_is_there() -> None:
    assert public_methods(AsyncPool) == set(POOL_METHODS)
    assert {"close", "put", "reserve", "delete", "watch", "use"} < set(POOL_METHODS)


@pytest.mark.parametrize("name", POOL_METHODS)
def test_a_method_of_a_pool_is_the_same(name: str) -> None:
    sync, awaited = getattr(Pool, name), getattr(AsyncPool, name)
    assert inspect.signature(sync) == inspect.signature(awaited)
    assert inspect.getdoc(sync)
    assert inspect.getdoc(awaited) == inspect.getdoc(sync)


def test_clients_and_pools_take_the_same_settings() -> None:
    def settings(of: type) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(of).parameters)

    assert settings(Pool) == settings(AsyncPool)
    sync, awaited = settings(Client), settings(AsyncClient)
    assert sync.keys() - awaited.keys() == {"clock", "on_deadline_soon"}
    assert awaited.keys() <= sync.keys()
