"""One connection of the async client: many commands on their way at once.

Laws:
- The replies come in the order of the commands: each goes to the oldest command that
  waits. A caller who gave up keeps its place in line, and its reply is read and dropped.
- What was said within one turn of the loop is one write.
- A command has a deadline, and one timer watches the oldest. Past it the line is
  closed: which replies are still to come is known to nobody any more.
- A line whose server said anything unexpected is closed, never resumed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from beanrow.client.connection import UNKNOWN_LIMIT
from beanrow.client.offered import ASKED
from beanrow.client.state import DEFAULT_TUBE, State
from beanrow.client.wire import prepare
from beanrow.errors import (
    BadReplyError,
    BeanstalkError,
    ClientClosedError,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, Reader, written
from beanrow.protocol.replies import ReplyStream, split_lines
from beanrow.protocol.values import MAX_UINT32

if TYPE_CHECKING:
    from beanrow.client.trace import Trace

__all__ = ["Line", "Owner"]

T = TypeVar("T")

_CHUNK = 65536
"""Bytes read at a time. The loop's own 256 KiB would map and unmap memory for each reply."""
_FAREWELL = 0.25
"""Seconds for the end of a TLS connection, whose peer may not say farewell at all."""


_Said: TypeAlias = tuple[bytes, Reader[Any], asyncio.Future[Any] | None, float]
"""A command on its way: its request, how its reply is read, who waits for it, until when."""


class Owner(Protocol):
    """Whoever opened a line."""

    def lost(self, line: Line) -> None:
        """Hear that the connection is gone, other than by ``end``."""

    def let_go(self, line: Line, job_id: int) -> None:
        """Hear that the line no longer holds a job."""


