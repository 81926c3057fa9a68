"""A client in Starlette and FastAPI: opened with the app, closed with it, handed to each request.

    app = FastAPI(lifespan=lifespan("localhost:11300"))
    Queue = Annotated[AsyncClient, Depends(client_of)]

    @app.post("/orders")
    async def order(new: Order, queue: Queue) -> int:
        return await queue.put(new.model_dump_json(), tube="orders")

A task's ``put`` waits for the network: call it in a ``def`` endpoint, which runs in a thread, or by
``await run_in_threadpool(task.put, ...)``.

Law: the app starts though the server is away. Requests that need it fail until it is back, and
no restart is needed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.requests import HTTPConnection

from beanrow.client.aio import AsyncClient
from beanrow.protocol.durations import Duration

__all__ = ["client_of", "lifespan"]

_STATE = "beanrow"

Lifespan = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]


def lifespan(
    address: str | None = None, *, timeout: Duration = 10.0, tls: ssl.SSLContext | None = None
) -> Lifespan:
    """Make a ``lifespan`` for the app; the arguments are those of ``AsyncClient``.

    It gives the state ``{"beanrow": client}``. An app with a lifespan of its own enters this
    one in it, and gives its state on: ``async with lifespan()(app) as state: yield {**state}``.
    """

    @asynccontextmanager
    async def with_client(_app: Any) -> AsyncIterator[dict[str, Any]]:
        client = AsyncClient(address, timeout=timeout, tls=tls)
        try:
            yield {_STATE: client}
        finally:
            await client.close()

    return with_client


def client_of(connection: HTTPConnection) -> AsyncClient:
    """Give the client of the app that serves this request or WebSocket; RuntimeError without one."""
    client: AsyncClient | None = getattr(connection.state, _STATE, None)
    if client is None:
        raise RuntimeError(
            "this app has no beanrow client: give it lifespan=beanrow.contrib.starlette.lifespan()"
        )
    return client
