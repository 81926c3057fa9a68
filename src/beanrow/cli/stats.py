"""The verbs that count: ``stats`` and ``tubes``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from beanrow.cli.exits import NothingThereError, no_job
from beanrow.cli.options import JOB_ID, TUBE, connected, shared_options
from beanrow.cli.output import write_json, write_table
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import NotFoundError
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats

__all__ = ["stats", "tubes"]

_COLUMNS = {
    "tube": "name",
    "ready": "current-jobs-ready",
    "reserved": "current-jobs-reserved",
    "delayed": "current-jobs-delayed",
    "buried": "current-jobs-buried",
    "waiting": "current-waiting",
    "watching": "current-watching",
    "total": "total-jobs",
    "paused": "pause-time-left",
}


@click.command(
    epilog="""\b
Examples:
  beanrow stats
  beanrow stats --tube emails --json"""
)
@click.option("--tube", type=TUBE, help="Of this tube, not of the server.")
@click.option("--job", "job_id", type=JOB_ID, help="Of this job.")
@shared_options
def stats(tube: str | None, job_id: int | None, server: Address, as_json: bool) -> None:
    """Print the statistics of the server, of a tube or of a job."""
    if tube is not None and job_id is not None:
        raise click.UsageError("give --tube or --job, not both")
    with connected(server) as client:
        values = _ask(client, tube, job_id).as_dict()
    if as_json:
        write_json(values)
    else:
        write_table(values.items())


def _ask(
    client: Client, tube: str | None, job_id: int | None
) -> ServerStats | TubeStats | JobStats:
    try:
        if job_id is not None:
            return client.stats_job(job_id)
        return client.stats() if tube is None else client.stats_tube(tube)
    except NotFoundError:
        if job_id is not None:
            raise no_job(job_id) from None
        raise NothingThereError(f"no tube {tube}; 'beanrow tubes' lists those there are") from None


@click.command(
    epilog="""\b
Example:
  beanrow tubes --json"""
)
@shared_options
def tubes(server: Address, as_json: bool) -> None:
    """List all tubes with their counts."""
    with connected(server) as client:
        found = [one.as_dict() for one in _all_tubes(client)]
    if as_json:
        write_json(found)
    else:
        rows = [[one.get(key, "") for key in _COLUMNS.values()] for one in found]
        write_table(rows, head=list(_COLUMNS))


def _all_tubes(client: Client) -> Iterator[TubeStats]:
    """Ask for all tubes by name; one that vanished since they were listed is left out."""
    for name in sorted(client.list_tubes()):
        try:
            yield client.stats_tube(name)
        except NotFoundError:
            continue
