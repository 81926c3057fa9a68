"""Batches: tiny jobs by the dozen in one round trip, for a task that asks for it.

Laws:
- A slot holds all jobs of a batch until the server has answered to their ends. So all of them
  are touched: those that wait, and those that are done and not acknowledged yet.
- Their ends are said when the batch is over, or ``SAY_EVERY`` seconds after it began: of a
  worker that is killed, what it had done of a batch since then runs again.
- What was not started when the slot is to stop goes back by closing its connection, and is no
  attempt.
- How many are asked for follows from how many came, beginning with one: a queue that holds one
  job is asked for one, and a job that ends its worker takes few others with it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.errors import BeanstalkError, NotFoundError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.values import Job
from beanrow.worker.line import RESERVE

if TYPE_CHECKING:
    from beanrow.worker.run import Run

__all__ = ["MOST", "SAY_EVERY", "Batch"]

T = TypeVar("T")
Talk = Generator[list[Command[Any]], list[Any], T]

MOST = 64
"""Jobs of one batch: the board between a child and its parent has room for so many."""
SAY_EVERY = 0.25
"""Seconds; the shortest ttr is one, and a job that runs for longer is its keeper's."""
_RESERVE_NOW = commands.reserve_with_timeout(0)


class Batch:
    """The jobs that a slot holds: ``held`` are their ids.

    Its methods yield what is to be said in one write and want the answers, so that threads,
    processes and asyncio tasks do the same.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._want = 1
        self._ended: list[tuple[Run, Command[Any]]] = []
        self._said_at = 0.0
        self.held: tuple[int, ...] = ()

    def fetch(self) -> Talk[tuple[list[Job], list[Run]]]:
        """Say the ends of the last jobs and reserve the next.

        Gives these, none if none came in a minute, and the runs that were not acknowledged.
        """
        want = self._want
        reserves = [RESERVE] if want == 1 else [_RESERVE_NOW] * want
        told, refused = yield from self._say(reserves)
        jobs = [one for one in told if isinstance(one, Job)]
        for one in told:
            if isinstance(one, BeanstalkError) and not jobs:
                raise one
        self._want = min(2 * want, self._most) if len(jobs) == want else max(1, len(jobs))
        self.held = tuple(job.id for job in jobs)
        return jobs, refused

    def end(self, run: Run, finish: Command[Any] | None) -> None:
        """Note what ends a job; it is said later."""
        if finish is not None:
            self._ended.append((run, finish))

    def is_due(self) -> bool:
        """Tell whether to say the ends before the batch is over."""
        return time.monotonic() - self._said_at > SAY_EVERY

    def say_ends(self, waiting: Sequence[Job]) -> Talk[tuple[set[int], list[Run]]]:
        """Say the ends of jobs, and touch those that wait.

        Gives the ids of waiting jobs that are somebody else's by now, and the runs that were
        not acknowledged.
        """
        touches = [commands.touch(job.id) for job in waiting]
        if not touches and not self._ended:
            return set(), []
        told, refused = yield from self._say(touches)
        self.held = tuple(job.id for job in waiting)
        gone = {
            job.id for job, one in zip(waiting, told, strict=True) if isinstance(one, NotFoundError)
        }
        return gone, refused

    def _say(self, more: Sequence[Command[Any]]) -> Talk[tuple[list[Any], list[Run]]]:
        ended = self._ended
        self._said_at = time.monotonic()
        told = yield [*(finish for _, finish in ended), *more]
        self._ended, count = [], len(ended)
        refused = [
            run
            for (run, _), one in zip(ended, told, strict=False)
            if isinstance(one, BeanstalkError)
        ]
        return told[count:], refused

    def forget(self) -> list[Run]:
        """Drop what is held, the connection being gone; gives the runs whose end was not told."""
        runs = [run for run, _ in self._ended]
        self._ended, self.held, self._want = [], (), 1
        return runs
