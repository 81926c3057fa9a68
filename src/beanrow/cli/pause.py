"""The verbs ``pause`` and ``resume``: tubes that hand out nothing for a while."""

from __future__ import annotations

import click

from beanrow.cli.bulk import DRY_RUN, count
from beanrow.cli.options import connected, period, shared_options_of_servers
from beanrow.cli.output import write, write_json
from beanrow.client.address import Address
from beanrow.jobs.search import carry_out, chosen_tubes
from beanrow.protocol import commands

__all__ = ["pause", "resume"]

_GLOBS = click.argument("globs", nargs=-1, required=True, metavar="GLOB...")


@click.command(
    epilog="""\b
Examples:
  beanrow pause emails --for 600
  beanrow pause '*' --for 60 --dry-run"""
)
@_GLOBS
@click.option(
    "--for",
    "duration",
    type=period("pause"),
    default=3600,
    show_default=True,
    help="It ends by itself then.",
)
@DRY_RUN
@shared_options_of_servers
def pause(
    globs: tuple[str, ...],
    duration: int,
    dry_run: bool,
    servers: tuple[Address, ...],
    as_json: bool,
) -> None:
    """Have tubes hand out no job for a while. Jobs can still be put."""
    _pause(globs, duration, servers, dry_run=dry_run, as_json=as_json)


@click.command(
    epilog="""\b
Example:
  beanrow resume 'emails*'"""
)
@_GLOBS
@DRY_RUN
@shared_options_of_servers
def resume(
    globs: tuple[str, ...], dry_run: bool, servers: tuple[Address, ...], as_json: bool
) -> None:
    """End the pause of tubes."""
    _pause(globs, 0, servers, dry_run=dry_run, as_json=as_json)


def _pause(
    globs: tuple[str, ...],
    duration: int,
    servers: tuple[Address, ...],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    done: list[str] = []
    for server in servers:
        with connected(server) as client:
            names = [one.name for one in chosen_tubes(client, globs)]
            if not dry_run:
                asked = [commands.pause_tube(name, duration) for name in names]
                there = carry_out(client, asked)
                names = [name for name, is_there in zip(names, there, strict=True) if is_there]
            done += names
    verb = "pause" if duration else "resume"
    if as_json:
        key = f"would-{verb}" if dry_run else f"{verb}d"
        write_json({key: done, "seconds": duration})
    else:
        told = f"would {verb}" if dry_run else f"{verb}d"
        write(f"{told} {count(len(done), 'tube')}: {', '.join(done)}\n".encode())
