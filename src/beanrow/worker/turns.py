"""Whose turn it is among the tubes of a slot, by their weights."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from beanrow.errors import BeanstalkError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.values import Job
from beanrow.worker.line import RESERVE

if TYPE_CHECKING:
    from beanrow.worker.task import Task

__all__ = ["Turns", "Watching", "watch_changes"]

Talk: TypeAlias = Generator[list[Command[Any]], list[Any], Job | None]
_RESERVE_NOW = commands.reserve_with_timeout(0)


class Watching(Protocol):
    """A line: which tubes it watches, whether it is to stop, and what was refused on it."""

    watched: tuple[str, ...]
    stopping: bool
    refused: BeanstalkError | None


def watch_changes(watched: tuple[str, ...], tubes: tuple[str, ...]) -> list[Command[Any]]:
    """Give the commands after which a line watches these tubes and no others."""
    watches = [commands.watch(tube) for tube in tubes if tube not in watched]
    return [*watches, *(commands.ignore(tube) for tube in watched if tube not in tubes)]


class Turns:
    """Smooth weighted round robin.

    A tube whose turn it is and that has no job is passed over; when none of them has one, all
    are waited for, and the server is asked what came. ``task`` is that of the last job, None
    if it came so.
    """

    def __init__(self, tasks: dict[str, Task[..., Any]]) -> None:
        self._tasks = tasks
        self._weights = {tube: task.weight or 1 for tube, task in tasks.items()}
        self._credit = {tube: random.uniform(0, weight) for tube, weight in self._weights.items()}
        self.task: Task[..., Any] | None = None

    def next(self, line: Watching, finish: Command[Any] | None) -> Talk:
        """Reserve the next job: yields what is to be said in one write, wants the answers."""
        left = dict(self._weights)
        while left and not line.stopping:
            tube = self._chosen(left)
            job = yield from _reserved(line, finish, (tube,), _RESERVE_NOW)
            finish = None
            if job is not None:
                self.task = self._tasks[tube]
                return job
            del left[tube]
        self.task = None
        if not line.stopping:
            return (yield from _reserved(line, finish, tuple(self._tasks), RESERVE))
        if finish is not None:
            (told,) = yield [finish]
            line.refused = told if isinstance(told, BeanstalkError) else None
        return None

    def _chosen(self, left: dict[str, int]) -> str:
        credit, total = self._credit, sum(left.values())
        for tube, weight in left.items():
            credit[tube] += weight
        tube = max(left, key=lambda one: credit[one])
        credit[tube] -= total
        return tube


def _reserved(
    line: Watching,
    finish: Command[Any] | None,
    tubes: tuple[str, ...],
    reserve: Command[Job | None],
) -> Talk:
    changes = watch_changes(line.watched, tubes)
    told = yield [*([] if finish is None else [finish]), *changes, reserve]
    line.watched = tubes
    if finish is not None:
        first = told.pop(0)
        line.refused = first if isinstance(first, BeanstalkError) else None
    for one in told:
        if isinstance(one, BeanstalkError):
            raise one
    return told[-1]  # type: ignore[no-any-return]  # the answer to the reserve
