"""The verb ``copy``: jobs put a second time, into another tube."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from beanrow.cli.bulk import DRY_RUN, IDS, by_the_hundred, choose, count, one_choice, tell
from beanrow.cli.options import TUBE, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError
from beanrow.jobs.lines import spec_of
from beanrow.jobs.search import Found, ask
from beanrow.jobs.selection import STATES, Selection
from beanrow.jobs.store import store
from beanrow.protocol import commands

__all__ = ["copy"]


@click.command(
    epilog="""\b
Examples:
  beanrow copy 42 --to emails-debug
  beanrow copy --tube emails --state buried --to emails-debug --dry-run"""
)
@IDS
@selection_options(*STATES, "reserved")
@click.option("--to", type=TUBE, required=True, help="Into this tube.")
@DRY_RUN
@shared_options
def copy(
    ids: tuple[int, ...],
    wanted: Selection,
    to: str,
    dry_run: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Put jobs again into another tube, and leave them where they are.

    Body, priority, ttr, state and what is left of a delay are the same; the copy of a job that
    a worker holds is ready. The new id is printed behind the old one. Jobs that the options find
    cost an id scan, as with 'list'.
    """
    one_choice(ids, wanted)
    with connected(server) as client:
        found = choose(client, ids, wanted)  # all of them first: a copy is not copied again
        if dry_run:
            tell(f"would copy {count(len(found))}", {"would-copy": len(found)}, as_json)
            return
        copied: list[dict[str, Any]] = []
        try:
            for some in by_the_hundred(found, "jobs copied", beside_output=True):
                for one in _copy(client, some, to):
                    copied.append(one)
                    if not as_json:
                        write(f"{one['from']} -> {one['id']} in {to}\n".encode())
        finally:
            if as_json:
                write_json(copied)


def _copy(client: Client, found: list[Found], to: str) -> Iterator[dict[str, Any]]:
    jobs = ask(client, [commands.peek(one.stats.id) for one in found])
    there = [
        Found(one.stats, job.body)
        for one, job in zip(found, jobs, strict=True)
        if job is not None  # else it was deleted meanwhile
    ]
    ids = store(client, [spec_of(one)._replace(tube=to) for one in there])
    failed = None
    for one, id in zip(there, ids, strict=True):
        if not isinstance(id, BeanstalkError):
            yield {"from": one.stats.id, "id": int(id), "tube": to}
        elif failed is None:
            failed = id
            failed.add_note(f"job {one.stats.id} was not copied")
    if failed is not None:
        raise failed
