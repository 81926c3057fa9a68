"""The async client behind the face of the other: one test then serves both.

Law: as in ``loop.py``, what a loop would only log fails the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, TypeVar, cast

import pytest

from beanrow import AsyncClient, Client
from beanrow.client.async_batch import AsyncPipeline

T = TypeVar("T")

Kind = Literal["sync", "async"]
each_kind = pytest.mark.parametrize("kind", ["sync", "async"])


class Blocking:
    """Runs each call of an async client to its end, in a loop of its own."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        gc.freeze()  # so that the collection at the end looks at this client alone, in a hundredth
        self.complaints: list[dict[str, Any]] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.client = AsyncClient(*args, **settings)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **settings: self.do(method(*args, **settings))

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        self.loop.run_until_complete(asyncio.sleep(0))  # see what came in since the last call
        return self.loop.run_until_complete(call)

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[AsyncPipeline]:
        pipe = self.client.pipeline()
        yield pipe
        self.do(pipe.__aexit__(None, None, None))

    def end(self) -> None:
        self.do(self.client.close())
        self.loop.close()
        gc.collect()
        gc.unfreeze()
        assert self.complaints == []


def _opened(kind: Kind, address: str | None, settings: dict[str, Any]) -> Iterator[Client]:
    if kind == "sync":
        with Client(address, **settings) as client:
            yield client
        return
    blocking = Blocking(address, **settings)
    try:
        yield cast(Client, blocking)
    finally:
        blocking.end()


def opened(
    kind: Kind, address: str | None, **settings: Any
) -> contextlib.AbstractContextManager[Client]:
    """A client of one kind or the other, closed at the end of the ``with`` block."""
    open_one: Callable[..., contextlib.AbstractContextManager[Client]]
    open_one = contextlib.contextmanager(_opened)
    return open_one(kind, address, settings)
