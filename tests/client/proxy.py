"""A proxy in the loop of the test, which cuts connections where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Self

When = Literal["before", "after"]


class CuttingProxy:
    """Passes on what a client and a server say, and cuts the connection under one command.

    ``cut(b"put", "before")``: the next time a client says something with this in it, the
    server does not hear it; ``"after"``: the server has answered it, the client does not
    hear that. ``seen`` is what the server heard.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._word = b""
        self._when: When = "before"
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self.seen = b""
        self.cuts = 0

    def cut(self, word: bytes, when: When) -> None:
        self._word, self._when = word, when

    def cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def hold(self) -> None:
        """Pass on nothing any more, and close nothing."""
        for task in self._answers:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        self._writers.add(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, requests = await asyncio.open_connection(self._host, self._port)
        answers = asyncio.create_task(self._answer(replies, writer))
        self._answers.add(answers)
        with contextlib.suppress(OSError):
            while said := await reader.read(65536):
                if self._word and self._word in said:
                    self._word = b""
                    self.cuts += 1
                    if self._when == "after":
                        answers.cancel()
                        await asyncio.wait({answers})
                        self.seen += said
                        requests.write(said)
                        await replies.read(65536)
                    break
                self.seen += said
                requests.write(said)
        requests.transport.abort()
        writer.transport.abort()
        self._writers.discard(writer)
        answers.cancel()
        await asyncio.wait({answers})

    async def _answer(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while said := await replies.read(65536):
                writer.write(said)
        writer.close()
