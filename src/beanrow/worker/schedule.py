"""Schedules: who puts the job of a tick, when any number of workers could.

A schedule is one job, its token, in a tube of its own. It waits in the server, delayed until
the next tick; whichever worker gets it then puts the job of the tick and the next token, and
deletes this one. There is no leader and nothing to elect.

Laws:
- All that a tick does is said in one write: the jobs, the next token, and the end of this
  one. The server gets all of it or nothing, unless the connection breaks between the pieces
  of one segment; a worker that is killed before the write has done nothing, and the token is
  somebody else's at once.
- Two workers that start in the same moment may each put a first token. Nobody acts on a tick
  while there is more than one: whoever sees the other one waiting deletes it; whoever sees
  it held by somebody else puts its own back for a moment.
- A token that is lost (a server without a journal that was started anew) is put again by the
  next look, a minute later at most. The tick in between is missed.

So it is one put a tick as long as the server keeps its jobs. What can break that is a
connection cut inside the write; an idempotent put will close that too, on servers that have it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from beanrow.errors import BadValueError, BeanstalkError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.stats import TubeStats
from beanrow.protocol.values import Job

if TYPE_CHECKING:
    from beanrow.worker.cron import When
    from beanrow.worker.task import Task

__all__ = ["LOOK_EVERY", "Missed", "Schedule"]

Missed: TypeAlias = Literal["one", "all", "none"]
"""What is put for ticks that passed while nobody was there: one job for all of them, one for
each, or none."""

Talk: TypeAlias = Generator[list[Command[Any]], list[Any], None]

LOOK_EVERY = 60.0
"""Seconds between two looks whether the token is there."""
_LATE = 30.0
"""Seconds after which a tick counts as missed."""
_MOST_MISSED = 1000
_TTR = 60
_MOST_DELAY = 86_400
"""Seconds: a token of a far tick is put back once a day, so that a changed clock shows."""


class Schedule:
    """Puts a task's job at each tick of ``when``."""

    def __init__(self, task: Task[..., Any], when: When, missed: Missed) -> None:
        if missed not in ("one", "all", "none"):
            raise BadValueError(f"missed {missed!r} is none of 'one', 'all' and 'none'")
        self._task = task
        self._when = when
        self._missed = missed
        self._body = task.parameters.encode((), {})
        self.tube: str = f"{task.tube}.schedule"

    def look(self, now: float) -> Talk:
        """See that there is a token, and that it is one of this schedule; else put it."""
        (stats,) = yield [commands.stats_tube(self.tube)]
        if isinstance(stats, TubeStats) and _jobs(stats):
            yield from self._replace_if_other(now)
            return
        yield self._put_token(self._when.next(now), now)

    def _replace_if_other(self, now: float) -> Talk:
        _, token = yield [commands.use(self.tube), commands.peek_delayed()]
        if isinstance(token, Job) and self._read(token.body)[1] != str(self._when):
            (told,) = yield [commands.delete(token.id)]
            if not isinstance(told, BeanstalkError):
                yield self._put_token(self._when.next(now), now)

    def tick(self, token: int, body: bytes, now: float) -> Talk:
        """Do what a token is for; the token is held by whoever carries this out."""
        if not (yield from self._is_the_only_one(token)):
            return
        due, written = self._read(body)
        ticks: list[float] = []
        if written == str(self._when) and due <= now + 1:
            ticks, due = self._due(due, now)
        elif written != str(self._when):
            due = self._when.next(now)
        puts: list[Command[Any]] = [self._put_job(one) for one in ticks]
        if puts:
            puts.insert(0, commands.use(self._task.tube))
        told = yield [*puts, *self._put_token(due, now), commands.delete(token)]
        for one in told:
            if isinstance(one, BeanstalkError):
                raise one

    def _put_job(self, tick: float) -> Command[Any]:
        """Put the job of a tick, the task's tube being used.

        The seam for servers with an idempotent put: its key is the schedule's tube and the
        tick, and then a write that was cut may be said again.
        """
        terms = self._task.terms
        return commands.put(self._body, terms.priority, 0, terms.ttr)

    def _due(self, due: float, now: float) -> tuple[list[float], float]:
        """Give the ticks to put a job for, and the tick after them."""
        ticks = [due]
        while (due := self._when.next(due)) <= now and len(ticks) < _MOST_MISSED:
            ticks.append(due)
        if due <= now:
            due = self._when.next(now)
        if self._missed == "one":
            ticks = ticks[-1:]
        elif self._missed == "none":
            ticks = [one for one in ticks if now - one < _LATE][-1:]
        return ticks, due

    def _is_the_only_one(self, token: int) -> Generator[list[Command[Any]], list[Any], bool]:
        """Tell whether to act on a token; others that wait are deleted."""
        for _ in range(10):
            (stats,) = yield [commands.stats_tube(self.tube)]
            if not isinstance(stats, TubeStats) or _jobs(stats) <= 1:
                return True
            peeks = [commands.peek_ready(), commands.peek_delayed(), commands.peek_buried()]
            _, *found = yield [commands.use(self.tube), *peeks]
            others = [commands.delete(one.id) for one in found if isinstance(one, Job)]
            if not others:
                break
            yield [*others]
        # The other one is held: by chance one of the two comes back first, and finds it waiting.
        yield [commands.release(token, 0, 1 + token % 3)]
        return False

    def _put_token(self, due: float, now: float) -> list[Command[Any]]:
        body = json.dumps({"tick": due, "when": str(self._when)}).encode()
        delay = min(max(0, ceil(due - now)), _MOST_DELAY)
        return [commands.use(self.tube), commands.put(body, 0, delay, _TTR)]

    def _read(self, body: bytes) -> tuple[float, str]:
        """Read a token; one that cannot be read is of another schedule."""
        try:
            told = json.loads(body)
            return float(told["tick"]), str(told["when"])
        except (ValueError, TypeError, KeyError):
            return 0.0, ""


def _jobs(stats: TubeStats) -> int:
    return (
        stats.current_jobs_ready
        + stats.current_jobs_delayed
        + stats.current_jobs_reserved
        + stats.current_jobs_buried
    )
