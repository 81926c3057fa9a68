"""One node of the store: its lanes, and the connection on which it tells who is to wake.

Laws:
- A node is whole or gone: when one of its connections breaks all are closed, and whoever needs
  the node connects anew.
- A node is used only after it was seen to have our functions.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from hiredis import Reader, ReplyError

from beanrow.cluster.address import Place, StoreAddress
from beanrow.cluster.lane import Call, Lane, Word, pack
from beanrow.cluster.library import Library
from beanrow.cluster.store import Unavailable

__all__ = ["Handlers", "Node", "ask_once"]

_DURABLE_LANES = 3
"""While one waits for replicas the others take what comes."""
_CONNECT_SECONDS = 1.0
_SILENT_SECONDS = 1.0
"""Without a reply: then others are asked who has its place. A WAIT for a replica that is gone may take
longer, and they say that this node has."""
_STUCK_SECONDS = 3.0
"""Without a reply: longer than WAIT takes at most, shorter than a call may be held."""


class Handlers(NamedTuple):
    """Who hears what a node tells: of calls that it refuses, of its end, of messages."""

    refused: Callable[[Call, ReplyError], None]
    lost: Callable[[Node, list[Call], list[Call]], None]
    message: Callable[[bytes, bytes], None]


class Node:
    """A node at ``place``. ``connect`` before anything is sent to it."""

    def __init__(
        self, place: Place, address: StoreAddress, library: Library, handlers: Handlers
    ) -> None:
        self.place = place
        self._address = address
        self._library = library
        self._handlers = handlers
        self._fast: Lane | None = None
        self._durable: list[Lane] = []
        self._ear: _Ear | None = None
        self.is_ready: bool = False

    async def connect(self) -> None:
        """Open the lanes and see to the functions; Unavailable tells why it cannot be done."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._fast = await self._open(0)
                await self._check()
                if self._address.ack:
                    for _ in range(_DURABLE_LANES):
                        self._durable.append(await self._open(self._address.ack))
                self._ear = _Ear(self._handlers.message, self._ear_lost)
                await self._connect(self._ear)
                self._ear.send(greeting_of(self._address))
        except (OSError, TimeoutError, ReplyError) as error:
            self.close()
            problem = str(error) or "it does not answer"
            raise Unavailable(f"{self.place}: {problem}") from error
        except BaseException:
            self.close()
            raise
        self.is_ready = True

    async def _check(self) -> None:
        """See that it is a master with our functions; load them if they are not there."""
        role = await self.ask("ROLE")
        if role[0] != b"master":
            raise Unavailable(f"{self.place} is a {role[0].decode()}")
        if not await self.ask("FUNCTION", "LIST", "LIBRARYNAME", self._library.name):
            try:
                await self.ask("FUNCTION", "LOAD", self._library.text)
            except ReplyError as error:
                if "already exists" not in str(error):  # another gateway was faster
                    raise

    async def _open(self, replicas: int) -> Lane:
        lane = Lane(self._refused, self._lane_lost, replicas)
        await self._connect(lane)
        try:
            for greeting in greeting_of(self._address):
                call = Call(greeting, asyncio.get_running_loop().create_future())
                lane.send(call)
                await call.future
        except BaseException:
            lane.close()
            raise
        return lane

    async def _connect(self, protocol: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, *self.place, ssl=tls_of(self._address))

    def send(self, call: Call) -> None:
        """Send a call."""
        if call.durable and self._durable:
            self._durable[call.partition % _DURABLE_LANES].send(call)
        else:
            assert self._fast is not None, "connect() comes first"
            self._fast.send(call)

    async def ask(self, *words: Word) -> Any:
        """Send a command that is meant for this node; ReplyError if it is refused."""
        call = Call(pack(*words), asyncio.get_running_loop().create_future())
        assert self._fast is not None, "connect() comes first"
        self._fast.send(call)
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await call.future

    def listen(self, channels: Iterable[bytes]) -> None:
        """Hear what is said on these channels, too."""
        if self._ear is not None:
            self._ear.listen(channels)

    def _refused(self, call: Call, error: ReplyError) -> None:
        if call.partition < 0:
            call.fail(error)
        else:
            self._handlers.refused(call, error)

    @property
    def is_silent(self) -> bool:
        """Whether it has owed an answer for a while: somebody else may have its place by now."""
        return self._owes_for(_SILENT_SECONDS)

    def close_if_stuck(self) -> None:
        """Close it if it has not answered for long: it may be stopped, or cut off."""
        if self._owes_for(_STUCK_SECONDS):
            self.close()

    def _owes_for(self, seconds: float) -> bool:
        lanes = [lane for lane in (self._fast, *self._durable) if lane is not None]
        return any(lane.is_stuck(seconds) for lane in lanes)

    def close(self) -> None:
        """Break all connections."""
        self.is_ready = False
        for connection in (self._fast, *self._durable, self._ear):
            if connection is not None:
                connection.close()

    def _lane_lost(self, lane: Lane, unsent: list[Call], unanswered: list[Call]) -> None:
        self.close()
        for call in unsent + unanswered:
            if call.partition < 0:
                call.fail(ConnectionResetError("the connection was closed"))
        self._handlers.lost(
            self,
            [call for call in unsent if call.partition >= 0],
            [call for call in unanswered if call.partition >= 0],
        )

    def _ear_lost(self) -> None:
        self.close()
        self._handlers.lost(self, [], [])


