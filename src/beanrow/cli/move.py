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

from beanrow.cli.bulk import DRY_RUN, IDS, choose, count, one_choice, tell
from beanrow.cli.exits import no_job
from beanrow.cli.jobs import Found, next_jobs, parts_of, put_back, take
from beanrow.cli.options import TUBE, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.cli.selection import STATES, Selection, selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BadValueError, NotFoundError
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import Job
from beanrow.worker.letters import read_letter

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
    what else the options ask: for that each id of the server is asked for.
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
                moved.append(one)
                if not as_json:
                    write(f"{one['from']} -> {one['id']} in {one['tube']}\n".encode())
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
) -> Iterator[dict[str, Any]]:
    if ids:
        for id in ids:
            moved = _one(client, id, to)
            if moved is None:
                raise no_job(id)
            yield moved
        return
    strange: list[JobStats] = []
    try:
        for found in _some(client, wanted, to):
            if to is None and not _is_letter(found.known_body):
                stats, _ = take(client, found.stats.id)  # so that it does not come again
                strange.append(stats)
            elif moved := _one(client, found.stats.id, to):
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


def _is_letter(body: bytes) -> bool:
    try:
        read_letter(body)
    except BadValueError:
        return False
    return True


def _one(client: Client, id: int, to: str | None) -> dict[str, Any] | None:
    """Move a job; None if it is not there, or somebody else has it."""
    try:
        if to is not None:
            return {"from": id, "id": client.move(id, to), "tube": to}
        read_letter(client.peek(id).body)  # refused before it is taken
        return _unwrapped(client, client.reserve_job(id))
    except NotFoundError as error:
        if getattr(error, "__notes__", None):  # it is in its new place already
            raise
        return None


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
