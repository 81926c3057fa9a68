"""One connection, one conversation at a time: a command goes out, its reply comes in.

Laws:
- Half a conversation is never resumed. A connection is marked from before a command is
  sent until its whole reply is read, and nothing else is said over one that is marked: so
  not even Ctrl-C at the worst moment hands a reply to the wrong command.
- A deadline on every command. The wire wakes a read or a write after the timeout, and
  each that goes on is given only what is left of the command's time, so that a peer
  that drips does not pass.
- A command is one write. Two writes would wait for each other: the second for the
  peer's acknowledgement of the first, 40 ms.
- Nothing is said over a connection that has ended: one that was not used just now is
  looked at first. That a server went away is then known before a command is sent.
- Threads take turns (``turn.py``), a whole conversation each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.client.state import DEFAULT_TUBE, State
from beanrow.client.turn import Turn
from beanrow.client.wire import Wire
from beanrow.errors import (
    BadReplyError,
    BeanstalkError,
    BeanstalkSignal,
    ClientClosedError,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, Reader, written
from beanrow.protocol.replies import ReplyStream, split_lines

if TYPE_CHECKING:
    from beanrow.client.trace import Trace

__all__ = ["UNKNOWN_LIMIT", "Connection", "Heard", "StaleConnection"]

T = TypeVar("T")
Heard = bytes | BeanstalkError
"""A whole reply, still to be read; or why there is none."""

UNKNOWN_LIMIT = -1
"""Below every body's size, so that one comparison serves before and after it is known."""
_CHUNK = 65536
"""Bytes read at a time. Above 128 KiB the allocator maps and unmaps memory for each."""
_LONGEST_WAKE = 86_400.0
"""Seconds: a wait of 68 years is waited in pieces, since locks and sockets take less."""
_LOOK_EVERY = 0.01
"""Seconds. Looking costs a system call, a tenth of a command: a hundred a second are nothing."""
_NOT_LOOKED = -inf
_HALF = -1e300
"""In place of when to look again: half a conversation was held over this connection."""


class StaleConnection(ConnectionLostError):
    """The connection had ended before anything was said over it: use another one."""


_ANSWERS = (CommandError, BeanstalkSignal, StatsParsingError)
"""What a whole conversation may raise: a clear answer."""


