"""The verb ``tail``: jobs shown as they come.

The protocol tells nobody of a job but the one that reserves it. So each job is taken for a moment,
and put back behind a delay, since it would come at once again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import click

from beanrow.cli.options import COUNT, DELAY, TIMEOUT, TUBE, connected, shared_options
from beanrow.cli.output import write
from beanrow.cli.reserve import Action, finish, watch_only
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.jobs.lines import body_document, shown
from beanrow.jobs.search import NothingThereError
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import Job

__all__ = ["tail"]


@click.command(
    epilog="""\b
Examples:
  beanrow tail --tube emails
  beanrow tail --tube emails --count 10 --timeout 5 --bury --json"""
)
@click.option(
    "--tube", "tubes", type=TUBE, multiple=True, help="May be repeated. Default: default."
)
@click.option("--count", "most", type=COUNT, help="End after so many. Default: on Ctrl-C.")
@click.option("--timeout", type=TIMEOUT, help="End when none came for so long.")
@click.option("--delete", "action", flag_value="delete", help="Delete what was shown.")
@click.option("--bury", "action", flag_value="bury", help="Set it aside until it is kicked.")
@click.option(
    "--delay",
    type=DELAY,
    default=10,
    show_default=True,
    help="Else it is put back, ready after so long.",
)
@shared_options
def tail(
    tubes: tuple[str, ...],
    most: int | None,
    timeout: int | None,
    action: Action | None,
    delay: int,
    server: Address,
    as_json: bool,
) -> None:
    """Show each ready job once, and those that come, a line for each.

    Each is reserved for that and put back with --delay: workers get it so much later. 'list' and
    'peek' take nothing. --json prints one document a line.
    """
    if action is None and not delay:
        raise click.UsageError("--delay 0 would show the same job for ever")
    tubes = tubes or ("default",)
    show = _write_json if as_json else _write_line
    with connected(server) as client:
        watch_only(client, tubes)
        number = _follow(client, most, timeout, action or "release", delay, show)
    if not number:
        raise NothingThereError(f"no job within {timeout} s in tube {', '.join(tubes)}")


def _follow(
    client: Client,
    most: int | None,
    timeout: int | None,
    action: Action,
    delay: int,
    show: Callable[[JobStats, Job], None],
) -> int:
    """Show jobs; how many it were."""
    seen: set[int] = set()
    while most is None or len(seen) < most:
        job = client.reserve() if timeout is None else client.reserve(timeout)
        if job is None:
            break
        stats = client.stats_job(job)
        if job.id in seen:
            finish(client, job, stats, lambda: None, "release", delay)
            continue
        finish(client, job, stats, partial(show, stats, job), action, delay)
        seen.add(job.id)
    return len(seen)


def _write_json(stats: JobStats, job: Job) -> None:
    document = {"id": job.id, "tube": stats.tube, "pri": stats.pri, **body_document(job.body)}
    write(json.dumps(document, ensure_ascii=False).encode() + b"\n")


def _write_line(stats: JobStats, job: Job) -> None:
    write(f"{job.id:>8}  {stats.tube:<20} {stats.pri:>10}  {shown(job.body)}\n".encode())
