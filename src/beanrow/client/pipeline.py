"""Many commands in few writes: what is sent together, and the result of each.

Laws:
- A window goes out in one write and is answered before the next is drawn: what is in
  flight fits into the buffers of the socket, and a stream of a million items needs the
  memory of one window and of its results.
- Every command has a result of its own, a value or an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from beanrow.errors import BadValueError, BeanstalkError, ClientClosedError, ConnectionLostError
from beanrow.protocol.commands import Command

__all__ = [
    "MOST_COMMANDS",
    "Collected",
    "Item",
    "Pending",
    "Pipeline",
    "Progress",
    "Result",
    "is_lost",
    "windows",
]

T = TypeVar("T")

Item: TypeAlias = Command[T] | BeanstalkError
"""A command to be sent, or the error that kept it from being one."""
Result: TypeAlias = T | BeanstalkError
Progress = Callable[[int], object]
"""Called after each window with the number of items that have a result."""

MOST_COMMANDS = 500
"""Commands in a window: 100 reach nine tenths of what 1,000 do."""
_MOST_BYTES = 64 * 1024
"""Bytes in a window, unless one command alone has more."""


def windows(items: Iterable[Item[Any]]) -> Iterator[list[Item[Any]]]:
    """Cut a stream into windows, each drawn only when the one before has been dealt with."""
    window: list[Item[Any]] = []
    size = 0
    for item in items:
        length = len(item.request) if isinstance(item, Command) else 0
        if window and (len(window) == MOST_COMMANDS or size + length > _MOST_BYTES):
            yield window
            window, size = [], 0
        window.append(item)
        size += length
    if window:
        yield window


def is_lost(result: Result[Any]) -> bool:
    """Tell whether a connection, or the client, was lost under this item."""
    return isinstance(result, ConnectionLostError | ClientClosedError)


class Pending(Generic[T]):
    """The result of a command in a pipeline, once that has run."""

    __slots__ = ("_outcome", "command")

    def __init__(self, command: Command[T]) -> None:
        self.command: Command[T] = command
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


class Collected:
    """The commands of a pipeline, in the order in which they were added."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[Pending[Any]] = []

    def add(self, command: Command[T]) -> Pending[T]:
        """Have this command (``beanrow.protocol.commands``) sent with the others.

        BadValueError for a ``reserve`` without a timeout, which would have no deadline.
        """
        if command.wait == inf:
            raise BadValueError(
                "a pipeline has a deadline, and reserve has none: add reserve_with_timeout"
            )
        pending = Pending(command)
        self._pending.append(pending)
        return pending

    def taken(self) -> list[Pending[Any]]:
        """Give all that was added, and forget it."""
        pending, self._pending = self._pending, []
        return pending


class Pipeline(Collected):
    """Commands that go out together when the ``with`` block ends without an error.

        with client.pipeline() as pipe:
            job_id = pipe.add(commands.put(b"hello"))
            stats = pipe.add(commands.stats())
        job_id.result()

    Each has a result of its own: leaving the block raises for none of them. They are
    carried out in their order, but not as one: others may come between. One that needs
    the reservation of a job goes over the connection that has it. Tubes that they use,
    watch or ignore hold for the commands behind them and no longer. After a lost
    connection none is sent again; the error of each tells what is known of it.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[list[Command[Any]]], list[Result[Any]]]) -> None:
        super().__init__()
        self._run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pending = self.taken()
        if kind is None and pending:
            outcomes = self._run([one.command for one in pending])
            for one, outcome in zip(pending, outcomes, strict=True):
                one.settle(outcome)