class Connection:
    """A connected socket and the protocol spoken over it.

    ``used`` and ``watched`` are the tubes that the server has this connection use and
    watch. ``most_body`` is the largest body in bytes that the server takes,
    UNKNOWN_LIMIT until it was asked. ``words`` are those of extensions that it knows, None
    until it was asked. ``state`` knows the jobs that it holds. ``token`` is that of its session,
    empty if it has none: one that broke with it may have an ``heir``, which goes on with it and
    with the ``handed`` jobs.
    ``on_lost(connection)`` is called when it broke, not when it was ended.
    """

    __slots__ = (
        "__weakref__", "_clock", "_ended", "_free", "_looked_until", "_on_lost", "_pid", "_recv",
        "_send", "_timeout", "_trace", "_turn", "_unsent", "_waiting", "_wake", "_wire", "closed",
        "handed", "heir", "most_body", "peer", "state", "token", "used", "watched", "words",
    )  # fmt: skip

    def __init__(
        self,
        wire: Wire,
        peer: str,
        timeout: float,
        clock: Callable[[], float],
        state: State,
        on_lost: Callable[[Connection], object],
        trace: Trace | None = None,
    ) -> None:
        self._wire = wire
        self._send = wire.send
        self._recv = wire.recv
        self._timeout = timeout
        self._clock = clock
        self._on_lost = on_lost
        self._trace = trace
        self._turn = Turn()
        self._free = self._turn.free
        self._waiting = self._turn.waiting
        self._pid = os.getpid()
        self._looked_until = _NOT_LOOKED
        self._unsent = 0
        self._ended = False
        self.state: State = state
        self.peer: str = peer
        self.used: str = DEFAULT_TUBE
        self.watched: tuple[str, ...] = (DEFAULT_TUBE,)
        self.most_body: int = UNKNOWN_LIMIT
        self.words: frozenset[str] | None = None
        self.token: str = ""
        self.heir: Connection | None = None
        self.handed: frozenset[int] = frozenset()
        self.closed: bool = False
        self._wake = 0.0
        self._wake_after(timeout)

    # -- one command --------------------------------------------------------------

    def converse(self, request: bytes, read: Reader[T], wait: float = 0.0, replies: int = 1) -> T:
        """Send a command and give its answer, or raise its error.

        ``wait`` is how long in seconds the command itself lets the server take; the
        timeout comes on top. ``replies`` is how many come, where ``request`` is of
        several commands. StaleConnection if the connection had ended before.
        """
        try:
            del self._free[0]
        except IndexError:
            end = self._clock() + self._timeout
            return self.converse_until(request, read, end, wait, replies)
        try:
            begin, looked = self._clock(), self._looked_until
            sent, reply = 0, b""
            try:
                if begin < looked:
                    self._looked_until = _HALF
                    sent = self._send(request)
                    if sent == len(request):
                        reply = self._recv(_CHUNK)
                        value = read(request, reply)
                        self._looked_until = looked
                        return value
                else:
                    looked = self._look(begin)
            except _ANSWERS:
                self._looked_until = looked
                raise
            except StaleConnection:
                raise
            except (BadReplyError, ValueError, BlockingIOError, TimeoutError):
                pass  # the reply is not whole, or not there yet
            except OSError as error:
                raise self._broken(request, error, sent == len(request)) from error
            except BaseException:
                self._break()
                raise
            end = begin + self._timeout + wait
            return self._converse_on(request, read, sent, reply, end, looked, replies)
        finally:
            self._free.append(None)
            if self._waiting:
                self._turn.pass_on()

    def converse_until(
        self, request: bytes, read: Reader[T], end: float, wait: float = 0.0, replies: int = 1
    ) -> T:
        """Converse as ``converse`` does, but until ``end``, and ``wait`` seconds on top.

        What time is left is also how long another thread's conversation is waited for.
        """
        self._take_by(end, request)
        try:
            looked = self._look(self._clock())
            return self._converse_on(request, read, 0, b"", end + wait, looked, replies)
        finally:
            self._turn.give()

    def _converse_on(
        self,
        request: bytes,
        read: Reader[T],
        sent: int,
        reply: bytes,
        end: float,
        looked: float,
        replies: int = 1,
    ) -> T:
        """Go on with a conversation of more than one write and one read, or a traced one."""
        self._looked_until = _HALF
        try:
            if sent < len(request):
                if self._trace is not None:
                    self._trace.said(request)
                sent = self._send_rest(request, sent, end)
            stream = ReplyStream()
            stream.feed(reply)
            whole = self._next_reply(stream, request, end)
            for _ in range(replies - 1):
                whole += self._next_reply(stream, request, end)
            if not stream.idle:
                raise BadReplyError(written(request), whole + stream.rest)
            self._wake_after(self._timeout)
            value = Command(request, read).answer(whole)
        except _ANSWERS:
            self._looked_until = looked
            raise
        except OSError as error:
            raise self._broken(request, error, sent == len(request)) from error
        except BaseException:
            self._break()
            raise
        self._looked_until = looked
        return value

    # -- one command in two halves ------------------------------------------------

    def begin(self, request: bytes) -> None:
        """Send a command and keep the turn; ``finish`` or ``give_up`` must follow."""
        end = self._clock() + self._timeout
        self._take_by(end, request)
        try:
            self._look(self._clock())
            self._looked_until = _HALF
            if self._trace is not None:
                self._trace.said(request)
            self._send_rest(request, 0, end)
        except StaleConnection:
            self._turn.give()
            raise
        except OSError as error:
            broken = self._broken(request, error, False)
            self._turn.give()
            raise broken from error
        except BaseException:
            self._break()
            self._turn.give()
            raise

    def finish(self, request: bytes, read: Reader[T]) -> T:
        """Give the answer to what was begun; wait for it, if need be."""
        end = self._clock() + self._timeout
        try:
            return self._converse_on(request, read, len(request), b"", end, _NOT_LOOKED)
        finally:
            self._turn.give()

    def give_up(self) -> None:
        """End the connection in the middle of what was begun; the server puts its jobs back."""
        self._ended, self.closed, self._looked_until = True, True, _NOT_LOOKED
        self._wire.close()
        self._turn.give()

    def fileno(self) -> int:
        """The descriptor, to wait for the answer to what was begun."""
        return self._wire.fileno()

    # -- several commands ---------------------------------------------------------

    def exchange(self, conversation: Sequence[Command[Any]], wait: float = 0.0) -> list[Heard]:
        """Send a few commands in one write and give what was heard to each.

        A few, because nothing is received until all is sent: the replies must fit into
        the buffers of the socket. ``wait`` is how long in seconds the commands
        themselves let the server take. StaleConnection if the connection had ended before.
        """
        requests = [one.request for one in conversation]
        now = self._clock()
        if not self._turn.take():
            self._take_by(now + self._timeout, requests[-1])
        try:
            looked = self._looked_until
            if now >= looked:
                looked = self._look(now)
            return self._exchange(requests, now + self._timeout + wait, looked)
        finally:
            self._turn.give()

    def _exchange(self, requests: list[bytes], end: float, looked: float) -> list[Heard]:
        data = b"".join(requests)
        heard: list[Heard] = []
        self._unsent, self._looked_until = len(data), _HALF
        if self._trace is not None:
            for request in requests:
                self._trace.said(request)
        try:
            self._unsent -= self._send(data)
            if self._unsent:
                self._send_rest(data, len(data) - self._unsent, end)
            self._hear(requests, heard, end)
        except OSError as error:
            past, sent = 0, len(data) - self._unsent
            for place, request in enumerate(requests):
                past += len(request)
                if place >= len(heard):
                    heard.append(self._told(request, error, past <= sent))
            self._break()
        except BadReplyError as error:
            heard.append(error)
            heard += [self._told(one, error, True) for one in requests[len(heard) :]]
            self._break()
        except BaseException:
            self._break()
            raise
        else:
            self._looked_until = looked
        return heard

    def _hear(self, requests: list[bytes], heard: list[Heard], end: float) -> None:
        """Collect the replies, however they arrive; BadReplyError for what cannot be one."""
        data = self._receive(end)
        lines = split_lines(data) if self._trace is None else None
        if lines is not None and len(lines) == len(requests):
            heard += lines
        else:
            stream = ReplyStream()
            stream.feed(data)
            for request in requests:
                heard.append(self._next_reply(stream, request, end))
            if not stream.idle:  # one too many, and who knows which
                heard.clear()
                raise BadReplyError(written(requests[0]), data)
        self._wake_after(self._timeout)

    def results(
        self, conversation: Sequence[Command[Any]], heard: Sequence[Heard]
    ) -> list[Any | BeanstalkError]:
        """Give what each command was answered, or its error.

        A bad reply breaks the connection, and what came behind it is not believed.
        """
        results: list[Any | BeanstalkError] = []
        bad: BadReplyError | None = None
        for command, reply in zip(conversation, heard, strict=True):
            if reply.__class__ is not bytes:
                results.append(reply)
            elif bad is not None:
                results.append(self._told(command.request, bad, True))
            else:
                try:
                    results.append(command.read(command.request, reply))
                except _ANSWERS as error:
                    results.append(error)
                except (BadReplyError, ValueError):
                    self._break()
                    bad = BadReplyError(str(command), reply)
                    results.append(bad)
        return results

    def converse_in(self, tube: str, request: bytes, read: Reader[T]) -> T:
        """Have the server use ``tube`` and say a command to it, in one write."""
        conversation = commands.use(tube), Command(request, read)
        used, done = self.results(conversation, self.exchange(conversation))
        if isinstance(used, BeanstalkError):
            if not isinstance(done, BeanstalkError):
                self._take_back(used, conversation[1], done)
            raise used
        self.used = tube
        if isinstance(done, BeanstalkError):
            raise done
        answer: T = done
        return answer

    def set_up(self, conversation: Sequence[Command[Any]]) -> list[Any]:
        """Send a few commands in one write and give their answers; the first error is raised."""
        results = self.results(conversation, self.exchange(conversation))
        for result in results:
            if isinstance(result, BeanstalkError):
                raise result
        return results

    # -- writing and reading ------------------------------------------------------

    def _send_rest(self, request: bytes, sent: int, end: float) -> int:
        """Send what was not sent before; gives the size of the request."""
        rest = memoryview(request)[sent:]
        while rest:
            self._wake_at(end)
            try:
                rest = rest[self._send(rest) :]
            except (BlockingIOError, TimeoutError):
                pass  # the clock decides
            self._unsent = len(rest)
        return len(request)

    def _next_reply(self, stream: ReplyStream, request: bytes, end: float) -> bytes:
        try:
            while (reply := stream.next()) is None:
                stream.feed(self._receive(end))
        except ValueError:
            raise BadReplyError(written(request), stream.rest) from None
        if self._trace is not None:
            self._trace.heard(reply)
        return reply

    def _receive(self, end: float) -> bytes:
        """Wait for bytes until ``end``; BlockingIOError if none come."""
        while True:
            self._wake_at(end)
            try:
                data = self._recv(_CHUNK)
            except (BlockingIOError, TimeoutError):
                continue  # the clock decides
            if not data:
                raise ConnectionResetError("the server closed it")
            return data

    # -- time ---------------------------------------------------------------------

    def _wake_at(self, end: float) -> None:
        """Have the next read or write end at ``end``, or a little (a tenth) later."""
        left = end - self._clock()
        if left <= 0:
            raise BlockingIOError("no time left")
        if not 0.9 * self._wake < left < 1.1 * self._wake:
            self._wake_after(left)

    def _wake_after(self, seconds: float) -> None:
        """Have a blocked read or write end after so many seconds."""
        if seconds != self._wake:
            self._wake = seconds
            self._wire.wake_after(min(max(seconds, 0.001), _LONGEST_WAKE))

    def _take_by(self, end: float, request: bytes) -> None:
        """Wait for this thread's turn, until ``end``."""
        while not self._turn.take():
            left = end - self._clock()
            if left <= 0:
                raise CommandTimeoutError(
                    f"{written(request)}: the connection to {self.peer} that it needs was busy "
                    f"in another thread all the time (timeout {self._timeout:g} s); it was not "
                    "sent",
                    "never-sent",
                )
            if self._turn.take_within(left):
                return

    def _look(self, now: float) -> float:
        """See whether the connection is still one, before something is said over it.

        Gives until when that holds.
        """
        if self.closed or self._looked_until == _HALF or not self._wire.is_quiet():
            self._break()
            raise StaleConnection(
                f"the connection to {self.peer} had ended before this command", "never-sent"
            )
        # A traced conversation always takes the long way.
        return _NOT_LOOKED if self._trace is not None else now + _LOOK_EVERY

    # -- ending -------------------------------------------------------------------

    def end(self) -> None:
        """Close the connection on purpose, from whatever thread, also under one that waits.

        The server puts the jobs held by it back; those of a session at once only where nobody
        waits. In a forked process only this process's copy of the socket is closed.
        """
        says_quit = self.token and not self.closed
        self._ended = self._ended or not self.closed  # one that broke stays broken
        self.closed, self._looked_until = True, _NOT_LOOKED
        if os.getpid() != self._pid:
            self._wire.close()
        elif self._turn.take():
            if says_quit:  # else its jobs would wait for it
                self._say_quit()
            self._wire.close()
            self._turn.give()
        else:
            self._wire.interrupt()  # whoever is in a conversation closes it

    def quit(self) -> None:
        """Say ``quit``, if no conversation is going on, and end."""
        if not self.closed and self._turn.take():
            try:
                self._say_quit()
            finally:
                self._turn.give()
        self.end()

    def _say_quit(self) -> None:
        request = commands.quit().request
        self.token = ""
        try:
            if self._trace is not None:
                self._trace.said(request)
            self._send_rest(request, 0, self._clock() + self._timeout)
        except OSError:
            pass  # it has ended already

    def _break(self) -> None:
        """Close a connection that is of no use any more, and tell its owner."""
        first = not self.closed
        self.closed, self._looked_until = True, _NOT_LOOKED
        self._wire.close()
        if first:
            self._on_lost(self)

    def _broken(self, request: bytes, error: OSError, sent: bool) -> BeanstalkError:
        told = self._told(request, error, sent)  # first: a hook may use the client, or close it
        self._break()
        return told

    def _told(self, request: bytes, error: Exception, sent: bool) -> BeanstalkError:
        """Tell what is known of a command whose connection broke."""
        command = written(request)
        outcome: Outcome = "unknown" if sent else "never-sent"
        told = "the server may have carried it out" if sent else "it was not sent"
        if self._ended:
            return ClientClosedError(
                f"the connection to {self.peer} was closed under {command!r}; {told}", outcome
            )
        if isinstance(error, BlockingIOError):
            return CommandTimeoutError(
                f"{self.peer} did not answer {command!r} in time "
                f"(timeout {self._timeout:g} s); {told}; the connection is closed",
                outcome,
            )
        return ConnectionLostError(
            f"the connection to {self.peer} broke under {command!r}: {error}; {told}", outcome
        )

    def _take_back(self, error: BeanstalkError, command: Command[Any], done: Any) -> None:
        """Undo a command that ran in the wrong tube, as the ``use`` before it was refused.

        A put is deleted again; what cannot be undone is told in a note to the error.
        """
        if command.name == "put":
            delete = commands.delete(done)
            try:
                self.converse(delete.request, delete.read)
            except NotFoundError:
                pass  # taken by a worker already
            else:
                return
        error.add_note(
            f"{str(command)!r} was sent behind it and ran in tube {self.used!r}: it gave {done!r}"
        )
