"""A tube emptied without loss: each job is shown before it is deleted, to be kept by who asked.

Laws:
- A job is handed to ``keep`` with its body before it is deleted.
- It ends when as many were deleted as there were at the start, while others put.
- Only jobs that are ready, in a tube that is not paused, are ever reserved for this: the end of a
  connection makes such a job what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from beanrow.client.sync import Client
from beanrow.jobs.search import Found, Part, ask, carry_out, lists_jobs, next_jobs, windows
from beanrow.jobs.selection import STATES
from beanrow.protocol import commands

__all__ = ["Gone", "emptied", "reserved", "watch_only"]

_AT_ONCE = 100


Keep = Callable[[Found], object]
Gone = list[tuple[Found, bool]]
"""Jobs, each with whether it was deleted: somebody may have been quicker."""


def emptied(client: Client, tube: str, keep: Keep) -> Iterator[Gone]:
    """Delete the jobs of a tube that nobody holds, in windows; NotFoundError if there is none.

    With our server they are listed. With others ready ones are reserved by the hundred, and all
    others cost two round trips each.
    """
    stats, one_by_one = client.stats_tube(tube), not lists_jobs(client)
    for state in STATES:
        left = getattr(stats, f"current_jobs_{state}")
        if state == "ready" and left and one_by_one:
            watch_only(client, tube)
            while left > 0 and (window := reserved(client, min(left, _AT_ONCE))):
                left -= len(window)
                yield from _deleted(client, [window], keep)
        if one_by_one:
            drawn: Iterator[list[Found]] = ([one] for one in next_jobs(client, tube, state, left))
        else:
            drawn = windows(client, Part(tube, state, left), left, _AT_ONCE)
        yield from _deleted(client, drawn, keep)


def watch_only(client: Client, tube: str) -> None:
    """Have a client reserve from this tube and no other."""
    client.watch(tube)
    for other in client.list_tubes_watched():
        if other != tube:
            client.ignore(other)


def reserved(client: Client, most: int) -> list[Found]:
    """Reserve ready jobs of the watched tubes, and tell of them."""
    jobs = client.reserve_many(most)
    told = ask(client, [commands.stats_job(one) for one in jobs])
    return [
        Found(stats, job.body)
        for stats, job in zip(told, jobs, strict=True)
        if stats is not None  # else its ttr ran out, and somebody was quick
    ]


def _deleted(client: Client, windows: Iterable[list[Found]], keep: Keep) -> Iterator[Gone]:
    for window in windows:
        for one in window:
            keep(one)
        gone = carry_out(client, [commands.delete(one.stats.id) for one in window])
        yield list(zip(window, gone, strict=True))