class Line(asyncio.BufferedProtocol):
    """A connection and the commands on their way over it.

    ``used`` and ``watched`` are the tubes that the server has this line use and watch once
    it has read all that was said so far; ``jobs`` the ids of the reserved jobs that it
    holds; ``most_body`` the largest body in bytes that the server takes, UNKNOWN_LIMIT
    until it was asked; ``words`` those of extensions that it knows, None until it was asked;
    ``token`` that of its session, empty if it has none: one that broke with it may have an
    ``heir``, which goes on with it and with the ``handed`` jobs.
    """

    __slots__ = (
        "_alarm", "_alarm_at", "_alone", "_buffer", "_end", "_gone", "_limit", "_loop", "_out",
        "_pending", "_stream", "_tell", "_timeout", "_trace", "_transport",
        "closed", "handed", "heir", "jobs", "most_body", "owner", "peer", "token", "used", "watched", "words",
    )  # fmt: skip

    def __init__(
        self,
        peer: str,
        timeout: float,
        owner: Owner,
        trace: Trace | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self.owner: Owner = owner
        self._trace = trace
        self._tell: Callable[[bytes, bool], BeanstalkError] = self._closed_error
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(_CHUNK))
        self._stream = ReplyStream()
        self._pending: deque[_Said] = deque()
        self._out: list[bytes] = []  # of the youngest in _pending, one each
        self._alone = True
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._end = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._limit: asyncio.Future[int] | None = None
        self.peer: str = peer
        self.used: str = DEFAULT_TUBE
        self.watched: tuple[str, ...] = (DEFAULT_TUBE,)
        self.jobs: set[int] = set()
        self.most_body: int = UNKNOWN_LIMIT
        self.words: frozenset[str] | None = None
        self.token: str = ""
        self.heir: Line | None = None
        self.handed: frozenset[int] = frozenset()
        self.closed: bool = False

    @property
    def silent(self) -> bool:
        """Whether all that was said is answered."""
        return not self._pending

    # -- speaking -----------------------------------------------------------------

    def submit(self, command: Command[T], wait: float = 0.0) -> asyncio.Future[T]:
        """Send a command at the end of this turn of the loop; its answer comes as a future.

        ``wait`` is how long in seconds the command itself lets the server take; the
        timeout comes on top. Await the future at once: it may hold an error.
        """
        return self.submit_request(command.request, command.read, wait)

    def submit_request(
        self, request: bytes, read: Reader[T], wait: float = 0.0
    ) -> asyncio.Future[T]:
        """Submit a command that is given as its request and how its reply is read."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._say(request, read, future, wait)
        return future

    def choose(self, tube: str) -> None:
        """Have the server use this tube for what is submitted next."""
        self.used = tube
        use = commands.use(tube)
        self._say(use.request, use.read, None, 0.0)

    def align(self, state: State) -> None:
        """Have the server watch what the client watches for what is submitted next.

        And ask it what the client asks for.
        """
        if self.watched is not state.watched:
            for command in state.changes(self.watched):
                self._say(command.request, command.read, None, 0.0)
            if state.asks and self.words is None:
                self._say(ASKED.request, self._hear_words, None, 0.0)
            self.watched = state.watched

    def _hear_words(self, request: bytes, reply: bytes) -> None:
        self.words = ASKED.read(request, reply)

    def limit(self) -> asyncio.Future[int]:
        """Ask for the largest body that the server takes; all who ask share one answer."""
        if self._limit is None:
            self._limit = self.submit_request(commands.stats().request, _read_limit)
            self._limit.add_done_callback(asyncio.Future.exception)  # perhaps nobody waits for it
        return self._limit

    def _say(
        self,
        request: bytes,
        read: Reader[Any],
        future: asyncio.Future[Any] | None,
        wait: float,
    ) -> None:
        """Put a command in line; one without a future must not be refused."""
        if self.closed:
            if future is not None:
                future.set_exception(self._tell(request, False))
            return
        out, pending = self._out, self._pending
        if not out:
            self._end = self._loop.time() + self._timeout
        out.append(request)
        end = self._end + wait
        pending.append((request, read, future, end))
        if end < self._alarm_at:
            self._wake_at(end)
        if self._alone and future is not None and len(pending) == len(out):
            self._flush()  # nothing is on its way: a single caller saves a turn of the loop
        elif len(out) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        out = self._out
        if not out:
            return
        assert self._transport is not None
        if self._trace is not None:
            for request in out:
                self._trace.said(request)
        self._alone = len(out) == 1
        self._transport.write(out[0] if self._alone else b"".join(out))
        out.clear()

    # -- hearing ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection that was made."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        sock = transport.get_extra_info("socket")
        if sock is not None:
            prepare(sock)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Tell the loop where to put what it reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand out the replies that are whole by now."""
        data = bytes(self._buffer[:nbytes])
        if not self._answer_at_once(data):
            self._stream.feed(data)
            self._answer_in_turn(data)

    def _answer_at_once(self, data: bytes) -> bool:
        """Take data for whole replies that are due, if it is that: no need to cut them out."""
        pending = self._pending
        if not self._stream.idle or self._trace is not None:
            return False
        if len(pending) == 1:
            lines = [data]
        else:
            lines = split_lines(data) or []
            if not lines or len(lines) > len(pending):
                return False
        for place, line in enumerate(lines):
            request, read, future, _ = pending[0]
            try:
                value = read(request, line)
            except (BeanstalkError, ValueError):  # a refusal, or not the whole of a reply
                if place == 0:
                    return False
                self._stream.feed(b"".join(lines[place:]))
                self._answer_in_turn(data)
                return True
            pending.popleft()
            if future is not None and not future.done():
                future.set_result(value)
        return True

    def _answer_in_turn(self, data: bytes) -> None:
        """Give each whole reply to the oldest command."""
        pending = self._pending
        try:
            while (reply := self._stream.next()) is not None and not self.closed:
                if self._trace is not None:
                    self._trace.heard(reply)
                if not pending:
                    self._break(f"it said {reply[:80]!r} unasked")
                    return
                request, read, future, _ = pending.popleft()
                try:
                    value = Command(request, read).answer(reply)
                except BeanstalkError as error:
                    self._refused(request, future, error)
                else:
                    if future is not None and not future.done():
                        future.set_result(value)
        except ValueError:  # the bytes cannot begin a reply
            if pending:
                request, _, future, _ = pending.popleft()
                self._refused(request, future, BadReplyError(written(request), data))
            else:
                self._break(f"it said {data[:80]!r} unasked")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits that the connection is gone."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._break(str(exc) if exc is not None else "the server closed it")

    def _refused(
        self, request: bytes, future: asyncio.Future[Any] | None, error: BeanstalkError
    ) -> None:
        if future is not None and not future.done():
            future.set_exception(error)
        if isinstance(error, BadReplyError):
            self._break(str(error))
        elif future is None or request.startswith(b"use "):
            # What was sent behind it relied on it: its reply means another tube.
            self._break(str(error))

    # -- deadlines ----------------------------------------------------------------

    def _wake_at(self, end: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = end
        self._alarm = self._loop.call_at(end, self._ring)

    def _ring(self) -> None:
        """Look at the oldest command; the alarm is not moved for each that was answered."""
        self._alarm, self._alarm_at = None, inf
        if not self._pending:
            return
        end = self._pending[0][3]
        if end > self._loop.time():
            self._wake_at(end)
        else:
            self._break(f"no answer in time (timeout {self._timeout:g} s)", CommandTimeoutError)

    # -- ending -------------------------------------------------------------------

    def end(self, farewell: Command[None] | None = None) -> None:
        """Close the connection on purpose; whoever waits gets ClientClosedError.

        The server puts the jobs held by it back; those of a session because it says so.
        """
        if self.token:
            farewell, self.token = farewell or commands.quit(), ""
        if farewell is not None and not self.closed:
            self._out.append(farewell.request)
        if not self._pending or farewell is not None:
            self._flush()
        self._close(self._closed_error)

    async def left(self) -> None:
        """Wait until the socket is closed: TLS says farewell first, for a moment."""
        if self._transport is not None:
            await asyncio.wait({self._gone}, timeout=_FAREWELL)
            self._transport.abort()

    def abandon(self) -> None:
        """Let go of it in a forked process, where its transport is the parent's."""
        self.closed = True
        self._pending.clear()
        self._out.clear()

    def _break(self, reason: str, kind: type[ConnectionLostError] = ConnectionLostError) -> None:
        """Close a connection that is of no use any more, and tell its owner."""
        if self.closed:
            return

        def lost(request: bytes, sent: bool) -> ConnectionLostError:
            told = "the server may have carried it out" if sent else "it was not sent"
            return kind(
                f"the connection to {self.peer} broke under {written(request)!r}: {reason}; {told}",
                "unknown" if sent else "never-sent",
            )

        # The owner first: its hooks are to be called before anyone is told here.
        self._close(lost, self.owner.lost)

    def _closed_error(self, request: bytes, sent: bool) -> ClientClosedError:
        told = "; the server may have carried it out" if sent else "; it was not sent"
        return ClientClosedError(
            f"the connection to {self.peer} was closed under {written(request)!r}{told}",
            "unknown" if sent else "never-sent",
        )

    def _close(
        self,
        tell: Callable[[bytes, bool], BeanstalkError],
        on_closed: Callable[[Line], object] | None = None,
    ) -> None:
        if self.closed:
            return
        self.closed = True
        self._tell = tell
        if self._alarm is not None:
            self._alarm.cancel()
        pending, sent = list(self._pending), len(self._pending) - len(self._out)
        self._pending.clear()
        self._out.clear()
        if self._transport is None:
            pass  # never connected
        elif pending:
            self._transport.abort()
        else:
            self._transport.close()
        if on_closed is not None:
            on_closed(self)
        for place, (request, _, future, _) in enumerate(pending):
            if future is not None and not future.done():
                future.set_exception(tell(request, place < sent))


def _read_limit(_: bytes, reply: bytes) -> int:
    try:
        stats = commands.stats().answer(reply)
    except (CommandError, StatsParsingError):
        return MAX_UINT32  # it does not tell: then its JOB_TOO_BIG will
    return getattr(stats, "max_job_size", MAX_UINT32)
