"""The verbs that count: ``stats`` and ``tubes``."""

from __future__ import annotations

from typing import Any

import click

from beanrow.cli.options import JOB_ID, TUBE, connected, shared_options_of_servers
from beanrow.cli.output import write, write_json, write_table
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import NotFoundError
from beanrow.jobs.search import NothingThereError, no_job, tubes_of
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
  beanrow stats current-jobs-ready
  beanrow stats --tube emails --json"""
)
@click.argument("key", required=False)
@click.option("--tube", type=TUBE, help="Of this tube, not of the server.")
@click.option("--job", "job_id", type=JOB_ID, help="Of this job.")
@shared_options_of_servers
def stats(
    key: str | None,
    tube: str | None,
    job_id: int | None,
    servers: tuple[Address, ...],
    as_json: bool,
) -> None:
    """Print the statistics of the server, of a tube or of a job, or the one that is KEY.

    Of several servers each has a column, and in JSON a document under its address.
    """
    if tube is not None and job_id is not None:
        raise click.UsageError("give --tube or --job, not both")
    told: dict[str, dict[str, Any]] = {}
    for server in servers:
        with connected(server) as client:
            values = _ask(client, tube, job_id).as_dict()
        told[str(server)] = values if key is None else {key: _one(values, key)}
    first, *others = told.values()
    if as_json:
        write_json(told if others else first)
    elif key is not None:
        write("".join(f"{values[key]}\n" for values in told.values()).encode())
    elif others:
        keys = dict.fromkeys(key for values in told.values() for key in values)
        rows = [[one, *(values.get(one, "") for values in told.values())] for one in keys]
        write_table(rows, head=["", *told])
    else:
        write_table(first.items())


def _one(values: dict[str, Any], key: str) -> Any:
    if key not in values:
        raise NothingThereError(f"no key {key!r} in these statistics; without KEY all are printed")
    return values[key]


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
Examples:
  beanrow tubes --json
  beanrow tubes 'emails*' --server queue1 --server queue2"""
)
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@shared_options_of_servers
def tubes(globs: tuple[str, ...], servers: tuple[Address, ...], as_json: bool) -> None:
    """List tubes with their counts: all of them, or those that match."""
    found: list[dict[str, Any]] = []
    for server in servers:
        with connected(server) as client:
            told = [one.as_dict() for one in tubes_of(client, globs)]
        found += [{"server": str(server), **one} for one in told] if len(servers) > 1 else told
    if as_json:
        write_json(found)
        return
    columns = {"server": "server", **_COLUMNS} if len(servers) > 1 else _COLUMNS
    rows = [[one.get(key, "") for key in columns.values()] for one in found]
    write_table(rows, head=list(columns))
