"""One connection to an engine, on which calls follow each other without waiting for replies.

Laws:
- All calls of a turn of the loop leave in one write; replies come in the order of the calls.
- On a lane that waits for replicas, one write is under way at a time and ends with WAIT: no reply
  is given before enough of them have what it promises.
- When it breaks, every call is accounted for: unsent, or unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from hiredis import Reader, ReplyError, pack_command

from beanrow.cluster.store import OutcomeUnknown

__all__ = ["Call", "Lane", "Word", "pack"]

_WAIT_MILLISECONDS = 2000

Word: TypeAlias = bytes | str | int


def pack(*words: Word) -> bytes:
    """Write a command."""
    return pack_command(words)  # type: ignore[arg-type, no-any-return]  # its stub means one word


class Call:
    """A command on its way. ``partition`` is -1 for one that is meant for this very node.

    ``repeatable`` tells that twice does no harm, ``until`` how long it may look for a node once
    it has lost its way.
    """

    __slots__ = ("durable", "future", "packed", "partition", "repeatable", "until")

    def __init__(
        self,
        packed: bytes,
        future: asyncio.Future[Any],
        partition: int = -1,
        *,
        durable: bool = False,
        repeatable: bool = False,
    ) -> None:
        self.packed: bytes = packed
        self.future: asyncio.Future[Any] = future
        self.partition: int = partition
        self.durable: bool = durable
        self.repeatable: bool = repeatable
        self.until: float = 0.0

    def fail(self, error: Exception) -> None:
        """End with an error, unless whoever asked has gone."""
        if not self.future.done():
            self.future.set_exception(error)


class Lane(asyncio.Protocol):
    """Sends calls; ``refused`` hears of each that is answered by an error.

    ``lost`` hears of the end, with the calls that were unsent and unanswered then.
    ``replicas`` are to have what a call has written before it is answered.
    """

    def __init__(
        self,
        refused: Callable[[Call, ReplyError], None],
        lost: Callable[[Lane, list[Call], list[Call]], None],
        replicas: int = 0,
    ) -> None:
        self._refused = refused
        self._lost = lost
        self._replicas = replicas
        self._wait = b"*3\r\n$4\r\nWAIT\r\n$1\r\n%d\r\n$4\r\n%d\r\n" % (
            replicas,
            _WAIT_MILLISECONDS,
        )
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(notEnoughData=Ellipsis)
        self._transport: asyncio.WriteTransport | None = None
        self._unsent: list[Call] = []
        self._unanswered: deque[Call | None] = deque()  # None: the reply to a WAIT
        self._kept: list[tuple[Call, Any]] = []  # answered, but not yet known to replicas
        self._flushing = False
        self._heard = 0.0  # when the last reply came, or the first call went out after a rest
        self.is_open: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by its class
        self.is_open = True

    def send(self, call: Call) -> None:
        """Send a call with those of this turn."""
        self._unsent.append(call)
        if not self._flushing and not (self._replicas and self._unanswered):
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._unsent or self._transport is None:
            return
        calls, self._unsent = self._unsent, []
        data: list[bytes] = []
        if not self._unanswered:
            self._heard = self._loop.time()
        for call in calls:
            data.append(call.packed)
            self._unanswered.append(call)
        if self._replicas:
            data.append(self._wait)
            self._unanswered.append(None)
        self._transport.write(b"".join(data))

    def data_received(self, data: bytes) -> None:
        """Give out the replies that have come."""
        reader, unanswered = self._reader, self._unanswered
        self._heard = self._loop.time()
        reader.feed(data)
        while (reply := reader.gets()) is not Ellipsis:
            call = unanswered.popleft()
            if call is None:
                self._give_out(reply if reply.__class__ is int else 0)
            elif reply.__class__ is ReplyError:
                self._refused(call, reply)
            elif self._replicas:
                self._kept.append((call, reply))
            elif not call.future.done():
                call.future.set_result(reply)

    def _give_out(self, replicas: int) -> None:
        """Answer what has been kept, now that it is known how many replicas have it."""
        kept, self._kept = self._kept, []
        for call, reply in kept:
            if replicas < self._replicas:
                call.fail(OutcomeUnknown(f"{replicas} of {self._replicas} replicas have it"))
            elif not call.future.done():
                call.future.set_result(reply)
        self._flush()

    def is_stuck(self, seconds: float) -> bool:
        """Tell whether replies have been wanting for so long."""
        return bool(self._unanswered) and self._loop.time() - self._heard > seconds

    def close(self) -> None:
        """Break the connection; ``lost`` hears of it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Account for all calls."""
        self.is_open = False
        unanswered = [call for call, _reply in self._kept]
        unanswered += [call for call in self._unanswered if call is not None]
        unsent, self._unsent = self._unsent, []
        self._kept.clear()
        self._unanswered.clear()
        self._lost(self, unsent, unanswered)
