"""The jobs of one tube a page at a time, by their ids; for those who look, and have not all day.

Our server lists jobs. Any other one is asked for each id, as ``search.find`` does, but no more of
them for a page than ``MOST_LOOKED_AT``: a page may be short, and tells where to go on.

Law: nothing is taken and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from beanrow.client.pipeline import MOST_COMMANDS
from beanrow.client.sync import Client
from beanrow.jobs.search import Found, ask, listed, lists_jobs
from beanrow.jobs.selection import Selection
from beanrow.protocol import commands
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import MAX_ID

__all__ = ["MOST_LOOKED_AT", "Page", "page_of", "pages_of"]

MOST_LOOKED_AT = 20_000
"""Jobs or ids for one page: a third of a second with the original daemon."""
_BODIES_AT_ONCE = 100


class Page(NamedTuple):
    """Jobs by their ids. ``after`` is the id to go on behind, None at the end."""

    jobs: list[Found]
    after: int | None


def page_of(
    client: Client,
    tube: str,
    wanted: Selection,
    *,
    after: int = 0,
    limit: int = 50,
    bodies: bool = True,
) -> Page:
    """Give jobs of a tube with ids above ``after``: ``limit`` of them, or as many as were found.

    With our server and ``limit`` jobs on a page there may be none on the next.
    """
    if lists_jobs(client):
        windows = _listed(client, tube, wanted, after)
    else:
        windows = _scanned(client, tube, after)
    found: list[Found] = []
    looked = 0
    for window, last, width in windows:
        looked += width
        for one in _taken(client, window, wanted, bodies=bodies):
            found.append(one)
            if len(found) == limit:
                return Page(found, one.stats.id)
        if looked >= MOST_LOOKED_AT:
            return Page(found, last)
    return Page(found, None)


def pages_of(
    client: Client, tube: str, wanted: Selection, *, bodies: bool = True
) -> Iterator[list[Found]]:
    """Give all jobs of a tube that are meant, a page at a time.

    It ends when as many have come as the tube had at the start, while others put.
    """
    stats = client.stats_tube(tube)
    left = sum(getattr(stats, f"current_jobs_{state}") for state in wanted.meant_states)
    after: int | None = 0
    while after is not None and left > 0:
        page = page_of(
            client, tube, wanted, after=after, limit=min(left, MOST_COMMANDS), bodies=bodies
        )
        left -= len(page.jobs)
        after = page.after
        if page.jobs:
            yield page.jobs


_Windows = Iterator[tuple[list[JobStats], int, int]]
"""Jobs by their ids, the id to go on behind, and how many were looked at."""


def _listed(client: Client, tube: str, wanted: Selection, after: int) -> _Windows:
    """Draw from the list, which goes on behind any id."""
    behind = wanted._replace(span=range(after + 1, MAX_ID + 1))
    jobs = listed(client, behind, [client.stats_tube(tube)])
    while window := list(islice(jobs, MOST_COMMANDS)):
        yield window, window[-1].id, len(window)


def _scanned(client: Client, tube: str, after: int) -> _Windows:
    """Ask for each id, up to the last that can be known of."""
    last = max(client.stats().total_jobs, *_next_ids(client, tube))
    first = after + 1
    while True:
        ids = range(first, first + MOST_COMMANDS)
        told = ask(client, [commands.stats_job(id) for id in ids])
        there = [one for one in told if one is not None]
        if ids.start > last and not there:
            return  # a daemon that was started again counts from 0, and its ids go on
        yield [one for one in there if one.tube == tube], ids.stop - 1, len(ids)
        first = ids.stop


def _next_ids(client: Client, tube: str) -> list[int]:
    """The ids of the next jobs of a tube, of each state that can be looked at; 0 for none."""
    peeks = [commands.peek_ready(), commands.peek_delayed(), commands.peek_buried()]
    _, *seen = ask(client, [commands.use(tube), *peeks])
    return [0 if job is None else job.id for job in seen]


def _taken(
    client: Client, window: list[JobStats], wanted: Selection, *, bodies: bool
) -> Iterator[Found]:
    taken = [one for one in window if wanted.takes(one)]
    if not bodies and wanted.match is None:
        yield from map(Found, taken)
        return
    for first in range(0, len(taken), _BODIES_AT_ONCE):
        some = taken[first : first + _BODIES_AT_ONCE]
        jobs = ask(client, [commands.peek(one.id) for one in some])
        for stats, job in zip(some, jobs, strict=True):
            if job is not None and (wanted.match is None or wanted.match.search(job.body)):
                yield Found(stats, job.body)
