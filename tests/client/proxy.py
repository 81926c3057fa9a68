"""A proxy between a client and a server, which fails the way networks do when it is told to.

Law: a fault strikes once, the next time that a client says what it is armed for. It runs in a
thread of its own, so that any client may be on its one side and any server on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal, Self, TypeVar, get_args

T = TypeVar("T")

Fault = Literal[
    "delay",  # both the command and its reply come late
    "drip-out",  # the command arrives byte by byte
    "drip-in",  # the replies arrive byte by byte
    "half-close-out",  # the server hears the command and then that the client says no more
    "close-before",  # the server does not hear the command, the client is cut off
    "reset-before",  # the same by a reset
    "cut-out",  # the server hears half of the command, a body is cut in two
    "half-close-in",  # the server hears the command, the client hears that no reply will come
    "close-after",  # the server has answered the command, the client does not hear it
    "reset-after",
    "cut-in",  # the client hears half of the replies, a body is cut in two
    "drop",  # nothing is passed on any more, and nothing is closed
    "drop-in",  # the same, but the server has heard the command
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
HARMLESS = frozenset({"delay", "drip-out", "drip-in", "half-close-out"})
"""A client must get its answer all the same."""
SILENT = frozenset({"drop", "drop-in"})
"""Only a deadline ends the wait."""
UNHEARD = frozenset({"close-before", "reset-before", "drop"})
"""The server did not hear the command."""
DELAY = 0.005


class CuttingProxy:
    """Passes on what clients and a server say, until an armed fault strikes.

    ``arm(b"put ", "cut-in")``: the next time a client says something with this in it.
    ``faults`` counts those that struck. With ``tls`` it is a TLS server to its clients.
    """

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._tls = host.strip("[]"), int(port), tls
        self._word, self._fault = b"", ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = 0

    def arm(self, word: bytes, fault: Fault) -> None:
        self._word, self._fault = word, fault

    def cut_all(self) -> None:
        """Cut off all clients and the server from each other."""
        self._do(self._cut_all())

    def hold(self) -> None:
        """Pass on nothing any more, and close nothing."""
        self._do(self._hold())

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _cut_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _hold(self) -> None:
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def _end(self) -> None:
        for _ in range(5):  # whoever came and went at once is still to be accepted
            await asyncio.sleep(0)
        self._server.close()
        await self._cut_all()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for _ in range(3):  # for the transports, which close their sockets in the next turn
            await asyncio.sleep(0)

    # -- one connection -----------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = self._loop.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())
        task.add_done_callback(lambda _: self._writers.discard(writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, requests = await asyncio.open_connection(self._host, self._port)
        self._writers.add(requests)
        answering = self._loop.create_task(_answer(replies, writer))
        try:
            while said := await reader.read(1 << 20):
                if not (self._word and self._word in said):
                    requests.write(said)
                    continue
                fault, self._word = self._fault, b""
                self.faults += 1
                if fault == "drip-in":
                    answering.cancel()
                    answering = self._loop.create_task(_answer(replies, writer, drip=True))
                    requests.write(said)
                elif fault == "delay":
                    await asyncio.sleep(DELAY)
                    answering.cancel()
                    answering = self._loop.create_task(_answer(replies, writer, delay=DELAY))
                    requests.write(said)
                elif fault == "drip-out":
                    await _drip(requests, said)
                elif fault == "half-close-out":
                    requests.write(said)
                    requests.write_eof()
                    await answering
                else:
                    answering.cancel()
                    await asyncio.wait({answering})
                    await _strike(fault, said, reader, writer, replies, requests)
                    return
        except OSError:
            pass  # the client has cut the connection
        finally:
            self._writers.discard(requests)
            answering.cancel()
            requests.transport.abort()


async def _strike(
    fault: str,
    said: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    replies: asyncio.StreamReader,
    requests: asyncio.StreamWriter,
) -> None:
    """Do what ends a connection."""
    if fault not in UNHEARD:
        requests.write(said[: len(said) // 2] if fault == "cut-out" else said)
        await requests.drain()
    if fault in SILENT:
        await asyncio.sleep(3600)
    elif fault == "half-close-in":
        writer.write_eof()
        await reader.read(1 << 20)
    elif fault in {"close-after", "reset-after"}:
        await replies.read(1 << 20)
    elif fault == "cut-in":
        heard = await replies.read(1 << 20)
        writer.write(heard[: len(heard) // 2])
    requests.close()  # before the client's side: what it held is free when it comes again
    if fault.startswith("reset"):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
    with contextlib.suppress(OSError):
        await requests.wait_closed()
        await writer.wait_closed()


async def _answer(
    replies: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    drip: bool = False,
    delay: float = 0.0,
) -> None:
    with contextlib.suppress(OSError):
        while heard := await replies.read(1 << 20):
            if delay:
                await asyncio.sleep(delay)
            if drip:
                await _drip(writer, heard)
            else:
                writer.write(heard)
    writer.close()


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for place in range(len(data)):
        writer.write(data[place : place + 1])
        await asyncio.sleep(0)
