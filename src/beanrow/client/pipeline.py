"""Many commands in few writes: pipelines, and what the batch methods stand on.

Laws:
- A window goes out in one write and is answered before the next is drawn: what is in
  flight fits into the buffers of the socket, and a stream of a million items needs the
  memory of one window and of its results.
- Every command has a result of its own, a value or an error. A lost connection is the
  result of the commands it was lost under; nothing is drawn after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from beanrow.errors import (
    BeanstalkError,
    CommandError,
    ConnectionLostError,
    DeadlineSoon,
    StatsParsingError,
)
from beanrow.protocol.commands import Command

if TYPE_CHECKING:
    from beanrow.client.connection import Connection

__all__ = ["Item", "Pending", "Pipeline", "Progress", "Result", "results"]

T = TypeVar("T")

Item: TypeAlias = Command[T] | BeanstalkError
"""A command to be sent, or the error that kept it from being one."""
Result: TypeAlias = T | BeanstalkError
Progress = Callable[[int], object]
"""Called after each window with the number of items that have a result."""

_MOST_COMMANDS = 500
"""Commands in a window: 100 reach nine tenths of what 1,000 do."""
_MOST_BYTES = 64 * 1024
"""Bytes in a window, unless one command alone has more."""


def _windows(items: Iterable[Item[Any]]) -> Iterator[list[Item[Any]]]:
    """Cut a stream into windows, each drawn only when the one before has been dealt with."""
    window: list[Item[Any]] = []
    size = 0
    for item in items:
        length = len(item.request) if isinstance(item, Command) else 0
        if window and (len(window) == _MOST_COMMANDS or size + length > _MOST_BYTES):
            yield window
            window, size = [], 0
        window.append(item)
        size += length
    if window:
        yield window


def results(
    connection: Connection, items: Iterable[Item[Any]], progress: Progress | None = None
) -> Iterator[Result[Any]]:
    """Send a stream of commands and give the result of each, in their order.

    Ends early, after the results of a window whose connection was lost.
    """
    done = 0
    for window in _windows(items):
        sent = [item for item in window if isinstance(item, Command)]
        try:
            replies = iter(connection.exchange(sent) if sent else ())
        except ConnectionLostError as error:
            yield from (error if isinstance(item, Command) else item for item in window)
            return
        for item in window:
            yield _answer(item, next(replies)) if isinstance(item, Command) else item
        done += len(window)
        if progress is not None:
            progress(done)


def _answer(command: Command[Any], reply: bytes) -> Result[Any]:
    try:
        return command.answer(reply)
    except (CommandError, DeadlineSoon, StatsParsingError) as error:
        return error


class Pending(Generic[T]):
    """The result of a command in a pipeline, once that has run."""

    __slots__ = ("_outcome", "command")

    def __init__(self, command: Command[T]) -> None:
        self.command = command
        self._outcome: list[Result[T]] = []

    def settle(self, outcome: Result[T]) -> None:
        """Take the result."""
        self._outcome = [outcome]

    @property
    def error(self) -> BeanstalkError | None:
        """The error of this command; None if it has none, or has not run."""
        outcome = self._outcome[0] if self._outcome else None
        return outcome if isinstance(outcome, BeanstalkError) else None

    def result(self) -> T:
        """Give the value, or raise the error of this very command."""
        if not self._outcome:
            raise RuntimeError(f"{str(self.command)!r} has not run: leave the pipeline first")
        outcome = self._outcome[0]
        if isinstance(outcome, BeanstalkError):
            raise outcome
        return outcome


class Pipeline:
    """Commands that go out together when the ``with`` block ends without an error.

        with client.pipeline() as pipe:
            job_id = pipe.add(commands.put(b"hello"))
            stats = pipe.add(commands.stats())
        job_id.result()

    Each has a result of its own: leaving the block raises for none of them. They are
    carried out in their order, but not as one: others may come between.
    """

    __slots__ = ("_connect", "_pending")

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._pending: list[Pending[Any]] = []

    def add(self, command: Command[T]) -> Pending[T]:
        """Have this command (``beanrow.protocol.commands``) sent with the others."""
        pending = Pending(command)
        self._pending.append(pending)
        return pending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._pending:
            pending, self._pending = self._pending, []
            outcomes = results(self._connect(), [one.command for one in pending])
            for one in pending:
                one.settle(next(outcomes, _NEVER_SENT))


_NEVER_SENT = ConnectionLostError(
    "the connection was lost under a command before this one; it was not sent", "never-sent"
)
