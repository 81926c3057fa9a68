"""The connection of one slot: what ends a job and what gets the next, in one write.

Laws:
- Half a conversation is never resumed: whatever breaks one closes the line.
- The turn is taken for a whole conversation. While the function runs it is free, and the
  keeper may touch the job over the same line.
- Stopping is half a close, and only after all was said: the server then answers a waiting
  ``reserve`` at once, and what ended the last job was said before. A line that is told
  to stop while its job runs says that job's end and nothing more.
- One wake-up for the two replies: a read waits for more bytes than DELETED has. It is a
  third of the cost of a job that does nothing. What is left of replies is read without that.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from beanrow.client.wire import Wire, open_wire
from beanrow.errors import (
    BadReplyError,
    BeanstalkError,
    BeanstalkSignal,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    StatsParsingError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_reserve, written
from beanrow.protocol.replies import DELETED, ReplyStream
from beanrow.protocol.values import Job

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from beanrow.client.address import Address

__all__ = ["BOTH_REPLIES", "RESERVE", "Line", "Turn", "least_to_come"]

T = TypeVar("T")

ROUND = 60
"""Seconds of one waiting reserve: a server that died meanwhile is noticed after it."""
RESERVE = commands.reserve_with_timeout(ROUND)
_RESERVE = RESERVE.request
_CHUNK = 65536
_DELETED_BYTES = len(DELETED)
BOTH_REPLIES = 10
"""More bytes than DELETED, RELEASED and BURIED have but at most as many as TIMED_OUT, the
shortest reply to a reserve."""
_SHORTEST = 8
"""Bytes of the shortest reply there is, BURIED or KICKED."""
_ANSWERS = (CommandError, BeanstalkSignal, StatsParsingError)


def least_to_come(replies: int, stream: ReplyStream) -> int:
    """Tell how many bytes so many replies need at least, the first of which may have begun.

    A read may wait for as many, one wake-up for many replies, and not for more: what is left
    of a reply can be a single byte that nothing follows.
    """
    return replies * _SHORTEST if stream.idle else (replies - 1) * _SHORTEST + 1


class Turn(Protocol):
    """Who may speak over a line: a lock, between threads or between processes."""

    def acquire(self, blocking: bool = True) -> bool:
        """Take the turn; gives False if that would have to wait and must not."""

    def release(self) -> object:
        """Give it back."""


class Line:
    """A connection of a slot; ``watched`` are the tubes that it reserves from.

    ``refused`` is why the server did not take what ended the last job, None if it did.
    ``said_at`` and ``heard_at`` are the clock's, of the last conversation. ``shared``: another
    process has this socket too, and may be in conversation over it now.
    """

    __slots__ = (
        "_clock", "_gate", "_gathers", "_recv", "_send", "_timeout", "_waiting", "_wire", "closed", "half_closed",
        "heard_at", "peer", "refused", "said_at", "stopping", "turn", "watched",
    )  # fmt: skip

    def __init__(
        self,
        wire: Wire,
        peer: str,
        timeout: float,
        turn: Turn | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._wire = wire
        self._send = wire.send
        self._recv = wire.recv
        self._gathers = type(wire) is Wire  # a read through TLS takes no flags
        self._timeout = timeout
        self._clock = time.monotonic
        self._gate = threading.Lock()
        self._waiting = False
        self.turn: Turn = threading.Lock() if turn is None else turn
        self.peer: str = peer
        self.watched: tuple[str, ...] = ("default",)
        self.refused: BeanstalkError | None = None
        self.stopping: bool = False
        self.half_closed: bool = False
        self.closed: bool = False
        self.said_at: float = self._clock()
        self.heard_at: float = self._clock()
        if not shared:
            wire.wake_after(ROUND + timeout)
            wire.wake_from(BOTH_REPLIES)

    @classmethod
    def open(cls, address: Address, timeout: float, tls: ssl.SSLContext | None) -> Line:
        """Connect; ConnectFailedError if nobody answers."""
        return cls(open_wire(address, timeout, tls), str(address), timeout)

    def fileno(self) -> int:
        """The descriptor of the connection."""
        return self._wire.fileno()

    # -- speaking -----------------------------------------------------------------

    def next(self, finish: Command[Any] | None) -> Job | None:
        """Say what ends the last job, and reserve the next; None if none came in a minute.

        Also None where the line is to stop. ConnectionLostError if it broke.
        """
        self.turn.acquire()
        try:
            if self.stopping or self.closed:
                self._say_the_last(finish)
                return None
            request = _RESERVE if finish is None else finish.request + _RESERVE
            try:
                self.said_at = self._clock()
                sent = self._send(request)
                self._waiting = True
                if self.stopping:
                    self.half_close()
                data = self._recv(_CHUNK)
                if sent == len(request):
                    if finish is None:
                        job = read_reserve(_RESERVE, data)
                        self._waiting_is_over()
                        return job
                    if data[:_DELETED_BYTES] == DELETED:
                        job = read_reserve(_RESERVE, data[_DELETED_BYTES:])
                        self._waiting_is_over()
                        self.refused = None
                        return job
            except (BadReplyError, ValueError):
                pass  # not whole, or refused: the long way tells
            except (BlockingIOError, TimeoutError):
                data = b""
            except OSError as error:
                raise self._broken(request, error) from error
            said = [RESERVE] if finish is None else [finish, RESERVE]
            rest = request[sent:]
            heard = self._hear_rest(said, rest, data, self.said_at + ROUND + self._timeout)
            return self._taken(heard, finish)
        except BaseException:
            self.close()
            raise
        finally:
            self.turn.release()

    def _taken(self, heard: list[Any], finish: Command[Any] | None) -> Job | None:
        """Take what was heard of the end of one job and the beginning of the next."""
        if finish is not None:
            self.refused = heard[0] if isinstance(heard[0], BeanstalkError) else None
        job = heard[-1]
        if isinstance(job, BeanstalkError):
            raise job
        return job if isinstance(job, Job) else None

    def _say_the_last(self, finish: Command[Any] | None) -> None:
        """Say what ends the last job, and nothing more."""
        if self.closed:
            raise ConnectionLostError(f"the connection to {self.peer} was closed", "never-sent")
        if finish is not None:
            (told,) = self.exchange_now([finish])
            self.refused = told if isinstance(told, BeanstalkError) else None

    def ask(self, command: Command[T]) -> T:
        """Say a command and give its answer, or raise its error."""
        (told,) = self.exchange([command])
        if isinstance(told, BeanstalkError):
            raise told
        return told  # type: ignore[no-any-return]  # the answer of this very command

    def exchange(self, said: Sequence[Command[Any]]) -> list[Any]:
        """Say a few commands in one write; gives an answer or an error for each."""
        self.turn.acquire()
        try:
            return self.exchange_now(said)
        finally:
            self.turn.release()

    def exchange_now(self, said: Sequence[Command[Any]]) -> list[Any]:
        """Exchange as ``exchange`` does, for whoever has taken the turn."""
        wait = sum(one.wait for one in said)
        end = self._clock() + self._timeout + wait
        waits = said[-1].wait > 0  # half a close would end what is answered at once anyway
        request = b"".join([one.request for one in said])
        try:
            if self.closed:
                raise ConnectionLostError(f"the connection to {self.peer} was closed", "never-sent")
            try:
                self.said_at = self._clock()
                sent = self._send(request)
            except OSError as error:
                raise self._broken(request, error) from error
            self._waiting = waits
            if waits and self.stopping:
                self.half_close()
            return self._hear_rest(said, request[sent:], b"", end)
        except BaseException:
            self.close()
            raise

    def _hear_rest(
        self, said: Sequence[Command[Any]], unsent: bytes, data: bytes, end: float
    ) -> list[Any]:
        """Send what is unsent, and collect the answer to each command until ``end``."""
        stream = ReplyStream()
        heard: list[Any] = []
        stream.feed(data)
        self._wire.wake_from(1)
        try:
            while unsent:
                unsent = unsent[self._send(unsent) :]
            for command in said:
                while (reply := stream.next()) is None:
                    stream.feed(self._receive(end, least_to_come(len(said) - len(heard), stream)))
                try:
                    heard.append(command.answer(reply))
                except _ANSWERS as error:
                    heard.append(error)
        except OSError as error:
            raise self._broken(b"".join([one.request for one in said]), error) from error
        except ValueError:
            raise BadReplyError(str(said[len(heard)]), stream.rest) from None
        self._waiting_is_over()
        if not stream.idle:
            raise BadReplyError(str(said[-1]), stream.rest)
        self._wire.wake_after(ROUND + self._timeout)
        self._wire.wake_from(BOTH_REPLIES)
        return heard

    def _receive(self, end: float, least: int) -> bytes:
        # The kernel gathers the replies of a batch. By SO_RCVLOWAT it would not: that counts
        # only what came since a read has begun to wait, not what the read has taken.
        many = self._gathers and least > _SHORTEST
        size, flags = (least, socket.MSG_WAITALL) if many else (_CHUNK, 0)
        while True:
            left = end - self._clock()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._wire.wake_after(left)
            try:
                data = self._recv(size, flags)
            except (BlockingIOError, TimeoutError):
                continue  # the clock decides
            if not data:
                raise ConnectionResetError("the server closed it")
            return data

    def watch(self, tubes: tuple[str, ...]) -> None:
        """Have the line reserve from these tubes and no others."""
        if tubes != self.watched:
            watches = [commands.watch(tube) for tube in tubes if tube not in self.watched]
            ignores = [commands.ignore(tube) for tube in self.watched if tube not in tubes]
            for one in self.exchange([*watches, *ignores]):
                if isinstance(one, BeanstalkError):
                    raise one
            self.watched = tubes

    # -- ending -------------------------------------------------------------------

    def stop(self) -> None:
        """Have the line take no more jobs, from another thread; one that runs may still end."""
        self.stopping = True
        with self._gate:
            if self._waiting:
                self.half_close()

    def half_close(self) -> None:
        """End a waiting reserve; the server is told nothing more over this line."""
        self.half_closed = True
        self._wire.half_close()

    def _waiting_is_over(self) -> None:
        with self._gate:
            self._waiting = False
        self.heard_at = self._clock()

    def interrupt(self) -> None:
        """End the connection from another thread: the server puts its job back at once."""
        self._wire.interrupt()

    def close(self) -> None:
        """Close the connection; the server puts its job back."""
        self.closed = True
        self._waiting = False
        self._wire.close()

    def _broken(self, request: bytes, error: OSError) -> ConnectionLostError:
        command = written(request)
        kind = ConnectionLostError
        if isinstance(error, BlockingIOError | TimeoutError):
            kind = CommandTimeoutError
        return kind(
            f"the connection to {self.peer} broke under {command!r}: "
            f"{error}; the server may have carried it out"
        )