def greeting_of(address: StoreAddress) -> list[bytes]:
    """Write what a connection begins with."""
    if address.password is None:
        return []
    user = [address.user] if address.user else []
    return [pack("AUTH", *user, address.password)]


def tls_of(address: StoreAddress) -> ssl.SSLContext | None:
    """Give what a connection is encrypted with; authorities are the system's, or SSL_CERT_FILE's."""
    return ssl.create_default_context() if address.tls else None


async def ask_once(place: Place, address: StoreAddress, *words: Word) -> Any:
    """Ask a node one thing on a connection of its own; ReplyError if it refuses."""
    async with asyncio.timeout(_CONNECT_SECONDS):
        incoming, outgoing = await asyncio.open_connection(*place, ssl=tls_of(address))
        try:
            greetings = greeting_of(address)
            outgoing.write(b"".join([*greetings, pack(*words)]))
            reader = Reader(notEnoughData=Ellipsis)
            for wanted in (*greetings, b""):
                while (reply := reader.gets()) is Ellipsis:
                    data = await incoming.read(1 << 16)
                    if not data:
                        raise ConnectionResetError("the connection was closed")
                    reader.feed(data)
                if isinstance(reply, ReplyError):
                    raise reply
                if not wanted:
                    return reply
        finally:
            outgoing.transport.abort()


class _Ear(asyncio.Protocol):
    """Hears messages on sharded channels. What a channel is refused is heard of as a loss."""

    def __init__(self, message: Callable[[bytes, bytes], None], lost: Callable[[], None]) -> None:
        self._message = message
        self._lost = lost
        self._reader = Reader()
        self._transport: asyncio.WriteTransport | None = None
        self._channels: set[bytes] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by its class

    def send(self, commands: list[bytes]) -> None:
        """Send commands."""
        assert self._transport is not None
        self._transport.write(b"".join(commands))

    def listen(self, channels: Iterable[bytes]) -> None:
        """Subscribe to those of the channels that are not yet."""
        new = [channel for channel in channels if channel not in self._channels]
        self._channels.update(new)
        self.send([pack(b"SSUBSCRIBE", channel) for channel in new])

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, ReplyError):
                self.close()  # the slot is elsewhere now: all is found out anew
            elif isinstance(reply, list) and reply[0] == b"smessage":
                self._message(reply[1], reply[2])
            elif isinstance(reply, list) and reply[0] == b"sunsubscribe":
                self._channels.discard(reply[1])

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost()
