"""The jobs of a server, by what is asked of them: the one place that knows how they are found.

The original protocol has no list of jobs. Two ways are left, and neither changes a job:
- ``find`` asks for the statistics of each id that was given out, 500 in one write, and for the
  bodies where they matter. It costs what was ever put, not what is there: 60,000 ids a second.
- ``next_jobs`` looks at the next job of a tube in a state, again and again; so it is for verbs
  that take away what they have seen. It costs a round trip for each job.

Laws:
- What is found was there when it was looked at. Jobs put meanwhile may be missing.
- More than ``MOST_IDS`` ids are not asked for unless the user says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from beanrow.client.pipeline import MOST_COMMANDS
from beanrow.client.sync import Client
from beanrow.errors import BadValueError, NotFoundError
from beanrow.jobs.selection import Selection, by_glob
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.stats import JobStats, TubeStats

__all__ = [
    "Found",
    "NothingThereError",
    "Part",
    "Tell",
    "ask",
    "carry_out",
    "chosen_tubes",
    "find",
    "jobs_by_id",
    "next_jobs",
    "no_job",
    "parts_of",
    "tubes_of",
]

MOST_IDS = 1_000_000
"""About 15 seconds with the original daemon on one core."""
_BODIES_AT_ONCE = 50
"""Bodies have at most 64 KiB as a rule: 3 MiB in memory."""

Tell = Callable[[int, int], object]
"""Is told how many are done, and of how many."""


class NothingThereError(Exception):
    """What was asked for is not there; the message says what to do."""


def no_job(id: int) -> NothingThereError:
    """Tell that there is no job with this id."""
    return NothingThereError(f"no job {id}: it was deleted, or never put on this server")


class Found(NamedTuple):
    """A job as it was found; the body is only there where it was asked for."""

    stats: JobStats
    body: bytes | None = None

    @property
    def known_body(self) -> bytes:
        """The body, where it was asked for."""
        assert self.body is not None
        return self.body


def ask(client: Client, asked: list[Command[Any]]) -> list[Any]:
    """Ask all this in as few writes as can be; None for what is not there any more."""
    with client.pipeline() as pipe:
        pending = [pipe.add(one) for one in asked]
    return [None if isinstance(one.error, NotFoundError) else one.result() for one in pending]


def carry_out(client: Client, asked: list[Command[Any]]) -> list[bool]:
    """Carry all this out; False for what is not there any more."""
    with client.pipeline() as pipe:
        pending = [pipe.add(one) for one in asked]
    for one in pending:
        if not isinstance(one.error, NotFoundError):
            one.result()
    return [one.error is None for one in pending]


def tubes_of(client: Client, globs: tuple[str, ...] = ()) -> list[TubeStats]:
    """Tell of the tubes that match, by name; one that vanished since is left out."""
    names = by_glob(client.list_tubes(), globs)
    told = ask(client, [commands.stats_tube(name) for name in names])
    return [one for one in told if one is not None]


def chosen_tubes(client: Client, globs: tuple[str, ...]) -> list[TubeStats]:
    """Tell of the tubes that match; NothingThereError if none does."""
    tubes = tubes_of(client, globs)
    if not tubes:
        raise NothingThereError(
            f"no tube {' or '.join(globs)}; 'beanrow tubes' lists those there are"
        )
    return tubes


class Part(NamedTuple):
    """The jobs of a tube in a state: how many there are."""

    tube: str
    state: str
    jobs: int


def parts_of(client: Client, globs: tuple[str, ...], states: tuple[str, ...]) -> list[Part]:
    """Tell how many jobs the tubes have in these states; NothingThereError if none."""
    parts = [
        Part(one.name, state, getattr(one, f"current_jobs_{state}"))
        for one in chosen_tubes(client, globs)
        for state in states
    ]
    parts = [one for one in parts if one.jobs]
    if not parts:
        raise NothingThereError(
            f"no {' or '.join(states)} job in tube {' or '.join(globs or ('*',))}; "
            "'beanrow tubes' shows where jobs are"
        )
    return parts


def find(
    client: Client, wanted: Selection, *, bodies: bool = False, tell: Tell | None = None
) -> Iterator[Found]:
    """Find jobs by asking for each id; in the order of their ids.

    NothingThereError if no tube matches, BadValueError if there are too many ids.
    """
    tubes = chosen_tubes(client, wanted.tubes)
    names, most = {one.name for one in tubes}, _count(tubes)
    ids = wanted.span or _all_ids(client)
    first, seen = ids.start, 0
    # A daemon that was started again from its binlog counts jobs from 0, and its ids go on from
    # the last: where jobs are missing at the end, more ids are asked for. No more than there were
    # at the start, so that this ends while others put.
    while first < ids.stop or (
        wanted.span is None and seen < most and seen < _count(tubes_of(client, wanted.tubes))
    ):
        known = first < ids.stop
        some = range(first, min(first + MOST_COMMANDS, ids.stop)) if known else _beyond(first)
        told = ask(client, [commands.stats_job(one) for one in some])
        there = [one for one in told if one is not None and one.tube in names]
        seen += len(there)
        taken = [one for one in there if wanted.takes(one)]
        if bodies or wanted.match is not None:
            yield from _with_bodies(client, taken, wanted)
        else:
            yield from map(Found, taken)
        first = some.stop
        if tell is not None:
            tell(first - ids.start, max(first, ids.stop) - ids.start)


def jobs_by_id(client: Client, ids: Iterable[int], *, bodies: bool = False) -> Iterator[Found]:
    """Give these jobs; NothingThereError for one that is not there."""
    for id in ids:
        stats, job = ask(client, [commands.stats_job(id), commands.peek(id)])
        if stats is None or job is None:
            raise no_job(id)
        yield Found(stats, job.body if bodies else None)


def _all_ids(client: Client) -> range:
    total = client.stats().total_jobs
    if total > MOST_IDS:
        raise BadValueError(
            f"this server has given out {total} ids, and each must be asked for, about "
            f"{total // 60_000} s: say which with --ids FIRST:LAST, all of them with --ids 1:{total}"
        )
    return range(1, total + 1)


def _beyond(first: int) -> range:
    if first > MOST_IDS:
        raise BadValueError(
            f"jobs are missing behind {MOST_IDS} ids; this server was started again from its "
            "journal, and does not tell how many ids it has given out: say with --ids FIRST:LAST"
        )
    return range(first, first + MOST_COMMANDS)


def _count(tubes: list[TubeStats]) -> int:
    return sum(
        one.current_jobs_ready
        + one.current_jobs_reserved
        + one.current_jobs_delayed
        + one.current_jobs_buried
        for one in tubes
    )


def _with_bodies(client: Client, found: list[JobStats], wanted: Selection) -> Iterator[Found]:
    for first in range(0, len(found), _BODIES_AT_ONCE):
        some = found[first : first + _BODIES_AT_ONCE]
        jobs = ask(client, [commands.peek(one.id) for one in some])
        for stats, job in zip(some, jobs, strict=True):
            if job is not None and (wanted.match is None or wanted.match.search(job.body)):
                yield Found(stats, job.body)


_PEEKS = {
    "ready": commands.peek_ready,
    "delayed": commands.peek_delayed,
    "buried": commands.peek_buried,
}


def next_jobs(client: Client, tube: str, state: str, most: int) -> Iterator[Found]:
    """Give the next job of a tube in a state, ``most`` times, while there is one.

    Who draws from this takes each job away before the next; else the same job comes again.
    """
    client.use(tube)
    for _ in range(most):
        found = None
        while found is None:
            (job,) = ask(client, [_PEEKS[state]()])
            if job is None:
                return
            (stats,) = ask(client, [commands.stats_job(job)])
            found = None if stats is None else Found(stats, job.body)
        yield found
