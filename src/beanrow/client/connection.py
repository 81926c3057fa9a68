"""One connection, one conversation at a time: a command goes out, its reply comes in.

Laws:
- Half a conversation is never resumed. Whatever breaks one, a lost peer, a bad reply,
  a deadline or Ctrl-C, closes the connection.
- A deadline on every command. The socket stays blocking; the kernel wakes a read or a
  write after the timeout (SO_RCVTIMEO, SO_SNDTIMEO), and each that goes on is given
  only what is left of the command's time, so that a peer that drips does not pass.
- A command is one write. Two writes would wait for each other: the second for the
  peer's acknowledgement of the first, 40 ms.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.client.address import Address
from beanrow.client.state import DEFAULT_TUBE
from beanrow.errors import (
    BadReplyError,
    BeanstalkSignal,
    CommandError,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
    NotFoundError,
    Outcome,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.replies import ReplyStream

if TYPE_CHECKING:
    from beanrow.client.trace import Trace

__all__ = ["UNKNOWN_LIMIT", "Connection", "open_socket"]

T = TypeVar("T")

UNKNOWN_LIMIT = -1
"""Below every body's size, so that one comparison serves before and after it is known."""
_CHUNK = 65536
"""Bytes read at a time. Above 128 KiB the allocator maps and unmaps memory for each."""


def open_socket(address: Address, timeout: float) -> socket.socket:
    """Connect to a server within ``timeout`` seconds; ConnectFailedError if that fails."""
    try:
        if address.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout)
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except TimeoutError as error:
        raise ConnectFailedError(f"{address} did not answer within {timeout:g} s") from error
    except (OSError, UnicodeError) as error:
        raise ConnectFailedError(
            f"cannot connect to {address}: {error}; is a server running there?"
        ) from error
    sock.settimeout(None)
    return sock


