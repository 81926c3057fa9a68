"""The verb ``migrate``: all jobs of tubes to another server.

Laws:
- A job is stored on the new server, and only then deleted from the old one. Whatever ends this in
  between, none is lost; a window of jobs may be on both.
- Nothing has to be remembered: what has moved is gone from the old server, and a second run goes
  on with what is left.
- What is delayed or buried, or in a paused tube, is never held: the end of a connection would make
  it ready. What somebody took on the old server while it was stored is deleted from the new one.
- No job is held while the pace is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from beanrow.cli.bulk import DRY_RUN, YES, agree, count, tell
from beanrow.cli.options import SERVER, connected, shared_options
from beanrow.cli.pace import RATE, Pace
from beanrow.cli.progress import show_count
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError
from beanrow.jobs.emptying import reserved, watch_only
from beanrow.jobs.lines import spec_of
from beanrow.jobs.search import Found, Part, carry_out, parts_of, tubes_of, windows
from beanrow.jobs.selection import STATES
from beanrow.jobs.store import store
from beanrow.protocol import commands

__all__ = ["migrate"]


@click.command(
    epilog="""\b
Examples:
  beanrow migrate --server old:11300 --to-server new:11300 --dry-run
  beanrow migrate 'emails*' --server old --to-server new --rate 500 --yes"""
)
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@click.option("--to-server", type=SERVER, required=True, help="Where the jobs go.")
@RATE
@DRY_RUN
@YES
@shared_options
def migrate(
    globs: tuple[str, ...],
    to_server: Address,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Move the jobs of tubes, or of all tubes, to another server.

    Priority, ttr, state and what is left of a delay go with them; ids, ages and counts begin
    anew; pauses stay. Jobs that workers hold are left, and told. Have everybody put to the new
    server first, then migrate, and again for what was left. If it is cut, run it again: none is
    lost, and up to a hundred jobs may be there twice.
    """
    with connected(server) as old, connected(to_server) as new:
        if old.stats().id == new.stats().id:
            raise click.UsageError(f"{server} and {to_server} are the same server")
        parts = parts_of(old, globs, STATES)
        total = sum(one.jobs for one in parts)
        if dry_run:
            told = {"would-migrate": total, "tubes": sorted({one.tube for one in parts})}
            tell(f"would migrate {count(total)} to {to_server}", told, as_json)
            return
        agree(f"migrate {count(total)} from {server} to {to_server}", yes)
        moved = twice = 0
        try:
            with show_count("jobs migrated") as tell_count:
                for done, doubled in _migrate(old, new, parts, Pace(rate)):
                    moved += done
                    twice += doubled
                    tell_count(moved, max(total, moved))
        except (BeanstalkError, OSError) as error:
            error.add_note(f"jobs migrated before that: {moved}")
            raise
        held = sum(one.current_jobs_reserved for one in tubes_of(old, globs))
    notes = f"; {count(held)} left, held by workers" if held else ""
    notes += f"; {count(twice)} on both servers: somebody took them meanwhile" if twice else ""
    tell(
        f"{count(moved)} migrated{notes}",
        {"migrated": moved, "held": held, "twice": twice},
        as_json,
    )


def _migrate(old: Client, new: Client, parts: list[Part], pace: Pace) -> Iterator[tuple[int, int]]:
    """Move the jobs; how many each window has moved, and how many of them are on both."""
    for part in parts:
        left = part.jobs
        if part.state == "ready":
            watch_only(old, part.tube)
            while left > 0:
                pace.wait()
                window = reserved(old, min(left, pace.at_once))
                if not window:
                    break  # none is ready any more, or the tube is paused
                left -= len(window)
                yield _move(old, new, window, pace, held=True)
        for some in windows(old, part, left, pace.at_once):
            pace.wait()
            yield _move(old, new, some, pace, held=False)


def _move(
    old: Client, new: Client, window: list[Found], pace: Pace, *, held: bool
) -> tuple[int, int]:
    ids = store(new, [spec_of(one) for one in window])
    stored = [
        (one.stats.id, int(id))
        for one, id in zip(window, ids, strict=True)
        if not isinstance(id, BeanstalkError)
    ]
    deleted = carry_out(old, [commands.delete(one) for one, _ in stored])
    doubled = [id for (_, id), gone in zip(stored, deleted, strict=True) if not gone]
    undone = sum(carry_out(new, [commands.delete(id) for id in doubled]))
    pace.went(len(stored))
    for one, error in zip(window, ids, strict=True):
        if isinstance(error, BeanstalkError):
            if held:
                carry_out(old, [commands.release(one.stats.id, one.stats.pri, 0)])
            error.add_note(f"job {one.stats.id} of tube {one.stats.tube} stays where it is")
            raise error
    return len(stored) - undone, len(doubled) - undone
