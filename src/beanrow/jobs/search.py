"""The jobs of a server, by what is asked of them: the one place that knows how they are found.

Our server lists jobs, a thousand in one round trip. The original protocol has no list. Two ways
are left there, and none of the three changes a job:
- ``find`` asks for the statistics of each id that was given out, 500 in one write, and for the
  bodies where they matter. It costs what was ever put, not what is there: 60,000 ids a second.
- ``next_jobs`` looks at the next job of a tube in a state, again and again; so it is for verbs
  that take away what they have seen. It costs a round trip for each job. ``windows`` is the same,
  by the list where there is one.

Laws:
- What is found was there when it was looked at. Jobs put meanwhile may be missing.
- More than ``MOST_IDS`` ids are not asked for unless the user says so.
- With a list or without one the same jobs are found, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from beanrow.client.pipeline import MOST_COMMANDS
from beanrow.client.sync import Client
from beanrow.errors import BadValueError, NotFoundError
from beanrow.jobs.selection import Selection, by_glob
from beanrow.protocol import commands
from beanrow.protocol.capabilities import LIST_JOBS
from beanrow.protocol.commands import Command
from beanrow.protocol.listing import MAX_LISTED, ListedJob
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
    "listed",
    "lists_jobs",
    "next_jobs",
    "no_job",
    "parts_of",
    "tubes_of",
    "windows",
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
    """Find jobs, in the order of their ids.

    NothingThereError if no tube matches, BadValueError if each id has to be asked for and there
    are too many.
    """
    tubes = chosen_tubes(client, wanted.tubes)
    if not lists_jobs(client):
        yield from _find_by_ids(client, wanted, tubes, bodies=bodies, tell=tell)
        return
    there = (one for one in listed(client, wanted, tubes, tell) if wanted.takes(one))
    if not bodies and wanted.match is None:
        yield from map(Found, there)
        return
    while some := list(islice(there, _BODIES_AT_ONCE)):
        yield from _with_bodies(client, some, wanted)


def lists_jobs(client: Client) -> bool:
    """Tell whether the server has a list of jobs."""
    return LIST_JOBS in client.capabilities()


def listed(
    client: Client, wanted: Selection, tubes: list[TubeStats], tell: Tell | None = None
) -> Iterator[JobStats]:
    """List the jobs of these tubes in the states that are meant, by their ids, each once."""
    parts = [
        Part(tube.name, state, getattr(tube, f"current_jobs_{state}"))
        for tube in tubes
        for state in wanted.meant_states
    ]
    parts = [one for one in parts if one.jobs]
    # All lists are held side by side: the more there are, the shorter their pages.
    page = max(10, MAX_LISTED // max(1, len(parts)))
    lists = [_list_of(client, one.tube, one.state, wanted.span, page) for one in parts]
    total, seen, last = sum(one.jobs for one in parts), 0, 0
    for stats in merge(*lists, key=attrgetter("id")):
        if stats.id != last:  # else it went from one state to another meanwhile
            yield stats
        last, seen = stats.id, seen + 1
        if tell is not None:
            tell(seen, max(seen, total))


def _list_of(
    client: Client, tube: str, state: str, span: range | None, page: int
) -> Iterator[JobStats]:
    """List the jobs of a tube in a state as ``stats_job`` tells of them."""
    after, stop = (0, None) if span is None else (max(0, span.start - 1), span.stop)
    while True:
        try:
            jobs = client.list_jobs(tube, state, after=after, limit=page)
        except NotFoundError:
            return  # it has vanished with its last job
        for one in jobs:
            if stop is not None and one.id >= stop:
                return
            yield _stats_in(one)
        if len(jobs) < page:
            return
        after, page = jobs[-1].id, min(2 * page, MAX_LISTED)


def _stats_in(listed: ListedJob) -> JobStats:
    values = {name: value for name, value in listed.__dict__.items() if name != "bytes"}
    return JobStats(**values)


def _find_by_ids(
    client: Client,
    wanted: Selection,
    tubes: list[TubeStats],
    *,
    bodies: bool,
    tell: Tell | None,
) -> Iterator[Found]:
    """Find jobs by asking for each id."""
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


def windows(
    client: Client, part: Part, most: int, at_once: int, *, bodies: bool = True
) -> Iterator[list[Found]]:
    """Give ``most`` jobs of a part, up to ``at_once`` in a window, while there are any.

    As with ``next_jobs``, who draws from this takes a window's jobs away before the next one.
    """
    if not lists_jobs(client):
        for one in next_jobs(client, part.tube, part.state, most):
            yield [one]
        return
    there = islice(_list_of(client, part.tube, part.state, None, MAX_LISTED), most)
    while some := list(islice(there, min(at_once, _BODIES_AT_ONCE) if bodies else at_once)):
        if window := _as_they_are(client, [one.id for one in some], part.state, bodies=bodies):
            yield window


def _as_they_are(client: Client, ids: list[int], state: str, *, bodies: bool) -> list[Found]:
    """Look at jobs that were listed a while ago; those that are in this state still."""
    told = ask(client, [commands.stats_job(id) for id in ids])
    jobs = ask(client, [commands.peek(id) for id in ids]) if bodies else [None] * len(ids)
    return [
        Found(stats, None if job is None else job.body)
        for stats, job in zip(told, jobs, strict=True)
        if stats is not None and stats.state == state and (job is not None or not bodies)
    ]
