"""The verb ``edit``: another priority, delay, ttr or body for jobs that are in a queue.

Laws:
- A job keeps its id where the protocol can change it: its priority, its delay. With another ttr
  or body it is put again, and has another id.
- The new one is stored before the old one is deleted, and the old one is held meanwhile: no worker
  gets both.
- A job keeps its state, and what is left of its delay.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NamedTuple

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
from beanrow.cli.jobfile import Spec, spec_of, undo_file
from beanrow.cli.jobs import Found, put_back, take
from beanrow.cli.options import DELAY, PRIORITY, TTR, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.cli.selection import STATES, Selection, selection_options
from beanrow.cli.store import store_one
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError, NotFoundError

__all__ = ["edit"]


class _Edit(NamedTuple):
    """What is to be another; None is as it was."""

    priority: int | None
    delay: int | None
    ttr: int | None
    body: bytes | None

    def of(self, old: Spec) -> Spec:
        """Give what becomes of a job."""
        new = {name: value for name, value in self._asdict().items() if value is not None}
        if self.delay is not None:
            new["state"] = "delayed" if self.delay else "ready"
        return old._replace(**new)


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
    change = _Edit(priority, delay, ttr, content)
    if change == _Edit(None, None, None, None):
        raise click.UsageError("give --priority, --delay, --ttr, --body or --file")
    with connected(server) as client:
        found = choose(client, ids, wanted)
        if dry_run:
            tell(f"would edit {count(len(found))}", {"would-edit": len(found)}, as_json)
            return
        if not ids:
            agree(f"edit {count(len(found))}", yes)
        _edit(client, [one.stats.id for one in found], change, undo, as_json=as_json)


def _edit(
    client: Client, ids: list[int], change: _Edit, path: str | None, *, as_json: bool
) -> None:
    edited: list[dict[str, Any]] = []
    try:
        with undo_file(path) as undo:
            for some in by_the_hundred(ids, "jobs edited", beside_output=True):
                for id in some:
                    stats, job = take(client, id)
                    old = Found(stats, job.body)
                    undo.keep(old)
                    new = _edit_one(client, old, change)
                    edited.append({"from": id, "id": new})
                    if not as_json:
                        write(f"{id} -> {new}\n".encode() if id != new else b"%d\n" % id)
    finally:
        if as_json:
            write_json(edited)


def _edit_one(client: Client, old: Found, change: _Edit) -> int:
    """Change a job that this client holds; its id, perhaps a new one."""
    spec, stats = change.of(spec_of(old)), old.stats
    if change.ttr is None and change.body is None:
        put_back(client, stats, state=spec.state, priority=spec.priority, delay=spec.delay)
        return stats.id
    try:
        new = store_one(client, spec)
    except BeanstalkError:
        put_back(client, stats)
        raise
    try:
        client.delete(stats.id)
    except NotFoundError as error:
        error.add_note(f"the new job is there as {new}, and the old one may be too")
        raise
    return new
