"""How the view asks its server: in a thread of its own, so that keys are heard meanwhile.

Law: one thread, so one connection, and one question after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from beanrow.client.sync import Client
from beanrow.protocol import commands
from beanrow.protocol.commands import Command

__all__ = ["Asking", "using"]

T = TypeVar("T")

_TIMEOUT = 5.0


class Asking:
    """Asks the server at ``url``. A command that takes over 5 s is given up."""

    def __init__(self, url: str) -> None:
        self._client = Client(url, timeout=_TIMEOUT)
        self._thread = ThreadPoolExecutor(1, "top")
        self._closed = False

    async def __call__(self, question: Callable[[Client], T]) -> T:
        """Ask; gives what ``question`` gives or raises. CancelledError after ``close``."""
        if self._closed:  # a look that was between two questions when the view ended
            raise asyncio.CancelledError
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, question, self._client)

    def close(self) -> None:
        """Close the connection; what is still asked is given up."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def using(tube: str, command: Command[T]) -> Callable[[Client], T]:
    """Make a question that says a command while a tube is used, and leaves the tube.

    A view must not keep a tube alive.
    """

    def ask(client: Client) -> T:
        with client.pipeline() as pipe:
            pipe.add(commands.use(tube))
            told = pipe.add(command)
            pipe.add(commands.use("default"))
        return told.result()

    return ask
