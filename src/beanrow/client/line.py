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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from beanrow.client.connection import UNKNOWN_LIMIT
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
from beanrow.protocol.commands import Command
from beanrow.protocol.replies import ReplyStream
from beanrow.protocol.values import MAX_UINT32

if TYPE_CHECKING:
    from beanrow.client.trace import Trace

__all__ = ["Line", "Owner"]

T = TypeVar("T")

_CHUNK = 65536
"""Bytes read at a time. The loop's own 256 KiB would map and unmap memory for each reply."""


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
    until it was asked.
    """

    __slots__ = (
        "_alarm", "_alarm_at", "_alone", "_buffer", "_end", "_limit", "_loop", "_out",
        "_pending", "_retired", "_stream", "_tell", "_timeout", "_trace", "_transport",
        "closed", "jobs", "most_body", "owner", "peer", "used", "watched",
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
        self.owner = owner
        self._trace = trace
        self._tell: Callable[[Command[Any], bool], BeanstalkError] = self._closed_error
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(_CHUNK))
        self._stream = ReplyStream()
        self._pending: deque[tuple[Command[Any], asyncio.Future[Any] | None, float]] = deque()
        self._out: list[bytes] = []  # of the youngest in _pending, one each
        self._alone = True
        self._end = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._limit: asyncio.Future[int] | None = None
        self.peer = peer
        self.used = DEFAULT_TUBE
        self.watched: tuple[str, ...] = (DEFAULT_TUBE,)
        self.jobs: set[int] = set()
        self.most_body = UNKNOWN_LIMIT
        self._retired = False
        self.closed = False

    # -- speaking -----------------------------------------------------------------

    def submit(self, command: Command[T], wait: float = 0.0) -> asyncio.Future[T]:
        """Send a command at the end of this turn of the loop; its answer comes as a future.

        ``wait`` is how long in seconds the command itself lets the server take; the
        timeout comes on top. Await the future at once: it may hold an error.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._say(command, future, wait)
        return future

    def choose(self, tube: str) -> None:
        """Have the server use this tube for what is submitted next."""
        self.used = tube
        self._say(commands.use(tube), None, 0.0)

    def align(self, state: State) -> None:
        """Have the server watch what the client watches for what is submitted next."""
        if self.watched is not state.watched:
            for command in state.changes(self.watched):
                self._say(command, None, 0.0)
            self.watched = state.watched

    def limit(self) -> asyncio.Future[int]:
        """Ask for the largest body that the server takes; all who ask share one answer."""
        if self._limit is None:
            self._limit = self.submit(Command(commands.stats().request, _read_limit))
            self._limit.add_done_callback(asyncio.Future.exception)  # perhaps nobody waits for it
        return self._limit

    def _say(self, command: Command[Any], future: asyncio.Future[Any] | None, wait: float) -> None:
        """Put a command in line; one without a future must not be refused."""
        if self.closed:
            if future is not None:
                future.set_exception(self._tell(command, False))
            return
        out, pending = self._out, self._pending
        if not out:
            self._end = self._loop.time() + self._timeout
        out.append(command.request)
        end = self._end + wait
        pending.append((command, future, end))
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
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
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
        if self._retired:
            self._end_if_idle()

    def _answer_at_once(self, data: bytes) -> bool:
        """Take data for the one reply that is due, if it is that: no need to cut it out."""
        if len(self._pending) != 1 or not self._stream.idle or self._trace is not None:
            return False
        command, future, _ = self._pending[0]
        try:
            value = command.read(command.request, data)
        except (BeanstalkError, ValueError):
            return False  # a refusal, or not the whole of it
        self._pending.popleft()
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
                command, future, _ = pending.popleft()
                try:
                    value = command.answer(reply)
                except BeanstalkError as error:
                    self._refused(command, future, error)
                else:
                    if future is not None and not future.done():
                        future.set_result(value)
        except ValueError:  # the bytes cannot begin a reply
            if pending:
                command, future, _ = pending.popleft()
                self._refused(command, future, BadReplyError(str(command), data))
            else:
                self._break(f"it said {data[:80]!r} unasked")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits that the connection is gone."""
        self._break(str(exc) if exc is not None else "the server closed it")

    def _refused(
        self,
        command: Command[Any],
        future: asyncio.Future[Any] | None,
        error: BeanstalkError,
    ) -> None:
        if future is not None and not future.done():
            future.set_exception(error)
        if isinstance(error, BadReplyError):
            self._break(str(error))
        elif future is None or command.name == "use":
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
        end = self._pending[0][2]
        if end > self._loop.time():
            self._wake_at(end)
        else:
            self._break(f"no answer in time (timeout {self._timeout:g} s)", CommandTimeoutError)

    # -- ending -------------------------------------------------------------------

    def end(self, farewell: Command[None] | None = None) -> None:
        """Close the connection on purpose; whoever waits gets ClientClosedError.

        The server puts the jobs held by it back.
        """
        if farewell is not None and not self.closed:
            self._out.append(farewell.request)
        if not self._pending or farewell is not None:
            self._flush()
        self._close(self._closed_error)

    def abandon(self) -> None:
        """Let go of it in a forked process, where its transport is the parent's."""
        self.closed = True
        self._pending.clear()
        self._out.clear()

    def retire(self) -> None:
        """Close the connection on purpose once all that was said is answered."""
        self._retired = True
        self._loop.call_soon(self._end_if_idle)  # not under whoever is reading a reply

    def _end_if_idle(self) -> None:
        if not self._pending:
            self.end()

    def _break(self, reason: str, kind: type[ConnectionLostError] = ConnectionLostError) -> None:
        """Close a connection that is of no use any more, and tell its owner."""
        if self.closed:
            return

        def lost(command: Command[Any], sent: bool) -> ConnectionLostError:
            told = "the server may have carried it out" if sent else "it was not sent"
            return kind(
                f"the connection to {self.peer} broke under {str(command)!r}: {reason}; {told}",
                "unknown" if sent else "never-sent",
            )

        # The owner first: its hooks are to be called before anyone is told here.
        self._close(lost, self.owner.lost)

    def _closed_error(self, command: Command[Any], sent: bool) -> ClientClosedError:
        told = "; the server may have carried it out" if sent else "; it was not sent"
        return ClientClosedError(
            f"the connection to {self.peer} was closed under {str(command)!r}{told}"
        )

    def _close(
        self,
        tell: Callable[[Command[Any], bool], BeanstalkError],
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
        for place, (command, future, _) in enumerate(pending):
            if future is not None and not future.done():
                future.set_exception(tell(command, place < sent))


def _read_limit(_: bytes, reply: bytes) -> int:
    try:
        stats = commands.stats().answer(reply)
    except (CommandError, StatsParsingError):
        return MAX_UINT32  # it does not tell: then its JOB_TOO_BIG will
    return getattr(stats, "max_job_size", MAX_UINT32)
