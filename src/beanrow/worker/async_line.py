"""The connection of one slot in an asyncio loop.

Laws:
- As for ``Line``; but the keeper's thread may say something at any time, also while the loop
  is blocked. Whoever speaks holds the lock for the write and for its place in line; the
  loop alone reads, and the answers come in the order of the commands.
- The socket is written to at once rather than at the end of the loop's turn: what is said
  fits into its buffer, and a job ends with nothing more to wait for.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from beanrow.client.wire import Wire
from beanrow.errors import (
    BadReplyError,
    BeanstalkError,
    BeanstalkSignal,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    StatsParsingError,
)
from beanrow.protocol.commands import Command, read_reserve
from beanrow.protocol.replies import DELETED, ReplyStream
from beanrow.worker.line import BOTH_REPLIES, RESERVE, least_to_come

__all__ = ["AsyncLine"]

T = TypeVar("T")
Hear = Callable[[Any], object]
"""Called in the loop with the answer, or with its error."""

_CHUNK = 65536
_DELETED_BYTES = len(DELETED)
_ANSWERS = (CommandError, BeanstalkSignal, StatsParsingError)


class AsyncLine:
    """A connection of a slot; ``watched``, ``refused`` and ``stopping`` as for ``Line``.

    ``on_lost(error)`` is called once, in the loop, when it broke. ``end`` is when the oldest
    answer is due, in the loop's time.
    """

    __slots__ = (
        "_expected", "_lock", "_loop", "_on_lost", "_stream", "_timeout", "_unsent", "_wire",
        "closed", "end", "half_closed", "heard_at", "peer", "refused", "said_at", "stopping", "waiting",
        "watched",
    )  # fmt: skip

    def __init__(
        self, wire: Wire, peer: str, timeout: float, on_lost: Callable[[BeanstalkError], object]
    ) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._expected: deque[tuple[Command[Any], Hear]] = deque()
        self._stream = ReplyStream()
        self._unsent = b""
        self.peer: str = peer
        self.watched: tuple[str, ...] = ("default",)
        self.refused: BeanstalkError | None = None
        self.stopping: bool = False
        self.half_closed: bool = False
        self.waiting: bool = False
        self.closed: bool = False
        self.said_at: float = self._loop.time()
        self.heard_at: float = self._loop.time()
        self.end: float = self._loop.time()
        wire.make_nonblocking()
        self._loop.add_reader(wire.fileno(), self._readable)

    # -- speaking -----------------------------------------------------------------

    def say(self, *said: tuple[Command[Any], Hear], short: bool = True) -> None:
        """Say commands in one write; each answer is heard in the loop. From any thread.

        ``short``: their replies may be shorter than the two that a job's end brings.
        ConnectionLostError if the line is closed already.
        """
        data = b"".join([command.request for command, _ in said])
        with self._lock:
            if self.closed:
                raise ConnectionLostError(f"the connection to {self.peer} was closed", "never-sent")
            self._expected.extend(said)
            if short:
                self._wire.wake_from(least_to_come(len(self._expected), self._stream))
            self.said_at = self._loop.time()
            self.end = self.said_at + self._timeout + said[-1][0].wait
            try:
                sent = 0 if self._unsent else self._wire.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return  # the loop reads the end, and tells everybody
            if sent < len(data):
                self._unsent += data[sent:]
                self._loop.call_soon_threadsafe(self._send_rest)

    def reserve(self, finish: Command[Any] | None, hear: Hear) -> None:
        """Say what ends the last job, and reserve the next."""
        self.waiting = True
        if finish is None:
            self.say((RESERVE, hear))
        else:
            self.say((finish, self._finished), (RESERVE, hear), short=False)

    def _finished(self, told: Any) -> None:
        self.refused = told if isinstance(told, BeanstalkError) else None

    async def ask(self, command: Command[T]) -> T:
        """Say a command and give its answer, or raise its error."""
        (told,) = await self.exchange([command])
        if isinstance(told, BeanstalkError):
            raise told
        return told  # type: ignore[no-any-return]  # the answer of this very command

    async def exchange(self, said: list[Command[Any]]) -> list[Any]:
        """Say a few commands in one write; gives an answer or an error for each."""
        heard: list[Any] = []
        done = self._loop.create_future()

        def hear(told: Any) -> None:
            heard.append(told)
            if len(heard) == len(said) and not done.done():
                done.set_result(None)

        if said[-1].wait:
            self.waiting = True
        self.say(*((command, hear) for command in said))
        if self.waiting and self.stopping:
            self.half_close()
        await done
        return heard

    def _send_rest(self) -> None:
        with self._lock:
            if self.closed:
                return
            try:
                self._unsent = self._unsent[self._wire.send(self._unsent) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._unsent = b""
            if self._unsent:
                self._loop.add_writer(self._wire.fileno(), self._send_rest)
            else:
                self._loop.remove_writer(self._wire.fileno())

    # -- hearing ------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._wire.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._break(f"it broke: {error}")
            return
        if not data:
            self._break("the server closed it")
            return
        self.heard_at = self._loop.time()
        expected, stream = self._expected, self._stream
        if data[:_DELETED_BYTES] == DELETED and len(expected) == 2 and stream.idle:
            try:
                job = read_reserve(RESERVE.request, data[_DELETED_BYTES:])
            except (BeanstalkError, ValueError):
                pass  # not whole, or not this: the long way tells
            else:
                (_, finished), (_, hear) = expected
                expected.clear()
                self.waiting = False
                finished(None)
                hear(job)
                return
        stream.feed(data)
        try:
            while not self.closed and (reply := stream.next()) is not None:
                self._answer(reply)
        except (ValueError, IndexError, BadReplyError):
            self._break(f"it said what is no answer: {data[:80]!r}")
        with self._lock:
            if self._expected and not self.closed:
                self._wire.wake_from(least_to_come(len(self._expected), stream))

    def _answer(self, reply: bytes) -> None:
        """Give one reply to the oldest command."""
        with self._lock:
            command, hear = self._expected.popleft()
            idle = not self._expected
            if idle:
                self._wire.wake_from(BOTH_REPLIES)
        if command.wait:
            self.waiting = not idle and self._expected[-1][0].wait > 0
        try:
            told: Any = command.answer(reply)
        except _ANSWERS as error:
            told = error
        hear(told)

    def check(self, now: float) -> None:
        """Break the line if an answer is overdue; called once a second."""
        if self._expected and now > self.end:
            self._break(f"no answer in time (timeout {self._timeout:g} s)", CommandTimeoutError)

    # -- ending -------------------------------------------------------------------

    def stop(self) -> None:
        """Have the line take no more jobs; one that runs may still end."""
        self.stopping = True
        if self.waiting:
            self.half_close()

    def half_close(self) -> None:
        """End a waiting reserve; the server is told nothing more over this line."""
        self.half_closed = True
        self._wire.half_close()

    def close(self) -> None:
        """Close the connection; the server puts its job back."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._loop.remove_reader(self._wire.fileno())
            self._loop.remove_writer(self._wire.fileno())
            self._wire.close()

    def _break(self, why: str, kind: type[ConnectionLostError] = ConnectionLostError) -> None:
        """Close a line that is of no use any more, and tell everybody who waits."""
        if self.closed:
            return
        self.close()
        expected, self._expected = list(self._expected), deque()
        error = kind(f"the connection to {self.peer} was lost: {why}")
        for _, hear in expected:
            hear(error)
        self._on_lost(error)
