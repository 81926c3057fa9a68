"""Runs a test of the async client.

Law: what a loop would only log, a task or a future whose error nobody looked at, fails the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from beanrow import AsyncClient


def run(
    test: Coroutine[Any, Any, None],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        await test
        gc.collect()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(watched())
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


def own_tube(address: str, tube: str, **settings: Any) -> AbstractAsyncContextManager[AsyncClient]:
    """A client that uses and watches this tube and no other."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncClient]:
        async with AsyncClient(address, **settings) as client:
            await client.use(tube)
            await client.watch(tube)
            await client.ignore("default")
            yield client

    return opened()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """The address of a peer that takes everything and never answers."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@contextlib.contextmanager
def full_server() -> Iterator[str]:
    """The address of a peer to which a connection is never made: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with contextlib.ExitStack() as filling:
            for _ in range(4):
                one = filling.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            yield f"127.0.0.1:{listener.getsockname()[1]}"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so: a server sees the end of a connection a moment later."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110  (what is waited for is in another process)
            await asyncio.sleep(0)
