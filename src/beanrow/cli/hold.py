"""The verbs that need a reservation: ``bury``, ``release`` and ``touch``.

The protocol lets only the connection that reserved a job change it, and a command has no
connection of its own that lasts. So each takes the job first, from whatever state it is in; one
that somebody else holds is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

from beanrow.cli.bulk import count, tell
from beanrow.cli.options import (
    COUNT,
    DELAY,
    JOB_ID,
    PRIORITY,
    TUBE,
    connected,
    period,
    shared_options,
)
from beanrow.client.address import Address
from beanrow.errors import BuriedJob
from beanrow.jobs.change import put_back, take
from beanrow.jobs.search import NothingThereError, next_jobs

__all__ = ["bury", "release", "touch"]

_KEPT = "Default: it keeps its own."


@click.command(
    epilog="""\b
Examples:
  beanrow bury 42
  beanrow bury --tube emails --count 10"""
)
@click.argument("ids", type=JOB_ID, nargs=-1, metavar="[ID]...")
@click.option("--tube", type=TUBE, help="The next ready jobs of this tube.")
@click.option("--count", "most", type=COUNT, default=1, show_default=True, help="So many of it.")
@click.option("--priority", type=PRIORITY, help=_KEPT)
@shared_options
def bury(
    ids: tuple[int, ...],
    tube: str | None,
    most: int,
    priority: int | None,
    server: Address,
    as_json: bool,
) -> None:
    """Set jobs aside until they are kicked.

    They are those with an ID, which nobody may hold, or the next ready ones of a tube.
    """
    if bool(ids) == (tube is not None):
        raise click.UsageError("give ID or --tube")
    done: list[int] = []
    with connected(server) as client:
        chosen: Iterable[int] = ids
        if tube is not None:
            chosen = (one.stats.id for one in next_jobs(client, tube, "ready", most))
        for id in chosen:
            stats, _ = take(client, id)
            client.bury(id, priority=stats.pri if priority is None else priority)
            done.append(id)
    if not done:
        raise NothingThereError(
            f"no ready job in tube {tube}; 'beanrow tubes' shows where jobs are"
        )
    tell(f"{count(len(done))} buried", {"buried": done}, as_json)


@click.command(
    epilog="""\b
Examples:
  beanrow release 42
  beanrow release 42 --priority 0 --delay 60"""
)
@click.argument("ids", type=JOB_ID, nargs=-1, required=True, metavar="ID...")
@click.option("--priority", type=PRIORITY, help=_KEPT)
@click.option("--delay", type=DELAY, default=0, show_default=True, help="Ready after so long.")
@shared_options
def release(
    ids: tuple[int, ...], priority: int | None, delay: int, server: Address, as_json: bool
) -> None:
    """Take jobs that nobody holds, and put them back ready.

    A buried or delayed job is ready then, as if it had been kicked, and --priority and --delay
    change what it keeps. The server counts a reserve and a release.
    """
    with connected(server) as client:
        for id in ids:
            stats, _ = take(client, id)
            new = stats.pri if priority is None else priority
            if not client.release(id, priority=new, delay=delay):
                raise BuriedJob(id)
    tell(f"{count(len(ids))} released", {"released": list(ids)}, as_json)


@click.command(
    epilog="""\b
Example:
  beanrow touch 42 --for 600"""
)
@click.argument("id", type=JOB_ID)
@click.option("--for", "duration", type=period("time"), required=True, help="Hold it so long.")
@shared_options
def touch(id: int, duration: int, server: Address, as_json: bool) -> None:
    """Hold a job that nobody holds, so that no worker gets it.

    It is touched before its ttr runs out, and put back as it was when the time is over, or on
    Ctrl-C. What a worker holds only that worker can touch.
    """
    with connected(server) as client:
        stats, job = take(client, id)
        end, touches = time.monotonic() + duration, 0
        try:
            while (left := end - time.monotonic()) > 0:
                client.touch(job)
                touches += 1
                time.sleep(min(left, stats.ttr / 2))
        finally:
            put_back(client, stats)
    tell(
        f"job {id} was held for {duration} s, and is {stats.state} again",
        {"id": id, "held": duration, "touches": touches, "state": stats.state},
        as_json,
    )
