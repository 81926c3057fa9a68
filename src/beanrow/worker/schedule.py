"""Schedules: who puts the job of a tick, when any number of workers could.

A schedule is one job, its token, in a tube of its own. It waits in the server, delayed until
the next tick; whichever worker gets it then puts the job of the tick and the next token, and
deletes this one. There is no leader and nothing to elect.

Laws:
- All that a tick does is said in one write: the jobs, the next token, and the end of this
  one. The server gets all of it or nothing, unless the connection breaks between the pieces
  of one segment; a worker that is killed before the write has done nothing, and the token is
  somebody else's at once.
- Where the server has unique puts, the key of a job is its tick and the key of a token the
  tick it waits for. So it does not matter how many tokens there are or how often a write is
  said: each tick is put once, and tokens of one tick are one.
- Elsewhere two workers that start in the same moment may each put a first token. Nobody acts
  on a tick while there is more than one: whoever sees the other one waiting deletes it; whoever
  sees it held by somebody else puts its own back for a moment.
- A token that is lost (a server without a journal that was started anew) is put again by the
  next look, a minute later at most. The tick in between is missed.

So it is one put a tick as long as the server keeps its jobs. What can break that on a server
without unique puts is a connection cut inside the write.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from beanrow.errors import BadValueError, BeanstalkError
from beanrow.protocol import commands
from beanrow.protocol.capabilities import PUT_UNIQUE
from beanrow.protocol.commands import Command
from beanrow.protocol.extensions import capabilities, put_unique
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
_REMEMBERED = 3600
"""Seconds that a server remembers the key of a tick: a write that was cut is said again by
whoever gets the token next, a ttr later at most."""
_ASK = capabilities(PUT_UNIQUE)


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
        words, stats = yield [_ASK, commands.stats_tube(self.tube)]
        once = _has_unique_puts(words)
        if isinstance(stats, TubeStats) and _jobs(stats):
            yield from self._replace_if_other(now, once=once)
            return
        yield self._put_token(self._when.next(now), now, once=once)

    def _replace_if_other(self, now: float, *, once: bool) -> Talk:
        _, token = yield [commands.use(self.tube), commands.peek_delayed()]
        if isinstance(token, Job) and self._read(token.body)[1] != str(self._when):
            (told,) = yield [commands.delete(token.id)]
            if not isinstance(told, BeanstalkError):
                yield self._put_token(self._when.next(now), now, once=once)

    def tick(self, token: int, body: bytes, now: float) -> Talk:
        """Do what a token is for; the token is held by whoever carries this out."""
        words, stats = yield [_ASK, commands.stats_tube(self.tube)]
        once = _has_unique_puts(words)
        if not once and not (yield from self._is_the_only_one(token, stats)):
            return
        due, written = self._read(body)
        if written == str(self._when) and due > now + 1:
            said: list[Command[Any]] = [commands.release(token, 0, _delay(due, now))]
        else:
            said = [*self._act(due, written, now, once=once), commands.delete(token)]
        for one in (yield said):
            if isinstance(one, BeanstalkError):
                raise one

    def _act(self, due: float, written: str, now: float, *, once: bool) -> list[Command[Any]]:
        """Give what puts the jobs of a token that is due, and the next token."""
        ticks: list[float] = []
        if written == str(self._when):
            ticks, due = self._due(due, now)
        else:
            due = self._when.next(now)
        puts = [self._put_job(one, once=once) for one in ticks]
        use = [commands.use(self._task.tube)] if puts else []
        return [*use, *puts, *self._put_token(due, now, once=once)]

    def _put_job(self, tick: float, *, once: bool) -> Command[Any]:
        """Put the job of a tick, the task's tube being used; ``once``: unless it has been."""
        terms = self._task.terms
        if once:
            key = f"schedule/{tick}"
            return put_unique(key, self._body, _REMEMBERED, terms.priority, 0, terms.ttr)
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

    def _is_the_only_one(
        self, token: int, stats: object
    ) -> Generator[list[Command[Any]], list[Any], bool]:
        """Tell whether to act on a token; others that wait are deleted."""
        for _ in range(10):
            if not isinstance(stats, TubeStats) or _jobs(stats) <= 1:
                return True
            peeks = [commands.peek_ready(), commands.peek_delayed(), commands.peek_buried()]
            _, *found = yield [commands.use(self.tube), *peeks]
            others = [commands.delete(one.id) for one in found if isinstance(one, Job)]
            if not others:
                break
            *_, stats = yield [*others, commands.stats_tube(self.tube)]
        # The other one is held: by chance one of the two comes back first, and finds it waiting.
        yield [commands.release(token, 0, 1 + token % 3)]
        return False

    def _put_token(self, due: float, now: float, *, once: bool) -> list[Command[Any]]:
        """Put a token; ``once``: unless there is one for this tick, whose key goes with it."""
        body = json.dumps({"tick": due, "when": str(self._when)}).encode()
        delay = _delay(due, now)
        if once:
            put = put_unique(f"token/{due}", body, 0, 0, delay, _TTR)
        else:
            put = commands.put(body, 0, delay, _TTR)
        return [commands.use(self.tube), put]

    def _read(self, body: bytes) -> tuple[float, str]:
        """Read a token; one that cannot be read is of another schedule."""
        try:
            told = json.loads(body)
            return float(told["tick"]), str(told["when"])
        except (ValueError, TypeError, KeyError):
            return 0.0, ""


def _delay(due: float, now: float) -> int:
    return min(max(0, ceil(due - now)), _MOST_DELAY)


def _has_unique_puts(words: object) -> bool:
    return isinstance(words, frozenset) and PUT_UNIQUE in words


def _jobs(stats: TubeStats) -> int:
    return (
        stats.current_jobs_ready
        + stats.current_jobs_delayed
        + stats.current_jobs_reserved
        + stats.current_jobs_buried
    )
