"""The verb ``reserve``: take a job, print it, then finish it.

Law: a job is deleted, released or buried only after its body was written; if that fails it is
released, and whatever else happens the server puts it back when the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import click

from beanrow.cli.options import TIMEOUT, TUBE, connected, shared_options
from beanrow.cli.output import write_job
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BuriedJob, NotFoundError
from beanrow.jobs.search import NothingThereError
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import Job

__all__ = ["Action", "finish", "reserve", "watch_only"]

Action: TypeAlias = Literal["release", "delete", "bury"]

_DEFAULT = "default"


@click.command(
    epilog="""\b
Example:
  beanrow reserve --tube emails --timeout 5 --delete"""
)
@click.option(
    "--tube", "tubes", type=TUBE, multiple=True, help="May be repeated. Default: default."
)
@click.option("--timeout", type=TIMEOUT, help="Wait so long for a job. Default: for ever.")
@click.option("--delete", is_flag=True, help="Delete the job after printing it.")
@click.option("--release", is_flag=True, help="Put it back (the default: nothing is lost).")
@click.option("--bury", is_flag=True, help="Set it aside until it is kicked.")
@shared_options
def reserve(
    tubes: tuple[str, ...],
    timeout: int | None,
    delete: bool,
    release: bool,
    bury: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Reserve a job, print its body, then release, delete or bury it."""
    if delete + release + bury > 1:
        raise click.UsageError("give only one of --delete, --release and --bury")
    tubes = tubes or (_DEFAULT,)
    with connected(server) as client:
        watch_only(client, tubes)
        job = client.reserve() if timeout is None else client.reserve(timeout)
        if job is None:
            raise NothingThereError(
                f"no job to reserve within {timeout} s in tube {', '.join(tubes)}; "
                "'beanrow tubes' shows where jobs are"
            )
        stats = client.stats_job(job)
        action: Action = "delete" if delete else "bury" if bury else "release"
        finish(client, job, stats, lambda: write_job(job, stats.tube, as_json), action)


def watch_only(client: Client, tubes: tuple[str, ...]) -> None:
    """Have a new client watch these tubes and no other."""
    for tube in tubes:
        client.watch(tube)
    if _DEFAULT not in tubes:
        client.ignore(_DEFAULT)


def finish(
    client: Client,
    job: Job,
    stats: JobStats,
    show: Callable[[], None],
    action: Action,
    delay: int = 0,
) -> None:
    """Show a held job, then release (with this delay), delete or bury it."""
    try:
        show()
    except OSError as error:
        _release(client, job, stats.pri, 0)
        error.add_note(f"job {job.id} was released")
        raise
    try:
        if action == "delete":
            client.delete(job)
        elif action == "bury":
            client.bury(job, priority=stats.pri)
        else:
            _release(client, job, stats.pri, delay)
    except NotFoundError as error:
        error.add_note(f"the ttr of job {job.id}, {stats.ttr} s, ran out while it was printed")
        raise


def _release(client: Client, job: Job, priority: int, delay: int) -> None:
    if not client.release(job, priority=priority, delay=delay):
        raise BuriedJob(job.id)
