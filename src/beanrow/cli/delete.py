"""The verbs that destroy: ``delete`` jobs, ``truncate`` tubes.

Laws:
- A job goes into the undo file before it is deleted.
- As many are deleted as there were at the start: both end while others put. But where the server
  truncates, all go that are there in that moment.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from beanrow.cli.bulk import (
    AT_ONCE,
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
from beanrow.cli.options import connected, shared_options
from beanrow.cli.progress import show_count
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import NotFoundError, NotOfferedError
from beanrow.jobs.lines import undo_file
from beanrow.jobs.search import (
    Found,
    NothingThereError,
    Part,
    carry_out,
    no_job,
    parts_of,
    windows,
)
from beanrow.jobs.selection import STATES, Selection
from beanrow.protocol import commands

__all__ = ["delete", "truncate"]


@click.command(
    epilog="""\b
Examples:
  beanrow delete 42
  beanrow delete --tube emails --state buried --yes
  beanrow delete --tube emails --older-than 86400 --undo old.jsonl --dry-run"""
)
@IDS
@selection_options(*STATES)
@UNDO
@DRY_RUN
@YES
@shared_options
def delete(
    ids: tuple[int, ...],
    wanted: Selection,
    undo: str | None,
    dry_run: bool,
    yes: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Delete jobs that nobody holds.

    They are those with an ID, or all of the tubes in the states, or those of them that the other
    options find. The original server has no list: there each id is asked for to find them, and
    without other options it costs a few round trips for each job.
    """
    one_choice(ids, wanted)
    with connected(server) as client:
        if not ids and wanted.tubes and wanted.by_state_alone:
            parts = parts_of(client, wanted.tubes, wanted.meant_states)
            deleted = _delete_parts(client, parts, undo, dry_run=dry_run, yes=yes)
        else:
            deleted = _delete_jobs(client, ids, wanted, undo, dry_run=dry_run, yes=yes)
    _tell(deleted, dry_run=dry_run, as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  beanrow truncate emails --yes
  beanrow truncate 'test-*' --undo test.jsonl --dry-run"""
)
@click.argument("globs", nargs=-1, required=True, metavar="GLOB...")
@UNDO
@DRY_RUN
@YES
@shared_options
def truncate(
    globs: tuple[str, ...],
    undo: str | None,
    dry_run: bool,
    yes: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Delete all jobs of tubes that nobody holds.

    On our server it is one command a tube. On the original one ready jobs of a tube that is not
    paused go by the hundred, all others cost a round trip each; so does every job where there is
    an undo file.
    """
    with connected(server) as client:
        parts = parts_of(client, globs, STATES)
        if undo is not None or dry_run:
            deleted = _delete_parts(client, parts, undo, dry_run=dry_run, yes=yes)
        else:
            _agree_to(parts, yes)
            deleted = _drain(client, parts)
    _tell(deleted, dry_run=dry_run, as_json=as_json)


def _tell(deleted: int, *, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        tell(f"would delete {count(deleted)}", {"would-delete": deleted}, as_json)
    else:
        tell(f"{count(deleted)} deleted", {"deleted": deleted}, as_json)


def _agree_to(parts: list[Part], yes: bool) -> None:
    told = ", ".join(f"{one.jobs} {one.state} of {one.tube}" for one in parts[:10])
    more = f", and {len(parts) - 10} more parts" if len(parts) > 10 else ""
    agree(f"delete {count(sum(one.jobs for one in parts))} ({told}{more})", yes)


def _delete_parts(
    client: Client, parts: list[Part], path: str | None, *, dry_run: bool, yes: bool
) -> int:
    total, deleted = sum(one.jobs for one in parts), 0
    if dry_run:
        return total
    _agree_to(parts, yes)
    with undo_file(path) as undo, show_count("jobs deleted") as tell_count:
        for part in parts:
            for some in windows(client, part, part.jobs, AT_ONCE, bodies=undo.wanted):
                for found in some:
                    undo.keep(found)
                deleted += sum(carry_out(client, [commands.delete(one.stats.id) for one in some]))
                tell_count(deleted, total)
    return deleted


def _drain(client: Client, parts: list[Part]) -> int:
    total, deleted = sum(one.jobs for one in parts), 0
    with show_count("jobs deleted") as tell_count:
        for tube in dict.fromkeys(one.tube for one in parts):

            def advance(done: int, before: int = deleted) -> None:
                tell_count(before + done, total)

            deleted += _truncate(client, tube, advance)
    return deleted


def _truncate(client: Client, tube: str, advance: Callable[[int], None]) -> int:
    """Delete the jobs of a tube, in one command where the server has it."""
    try:
        deleted = client.truncate(tube)
    except NotOfferedError:
        return client.drain_tube(tube, progress=advance)
    except NotFoundError:
        return 0  # its last job was deleted meanwhile, and it is gone
    advance(deleted)
    return deleted


def _delete_jobs(
    client: Client,
    ids: tuple[int, ...],
    wanted: Selection,
    path: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> int:
    found = choose(client, ids, wanted, bodies=path is not None)
    if dry_run:
        return len(found)
    if not ids:
        agree(f"delete {count(len(found))}", yes)
    deleted = 0
    with undo_file(path) as undo:
        for some in by_the_hundred(found, "jobs deleted"):
            for one in some:
                undo.keep(one)
            deleted += sum(carry_out(client, [commands.delete(one.stats.id) for one in some]))
    if ids and deleted < len(found):
        raise NothingThereError(_left(client, found))
    return deleted


def _left(client: Client, found: list[Found]) -> str:
    """Tell which of the jobs are still there."""
    for one in found:
        try:
            state = client.stats_job(one.stats.id).state
        except NotFoundError:
            continue
        return f"job {one.stats.id} was left: it is {state}, and another connection holds it"
    return str(no_job(found[0].stats.id))
