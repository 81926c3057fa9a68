"""The verb ``edit``: another priority, delay, ttr or body for jobs that are in a queue.

Law: a job goes into the undo file before it is changed.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import click

from beanrow.cli.bulk import (
    DRY_RUN,
    IDS,
    UNDO,
    YES,
    agree,
    by_the_hundred,
    choose,
    count,
    one_choice,
    tell,
)
from beanrow.cli.input import read_all
from beanrow.cli.options import DELAY, PRIORITY, TTR, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.jobs.change import Edit, edit_held, take
from beanrow.jobs.lines import undo_file
from beanrow.jobs.search import Found
from beanrow.jobs.selection import STATES, Selection

__all__ = ["edit"]


@click.command(
    epilog="""\b
Examples:
  beanrow edit 42 --priority 0
  beanrow edit 42 --file new-body.json --undo old.jsonl
  beanrow edit --tube emails --state delayed --delay 0 --dry-run"""
)
@IDS
@selection_options(*STATES)
@click.option("--priority", type=PRIORITY, help="0 is the most urgent.")
@click.option("--delay", type=DELAY, help="Delayed for so long from now; 0: ready.")
@click.option("--ttr", type=TTR, help="How long a worker may hold it.")
@click.option("--body", help="Its new body.")
@click.option("--file", type=click.File("rb"), help="A file with its new body.")
@UNDO
@DRY_RUN
@YES
@shared_options
def edit(
    ids: tuple[int, ...],
    wanted: Selection,
    priority: int | None,
    delay: int | None,
    ttr: int | None,
    body: str | None,
    file: BinaryIO | None,
    undo: str | None,
    dry_run: bool,
    yes: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Change jobs that nobody holds.

    With another priority or delay a job keeps its id. With another ttr or body it is put again:
    its new id is printed behind the old one, and its age and its counts begin anew. Jobs that
    the options find cost an id scan, as with 'list'.
    """
    one_choice(ids, wanted)
    if body is not None and file is not None:
        raise click.UsageError("give --body or --file, not both")
    content = read_all(file) if file else None if body is None else os.fsencode(body)
    change = Edit(priority, delay, ttr, content)
    if change == Edit():
        raise click.UsageError("give --priority, --delay, --ttr, --body or --file")
    with connected(server) as client:
        found = choose(client, ids, wanted)
        if dry_run:
            tell(f"would edit {count(len(found))}", {"would-edit": len(found)}, as_json)
            return
        if not ids:
            agree(f"edit {count(len(found))}", yes)
        _edit(client, [one.stats.id for one in found], change, undo, as_json=as_json)


def _edit(client: Client, ids: list[int], change: Edit, path: str | None, *, as_json: bool) -> None:
    edited: list[dict[str, Any]] = []
    try:
        with undo_file(path) as undo:
            for some in by_the_hundred(ids, "jobs edited", beside_output=True):
                for id in some:
                    stats, job = take(client, id)
                    old = Found(stats, job.body)
                    undo.keep(old)
                    new = edit_held(client, old, change)
                    edited.append({"from": id, "id": new})
                    if not as_json:
                        write(f"{id} -> {new}\n".encode() if id != new else b"%d\n" % id)
    finally:
        if as_json:
            write_json(edited)
