"""The verb ``peek``: look at a job without taking it."""

from __future__ import annotations

import click

from beanrow.cli.options import JOB_ID, TUBE, connected, shared_options
from beanrow.cli.output import write_job
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import NotFoundError
from beanrow.jobs.search import NothingThereError, no_job
from beanrow.protocol.values import Job

__all__ = ["peek"]


@click.command(
    epilog="""\b
Examples:
  beanrow peek --tube emails --state buried
  beanrow peek 42"""
)
@click.argument("id", type=JOB_ID, required=False)
@click.option("--tube", type=TUBE, help="Default: default.")
@click.option(
    "--state",
    type=click.Choice(["ready", "delayed", "buried"]),
    help="Its next job in this state. Default: ready.",
)
@shared_options
def peek(
    id: int | None, tube: str | None, state: str | None, server: Address, as_json: bool
) -> None:
    """Print a job's body and leave it in its place.

    The job is ID, or the next one of a tube in a state.
    """
    if id is not None and (tube or state):
        raise click.UsageError("give ID, or --tube and --state, not both")
    with connected(server) as client:
        if id is None:
            tube = tube or "default"
            job = _next_job(client, tube, state or "ready")
        else:
            job = _job(client, id)
            tube = _tube_of(client, job) if as_json else None
    write_job(job, tube, as_json)


def _next_job(client: Client, tube: str, state: str) -> Job:
    client.use(tube)
    look = {
        "ready": client.peek_ready,
        "delayed": client.peek_delayed,
        "buried": client.peek_buried,
    }
    job = look[state]()
    if job is None:
        raise NothingThereError(
            f"no {state} job in tube {tube}; 'beanrow tubes' shows where jobs are"
        )
    return job


def _job(client: Client, id: int) -> Job:
    try:
        return client.peek(id)
    except NotFoundError:
        raise no_job(id) from None


def _tube_of(client: Client, job: Job) -> str | None:
    """Tell the job's tube; None if the job was deleted since it was seen."""
    try:
        tube: str = client.stats_job(job).tube
    except NotFoundError:
        return None
    return tube
