"""One test for both kinds of client: the methods of either, called by name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

Kind = Literal["sync", "async"]
PATIENCE = 30.0


class Way:
    """Calls methods: ``way("put", "x")`` waits for the answer, ``way.start("reserve")`` does not."""

    def __init__(self, one: Any, start: Callable[..., Future[Any]]) -> None:
        self.one = one
        self._start = start

    def start(self, name: str, *args: Any, **named: Any) -> Future[Any]:
        return self._start(name, *args, **named)

    def __call__(self, name: str, *args: Any, **named: Any) -> Any:
        return self._start(name, *args, **named).result(PATIENCE)


@contextmanager
def opened(kind: Kind, sync: Callable[[], Any], awaited: Callable[[], Any]) -> Iterator[Way]:
    """Make a client in its own way, and close it at the end."""
    if kind == "sync":
        with ThreadPoolExecutor(8) as threads:
            client = sync()
            way = Way(
                client,
                lambda name, *args, **named: threads.submit(getattr(client, name), *args, **named),
            )
            try:
                yield way
            finally:
                client.close()
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def make() -> Any:
        return awaited()

    async def call(name: str, *args: Any, **named: Any) -> Any:
        answer = getattr(client, name)(*args, **named)
        return await answer if asyncio.iscoroutine(answer) else answer

    def start(name: str, *args: Any, **named: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(call(name, *args, **named), loop)

    try:
        client = asyncio.run_coroutine_threadsafe(make(), loop).result(PATIENCE)
        try:
            yield Way(client, start)
        finally:
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
