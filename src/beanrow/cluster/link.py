"""One connection of a client to a gateway: bytes in, replies out, one request after the other.

Laws:
- Requests are answered in their order. Puts that come together go to the store together, and so do
  deletes; whatever else comes behind a request waits for its reply.
- A peer that does not read its replies, or sends on behind a reserve that waits, is not read from.
- Where nobody knows what became of a request the connection is closed: no reply is made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from beanrow.cluster.backend import Backend
from beanrow.cluster.store import OutcomeUnknown, OutOfRoom, Unavailable
from beanrow.errors import StoreError
from beanrow.protocol import replies
from beanrow.protocol.request_stream import RequestStream
from beanrow.protocol.requests import (
    Delete,
    Put,
    PutInTube,
    PutUnique,
    Quit,
    Request,
    Reserve,
    ReserveWithTimeout,
)

__all__ = ["Link"]

_MOST_AHEAD = 64 * 1024
"""Bytes that are read ahead of a request that is being carried out."""
_MOST_UNSENT = 64 * 1024
"""Bytes of replies that are gathered before they are sent."""
_MOST_TOGETHER = 100
_SHARE = 256 * 1024
"""Bytes of bodies that go to the store in one call."""
_PUTS = (Put, PutInTube, PutUnique)
_WAITING = (Reserve, ReserveWithTimeout)
_TURN = 200
"""Requests after which others have their turn."""


class Link(asyncio.Protocol):
    """A connection. ``fault`` hears of an error of ours, ``begun`` of the task that serves it."""

    def __init__(
        self,
        backend: Backend,
        fault: Callable[[BaseException], None],
        begun: Callable[[Link, asyncio.Task[None]], None],
    ) -> None:
        self._backend = backend
        self._fault = fault
        self._begun = begun
        self._loop = asyncio.get_running_loop()
        self._stream = RequestStream(backend.max_job_size)
        self._unsent: list[bytes] = []
        self._size = 0
        self._behind: Request | None = None  # read, and not yet carried out
        self._more: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._ended = False
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._session = self._backend.open()
        self._begun(self, self._loop.create_task(self._serve()))

    # -- what the transport tells -------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._stream.feed(data)
        if self._more is not None:
            _wake(self._more)
        elif self._stream.buffered > _MOST_AHEAD and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Note that the peer sends no more; it may still read."""
        self._ended = True
        self._backend.half_close(self._session)
        if self._more is not None:
            _wake(self._more)
        return True

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Note that it does."""
        if self._room is not None:
            _wake(self._room)
            self._room = None

    def connection_lost(self, _error: Exception | None) -> None:
        """Note that the peer has gone."""
        self._backend.forsake(self._session)
        for future in (self._more, self._room):
            if future is not None:
                _wake(future)

    def close(self) -> None:
        """Break the connection."""
        self._transport.abort()

    # -- the conversation ---------------------------------------------------------

    async def _serve(self) -> None:
        try:
            await self._converse()
            self._send()
        except OutcomeUnknown:
            self._send()
        except Exception as error:  # noqa: BLE001  # told, and contained: it ends this connection
            self._fault(error)
        finally:
            self._transport.close()
            await self._backend.close(self._session)

    async def _converse(self) -> None:
        """Carry out what the peer asks until it ends."""
        session, done = self._session, 0
        while not session.gone:
            request = self._next()
            if request is None:
                self._send()
                if self._ended:
                    return
                await self._hear()
                continue
            kind = request.__class__
            if kind is Quit:
                return
            if kind is Put or kind is Delete:
                reply = await self._together(request)
            else:
                if kind in _WAITING:
                    self._send()
                reply = self._backend.execute(session, request)  # type: ignore[assignment]
                if reply.__class__ is not bytes:
                    reply = await self._answer(request, reply)  # type: ignore[arg-type]
            self._unsent.append(reply)
            self._size += len(reply)
            if self._size > _MOST_UNSENT:
                self._send()
            if self._room is not None:
                await self._room
            done += 1
            if not done % _TURN:
                await asyncio.sleep(0)

    def _next(self) -> Request | None:
        if self._behind is None:
            return self._stream.next()
        request, self._behind = self._behind, None
        return request

    async def _hear(self) -> None:
        """Wait until the peer has sent more, or ended."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self._more = self._loop.create_future()
        try:
            await self._more
        finally:
            self._more = None

    def _send(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
            self._size = 0

    async def _together(self, first: Request) -> bytes:
        """Carry out a put or a delete and those of its kind that have come behind it."""
        kind, group, size = first.__class__, [first], 0
        while len(group) < _MOST_TOGETHER and size < _SHARE:
            request = self._stream.next()
            if request.__class__ is not kind:
                self._behind = request
                break
            assert request is not None
            group.append(request)
            size += len(request.body) if isinstance(request, Put) else 0
        if kind is Put:
            puts: list[Put] = group  # type: ignore[assignment]
            return await self._answer(first, self._backend.put_all(self._session, puts), len(puts))
        if len(group) == 1:
            return await self._delete(first)
        return b"".join(await asyncio.gather(*map(self._delete, group)))

    async def _delete(self, request: Request) -> bytes:
        reply = self._backend.execute(self._session, request)
        assert not isinstance(reply, bytes)
        return await self._answer(request, reply)

    async def _answer(
        self, request: Request, reply: Coroutine[Any, Any, bytes] | Awaitable[bytes], count: int = 1
    ) -> bytes:
        """Await a reply, or say in the protocol's words why there is none."""
        try:
            return await reply
        except OutcomeUnknown:
            raise
        except OutOfRoom:
            return replies.OUT_OF_MEMORY * count
        except Unavailable:
            refused = replies.DRAINING if isinstance(request, _PUTS) else replies.INTERNAL_ERROR
            return refused * count
        except StoreError as error:
            self._fault(error)
            return replies.INTERNAL_ERROR * count


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
