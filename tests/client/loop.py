"""Runs a test of the async client.

Law: what a loop would only log, a task or a future whose error nobody looked at, fails the test.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from collections.abc import AsyncIterator
from typing import Any

from beanrow import AsyncClient


def run(test: Coroutine[Any, Any, None]) -> None:
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        await test
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(watched())
    gc.collect()
    assert complaints == []


def with_client(
    address: str, test: Callable[[AsyncClient], Coroutine[Any, Any, None]], **settings: Any
) -> None:
    """Run a test with a client that is closed at its end."""

    async def opened() -> None:
        async with AsyncClient(address, **settings) as client:
            await test(client)

    run(opened())


def own_tube(
    address: str, tube: str, **settings: Any
) -> AbstractAsyncContextManager[AsyncClient]:
    """A client that uses and watches this tube and no other."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncClient]:
        async with AsyncClient(address, **settings) as client:
            await client.use(tube)
            await client.watch(tube)
            await client.ignore("default")
            yield client

    return opened()
