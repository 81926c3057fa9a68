"""A server at one moment, and what happened between two of them.

    before = take_snapshot(client)
    ...
    after = take_snapshot(client)
    rates = after.since(before)         # None if the server was started again in between
    rates.tubes["emails"].puts          # a second

Laws:
- Two writes, however many tubes: what there is, then all of it in one burst. Nobody is asked twice.
- A server of ours is asked for more in the same two writes; of others there is less.
- What has vanished is not there: a tube that is gone between the two writes, and one that this
  client has no right to see, is left out.
- A rate is a difference of two counters of the same life. A counter of another life counts from 0.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from beanrow.errors import ForbiddenError, NotFoundError, UnknownCommandError
from beanrow.protocol import commands, extensions
from beanrow.protocol.capabilities import LIST_TIMES, MORE_STATS
from beanrow.protocol.commands import Command
from beanrow.protocol.stats import ServerStats, TubeStats
from beanrow.protocol.times import TubeTimes

if TYPE_CHECKING:
    from beanrow.client.aio import AsyncClient
    from beanrow.client.pipeline import Pending
    from beanrow.client.sync import Client

__all__ = [
    "ALL_TUBES",
    "Rates",
    "ServerRates",
    "Snapshot",
    "TubeRates",
    "Tubes",
    "take_snapshot",
    "take_snapshot_async",
]

T = TypeVar("T")

_SWITCH_ON = extensions.capabilities(LIST_TIMES, MORE_STATS)
_Burst: TypeAlias = "Generator[list[Command[Any]], list[Pending[Any]], T]"
"""Gives what is to be said in one write and is sent what was answered: for both clients."""


class Tubes(NamedTuple):
    """Which tubes are looked at: those that a glob of ``include`` matches, none of ``exclude``.

    Without ``include`` all are. Globs are those of ``fnmatch``, in the case that they have.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Tell whether a tube is looked at."""
        wanted = not self.include or any(fnmatchcase(name, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(name, glob) for glob in self.exclude)


ALL_TUBES = Tubes()


class ServerRates(NamedTuple):
    """What a server did, a second; of all tubes, also those that are not looked at."""

    puts: float
    reserves: float
    deletes: float
    releases: float
    buries: float
    kicks: float
    touches: float
    timeouts: float
    connections: float


class TubeRates(NamedTuple):
    """What happened in a tube, a second: jobs that came, and jobs that were deleted."""

    puts: float
    deletes: float


class Rates(NamedTuple):
    """What happened between two snapshots, ``seconds`` apart; ``tubes`` are those of the later."""

    seconds: float
    server: ServerRates
    tubes: dict[str, TubeRates]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server told of itself. ``at`` is monotonic seconds, ``tubes`` are by name, sorted.

    ``words`` are those of extensions that it knows. ``times`` are of the same tubes: how long jobs
    waited and ran, where the server counts that; else there are none.
    """

    at: float
    stats: ServerStats
    tubes: dict[str, TubeStats]
    words: frozenset[str] = frozenset()
    times: dict[str, TubeTimes] = field(default_factory=dict)

    def since(self, before: Snapshot) -> Rates | None:
        """Tell what happened since an earlier snapshot of the same server.

        None if the server was started again meanwhile, or if no time has passed.
        """
        seconds = self.at - before.at
        if seconds <= 0 or _life(self.stats) != _life(before.stats):
            return None

        def rate(now: int, then: int) -> float:
            return (now - then if now >= then else now) / seconds

        new, old = (_server_counts(one.stats) for one in (self, before))
        server = ServerRates(*map(rate, new, old))
        tubes = {}
        for name, tube in self.tubes.items():
            then = _tube_counts(before.tubes[name]) if name in before.tubes else (0, 0)
            tubes[name] = TubeRates(*map(rate, _tube_counts(tube), then))
        return Rates(seconds, server, tubes)


def _life(stats: ServerStats) -> tuple[object, ...]:
    """What is another one once the server was started again."""
    return getattr(stats, "pid", None), getattr(stats, "id", None)


def _server_counts(stats: ServerStats) -> tuple[int, ...]:
    """The counters behind ``ServerRates``; what an older server does not count is 0."""
    told = stats.as_dict().get
    reserves = told("cmd-reserve", 0) + told("cmd-reserve-with-timeout", 0)
    keys = ("cmd-delete", "cmd-release", "cmd-bury", "cmd-kick", "cmd-touch", "job-timeouts")
    others = [told(key, 0) for key in keys]
    return told("total-jobs", 0), reserves, *others, told("total-connections", 0)


def _tube_counts(stats: TubeStats) -> tuple[int, int]:
    told = stats.as_dict().get
    return told("total-jobs", 0), told("cmd-delete", 0)


def take_snapshot(client: Client, tubes: Tubes = ALL_TUBES, *, times: bool = True) -> Snapshot:
    """Look at a server now; any BeanstalkError of the client if it does not answer.

    Without ``times`` a server of ours is asked half as much, and there are none.
    """
    burst = _looking(tubes, times=times)
    try:
        said = next(burst)
        while True:
            with client.pipeline() as pipe:
                answers = [pipe.add(one) for one in said]
            said = burst.send(answers)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the generator returns


async def take_snapshot_async(client: AsyncClient, tubes: Tubes = ALL_TUBES) -> Snapshot:
    """Look at a server now, as ``take_snapshot`` does."""
    burst = _looking(tubes)
    try:
        said = next(burst)
        while True:
            async with client.pipeline() as pipe:
                answers = [pipe.add(one) for one in said]
            said = burst.send(answers)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # likewise


def _looking(tubes: Tubes, *, times: bool = True) -> _Burst[Snapshot]:
    switched, server, listed = yield [_SWITCH_ON, commands.stats(), commands.list_tubes()]
    words = _words_of(switched)
    names = sorted(filter(tubes.takes, listed.result()))
    asked: list[Command[Any]] = []
    if words:  # again: the second write may go over another connection
        asked.append(_SWITCH_ON)
    asked += [commands.stats_tube(name) for name in names]
    if times and LIST_TIMES in words:
        asked += [extensions.list_times(name) for name in names]
    answers = (yield asked)[bool(words) :]
    found, counted = _there(names, answers), _there(names, answers[len(names) :])
    return Snapshot(time.monotonic(), server.result(), found, words, counted)


def _words_of(switched: Pending[frozenset[str]]) -> frozenset[str]:
    """Give the words that a server knows; one without extensions does not know that one."""
    return frozenset() if isinstance(switched.error, UnknownCommandError) else switched.result()


def _there(names: list[str], answers: list[Pending[Any]]) -> dict[str, Any]:
    """Give what was answered for each name, where there is something."""
    return {
        name: answer.result()
        for name, answer in zip(names, answers, strict=False)
        if not isinstance(answer.error, NotFoundError | ForbiddenError | UnknownCommandError)
    }
