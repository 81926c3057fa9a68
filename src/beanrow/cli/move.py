"""The verb ``move``: dead letters back to where they came from, or jobs into another tube.

Laws:
- A job is put in its new place before it leaves the old one: whatever ends this in between
  leaves both, and never neither.
- A job that is put again has another id; each move tells the old one and the new one.
- Jobs that come into the tube meanwhile are left, so that this ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from beanrow.cli.exits import NothingThereError, no_job
from beanrow.cli.options import JOB_ID, TUBE, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BadValueError, NotFoundError
from beanrow.protocol.values import Job
from beanrow.worker.letters import read_letter

__all__ = ["move"]


@click.command(
    epilog="""\b
Examples:
  beanrow move --tube emails-dead              each dead letter's job, to its own tube
  beanrow move 42 --to emails                  one job, as it is"""
)
@click.argument("id", type=JOB_ID, required=False)
@click.option("--tube", type=TUBE, help="All its ready jobs.")
@click.option("--to", type=TUBE, help="As they are, to this tube.")
@shared_options
def move(id: int | None, tube: str | None, to: str | None, server: Address, as_json: bool) -> None:
    """Move the job ID, or the ready jobs of a tube.

    Without --to they are dead letters: the job in each is put again, where it came from, as it
    was first put. Each job gets another id; it is printed behind the old one.
    """
    if (id is None) == (tube is None):
        raise click.UsageError("give ID or --tube")
    if to is not None and to == tube:
        raise click.UsageError(f"the jobs are in tube {to} already")
    moved: list[dict[str, Any]] = []
    with connected(server) as client:
        try:
            for one in _one(client, id, to) if id is not None else _all(client, str(tube), to):
                moved.append(one)
                if not as_json:
                    write(f"{one['from']} -> {one['id']} in {one['tube']}\n".encode())
        finally:
            if as_json:
                write_json(moved)


def _one(client: Client, id: int, to: str | None) -> Iterator[dict[str, Any]]:
    try:
        job = client.peek(id)
        if to is None:
            read_letter(job.body)  # refused before it is taken
            yield _unwrapped(client, client.reserve_job(id))
        else:
            yield {"from": id, "id": client.move(id, to), "tube": to}
    except NotFoundError as error:
        raise error if getattr(error, "__notes__", None) else no_job(id) from None


def _all(client: Client, tube: str, to: str | None) -> Iterator[dict[str, Any]]:
    client.watch(tube)
    if tube != "default":
        client.ignore("default")
    left, strange = client.stats_tube(tube).current_jobs_ready, 0
    if not left:
        raise NothingThereError(
            f"no ready job in tube {tube}; 'beanrow tubes' shows where jobs are"
        )
    for _ in range(left):
        job = client.reserve(timeout=0)
        if job is None:
            break  # somebody else took it
        if to is not None:
            yield {"from": job.id, "id": client.move(job, to), "tube": to}
            continue
        try:
            yield _unwrapped(client, job)
        except BadValueError:
            strange += 1  # held until the end, so that it does not come again
    if strange:
        raise BadValueError(
            f"{strange} jobs of tube {tube} are no dead letters, and were left; "
            "--to moves jobs as they are"
        )


def _unwrapped(client: Client, job: Job) -> dict[str, Any]:
    """Put the job in a dead letter again; BadValueError if it is none."""
    letter = read_letter(job.body)
    new = client.put(letter.body, tube=letter.tube, priority=letter.priority, ttr=letter.ttr)
    try:
        client.delete(job)
    except NotFoundError as error:
        error.add_note(f"its job is in tube {letter.tube} as {new}, and the letter is still there")
        raise
    return {"from": job.id, "id": int(new), "tube": letter.tube}
