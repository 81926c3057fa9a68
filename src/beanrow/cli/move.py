"""The verb ``move``: dead letters back to where they came from, or jobs into another tube.

Laws:
- A job that is put again has another id; each move tells the old one and the new one.
- Jobs that come into the tube meanwhile are left, so that this ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from beanrow.cli.bulk import DRY_RUN, IDS, choose, count, one_choice, tell
from beanrow.cli.options import TUBE, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BadValueError
from beanrow.jobs.change import Moved, is_letter, move_job, put_back, take
from beanrow.jobs.search import Found, next_jobs, no_job, parts_of
from beanrow.jobs.selection import STATES, Selection
from beanrow.protocol.stats import JobStats

__all__ = ["move"]


@click.command(
    epilog="""\b
Examples:
  beanrow move --tube emails-dead         each letter's job, to its own tube
  beanrow move 42 43 --to emails          two jobs, as they are
  beanrow move --tube emails --state buried --match timeout --to later"""
)
@IDS
@selection_options(*STATES)
@click.option("--to", type=TUBE, help="As they are, to this tube.")
@DRY_RUN
@shared_options
def move(
    ids: tuple[int, ...],
    wanted: Selection,
    to: str | None,
    dry_run: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Move jobs that nobody holds.

    They are those with an ID, or the ready ones of the tubes, or those in other states or with
    what else the options ask: for that the original server is asked for each id.
    Without --to they are dead letters: the job in each is put again, where it came from, as it
    was first put. Each job gets another id; it is printed behind the old one.
    """
    one_choice(ids, wanted)
    if to is not None and to in wanted.tubes:
        raise click.UsageError(f"the jobs are in tube {to} already")
    if not wanted.states:
        wanted = wanted._replace(states=("ready",))
    with connected(server) as client:
        if dry_run:
            number = _would_move(client, ids, wanted, to)
            tell(f"would move {count(number)}", {"would-move": number}, as_json)
            return
        moved: list[dict[str, Any]] = []
        try:
            for one in _moved(client, ids, wanted, to):
                moved.append({"from": one.old, "id": one.new, "tube": one.tube})
                if not as_json:
                    write(f"{one.old} -> {one.new} in {one.tube}\n".encode())
        finally:
            if as_json:
                write_json(moved)


def _would_move(client: Client, ids: tuple[int, ...], wanted: Selection, to: str | None) -> int:
    if ids or not wanted.by_state_alone:
        return len(choose(client, ids, wanted))
    parts = parts_of(client, wanted.tubes, wanted.meant_states)
    return sum(one.jobs for one in parts if one.tube != to)


def _moved(
    client: Client, ids: tuple[int, ...], wanted: Selection, to: str | None
) -> Iterator[Moved]:
    if ids:
        for id in ids:
            moved = move_job(client, id, to)
            if moved is None:
                raise no_job(id)
            yield moved
        return
    strange: list[JobStats] = []
    try:
        for found in _some(client, wanted, to):
            if to is None and not is_letter(found.known_body):
                stats, _ = take(client, found.stats.id)  # so that it does not come again
                strange.append(stats)
            elif moved := move_job(client, found.stats.id, to):
                yield moved
    finally:
        for stats in strange:
            put_back(client, stats)
    if strange:
        raise BadValueError(
            f"{len(strange)} jobs of tube {' or '.join(wanted.tubes)} are no dead letters, and "
            "were left; --to moves jobs as they are"
        )


def _some(client: Client, wanted: Selection, to: str | None) -> Iterator[Found]:
    if not wanted.by_state_alone:
        found = choose(client, (), wanted, bodies=to is None)
        yield from (one for one in found if one.stats.tube != to)
        return
    for part in parts_of(client, wanted.tubes, wanted.meant_states):
        if part.tube != to:
            yield from next_jobs(client, part.tube, part.state, part.jobs)
