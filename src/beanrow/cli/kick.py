"""The verb ``kick``: make buried jobs ready again, and delayed ones before their time."""

from __future__ import annotations

import click

from beanrow.cli.bulk import AT_ONCE, DRY_RUN, IDS, by_the_hundred, choose, count, one_choice, tell
from beanrow.cli.options import COUNT, connected, shared_options
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.jobs.search import (
    NothingThereError,
    Part,
    carry_out,
    chosen_tubes,
    lists_jobs,
    windows,
)
from beanrow.jobs.selection import Selection
from beanrow.protocol import commands
from beanrow.protocol.stats import TubeStats

__all__ = ["kick"]


@click.command(
    epilog="""\b
Examples:
  beanrow kick 42
  beanrow kick --tube emails --count 10
  beanrow kick --tube 'emails*' --all
  beanrow kick --tube emails --state buried --match timeout --dry-run"""
)
@IDS
@click.option("--count", "most", type=COUNT, help="Up to so many, buried ones first.")
@click.option("--all", "all_buried", is_flag=True, help="All buried jobs, and no delayed one.")
@selection_options("buried", "delayed")
@DRY_RUN
@shared_options
def kick(
    ids: tuple[int, ...],
    most: int | None,
    all_buried: bool,
    wanted: Selection,
    dry_run: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Make buried or delayed jobs ready.

    They are those with an ID, or --count or --all of the tubes, or those that the other options
    find: for that the original server is asked for each id. There --all costs a round trip for
    each job where a tube has delayed ones too.
    """
    whole = most is not None or all_buried
    if whole and (most is not None and all_buried):
        raise click.UsageError("give --count or --all, not both")
    if whole and (ids or not wanted.tubes or not wanted._replace(tubes=()).asks_nothing):
        raise click.UsageError("--count and --all go with --tube alone")
    if not whole:
        one_choice(ids, wanted)
    with connected(server) as client:
        if whole:
            tubes = chosen_tubes(client, wanted.tubes)
            kicked = sum(_kick_tube(client, tube, most, dry_run=dry_run) for tube in tubes)
        else:
            kicked = _kick_jobs(client, ids, wanted, dry_run=dry_run)
    if dry_run:
        tell(f"would kick {count(kicked)}", {"would-kick": kicked}, as_json)
    else:
        tell(f"{count(kicked)} kicked", {"kicked": kicked}, as_json)


def _kick_tube(client: Client, tube: TubeStats, most: int | None, *, dry_run: bool) -> int:
    if most is None:
        return tube.current_jobs_buried if dry_run else _kick_buried(client, tube)
    if dry_run:
        return min(most, tube.current_jobs_buried or tube.current_jobs_delayed)
    client.use(tube.name)
    return client.kick(most)


def _kick_buried(client: Client, tube: TubeStats) -> int:
    if not tube.current_jobs_delayed or not lists_jobs(client):
        return client.kick_all(tube.name)
    buried = Part(tube.name, "buried", tube.current_jobs_buried)
    return sum(
        sum(carry_out(client, [commands.kick_job(one.stats.id) for one in some]))
        for some in windows(client, buried, buried.jobs, AT_ONCE, bodies=False)
    )


def _kick_jobs(client: Client, ids: tuple[int, ...], wanted: Selection, *, dry_run: bool) -> int:
    found = choose(client, ids, wanted)
    if dry_run:
        return sum(one.stats.state in wanted.offered for one in found)
    kicked = 0
    for some in by_the_hundred(found, "jobs kicked"):
        done = carry_out(client, [commands.kick_job(one.stats.id) for one in some])
        kicked += sum(done)
        if ids and not all(done):
            stats = some[done.index(False)].stats
            raise NothingThereError(f"job {stats.id} is {stats.state}: neither buried nor delayed")
    return kicked