class Connection:
    """A connected socket and the protocol spoken over it.

    ``used`` is the tube that the server has this connection use. ``most_body`` is the
    largest body in bytes that the server takes, UNKNOWN_LIMIT until it was asked.
    """

    __slots__ = (
        "_clock", "_recv", "_send", "_sock", "_timeout", "_trace", "_wake",
        "closed", "most_body", "peer", "used",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        timeout: float,
        clock: Callable[[], float],
        trace: Trace | None = None,
    ) -> None:
        self._sock = sock
        self._send = sock.send
        self._recv = sock.recv
        self._timeout = timeout
        self._clock = clock
        self._trace = trace
        self.peer = peer
        self.used = DEFAULT_TUBE
        self.most_body = UNKNOWN_LIMIT
        self.closed = False
        self._wake = 0.0
        self._wake_after(timeout)

    def close(self) -> None:
        """Close the socket; the server puts the jobs held by it back."""
        self.closed = True
        self._sock.close()

    def converse(self, command: Command[T], wait: float = 0.0) -> T:
        """Send a command and give its answer, or raise its error.

        ``wait`` is how long in seconds the command itself lets the server take; the
        timeout comes on top.
        """
        begin, sent, reply = self._clock(), 0, b""
        try:
            if self._trace is None:
                sent = self._send(command.request)
                if sent == len(command.request):
                    reply = self._recv(_CHUNK)
                    return command.read(command, reply)
        except (CommandError, BeanstalkSignal, StatsParsingError):
            raise  # a whole conversation, and a clear answer
        except (BadReplyError, ValueError, BlockingIOError):
            pass  # the reply is not whole, or not there yet
        except OSError as error:
            self.close()
            raise self._lost(command, error, sent == len(command.request)) from error
        except BaseException:
            self.close()
            raise
        return self._converse_on(command, sent, reply, begin + self._timeout, wait)

    def _converse_on(
        self, command: Command[T], sent: int, reply: bytes, end: float, wait: float
    ) -> T:
        """Go on with a conversation of more than one write and one read, or a traced one."""
        request = command.request
        try:
            if self._trace is not None:
                self._trace.said(request)
            if sent < len(request):
                sent = self._send_rest(request, sent, end)
            (reply,) = self._read_on((command,), reply, end + wait)
            if self._trace is not None:
                self._trace.heard(reply)
            return command.answer(reply)
        except (CommandError, BeanstalkSignal, StatsParsingError):
            raise
        except OSError as error:
            self.close()
            raise self._lost(command, error, sent == len(request)) from error
        except BaseException:
            self.close()
            raise

    def converse_in(self, tube: str, command: Command[T]) -> T:
        """Have the server use ``tube`` and say ``command`` to it, in one write."""
        choose = commands.use(tube)
        try:
            chosen, reply = self.exchange((choose, command))
            try:
                choose.answer(chosen)
            except CommandError as error:
                self._take_back(error, command, reply)
                raise
            self.used = tube
            return command.answer(reply)
        except (CommandError, BeanstalkSignal, StatsParsingError):
            raise
        except BaseException:
            self.close()
            raise

    def exchange(self, conversation: Sequence[Command[Any]]) -> list[bytes]:
        """Send a few commands in one write and give their replies, each still to be read.

        A few, because nothing is received until all is sent: the replies must fit into
        the buffers of the socket.
        """
        end = self._clock() + self._timeout
        request, trace, sent = b"".join([one.request for one in conversation]), self._trace, 0
        if trace is not None:
            for one in conversation:
                trace.said(one.request)
        try:
            sent = self._send(request)
            if sent != len(request):
                sent = self._send_rest(request, sent, end)
            replies = self._read_on(conversation, self._receive(end), end)
        except OSError as error:
            self.close()
            raise self._lost(conversation[-1], error, sent == len(request)) from error
        except BaseException:
            self.close()
            raise
        if trace is not None:
            for reply in replies:
                trace.heard(reply)
        return replies

    def say(self, command: Command[None]) -> None:
        """Send a command that has no reply."""
        if self._trace is not None:
            self._trace.said(command.request)
        try:
            self._send(command.request)
        except OSError as error:
            self.close()
            raise self._lost(command, error, sent=False) from error
        except BaseException:
            self.close()
            raise

    def _send_rest(self, request: bytes, sent: int, end: float) -> int:
        """Send what a first write did not take; gives the size of the request."""
        rest = memoryview(request)[sent:]
        while rest:
            self._wake_at(end)
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                pass  # the clock decides
        return len(request)

    def _read_on(
        self, conversation: Sequence[Command[Any]], data: bytes, end: float
    ) -> list[bytes]:
        """Read the replies to these commands, however they arrive; ``data`` is there already."""
        stream, replies = ReplyStream(), []
        stream.feed(data)
        for command in conversation:
            try:
                while (reply := stream.next()) is None:
                    data = self._receive(end)
                    stream.feed(data)
            except ValueError:
                raise BadReplyError(str(command), data) from None
            replies.append(reply)
        if not stream.idle:
            raise BadReplyError(str(conversation[-1]), data)
        self._wake_after(self._timeout)
        return replies

    def _receive(self, end: float) -> bytes:
        """Wait for bytes until ``end``; BlockingIOError if none come."""
        while True:
            self._wake_at(end)
            try:
                data = self._recv(_CHUNK)
            except BlockingIOError:
                continue  # the clock decides
            if not data:
                raise ConnectionResetError("the server closed it")
            return data

    def _wake_at(self, end: float) -> None:
        """Have the next read or write end at ``end``, or a little (a tenth) later."""
        left = end - self._clock()
        if left <= 0:
            raise BlockingIOError("no time left")
        if not 0.9 * self._wake < left < 1.1 * self._wake:
            self._wake_after(left)

    def _wake_after(self, seconds: float) -> None:
        """Have a blocked read or write end after so many seconds, with BlockingIOError."""
        if seconds == self._wake:
            return
        self._wake = seconds
        seconds = max(seconds, 0.001)  # 0 would mean for ever
        timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def _lost(self, command: Command[Any], error: OSError, sent: bool) -> ConnectionLostError:
        outcome: Outcome = "unknown" if sent else "never-sent"
        told = "the server may have carried it out" if sent else "it was not sent"
        if isinstance(error, BlockingIOError):
            return CommandTimeoutError(
                f"{self.peer} did not answer {str(command)!r} in time "
                f"(timeout {self._timeout:g} s); {told}; the connection is closed",
                outcome,
            )
        return ConnectionLostError(
            f"the connection to {self.peer} broke under {str(command)!r}: {error}; {told}", outcome
        )

    def _take_back(self, error: CommandError, command: Command[Any], reply: bytes) -> None:
        """Undo a command that ran in the wrong tube, as the ``use`` before it was refused.

        A put is deleted again; what cannot be undone is told in a note to the error.
        """
        try:
            done = command.answer(reply)
        except CommandError:
            return
        if command.name == "put":
            try:
                self.converse(commands.delete(done))
            except NotFoundError:
                pass  # taken by a worker already
            else:
                return
        error.add_note(
            f"{str(command)!r} was sent behind it and ran in tube {self.used!r}: "
            f"{reply.splitlines()[0].decode()}"
        )
