"""What the verbs share that change many jobs: --dry-run, --yes, --undo, and what they tell.

Law: nothing is destroyed by a selection before somebody has agreed, at the terminal or by --yes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import click

from beanrow.cli.options import JOB_ID
from beanrow.cli.output import write, write_json
from beanrow.cli.progress import show_count
from beanrow.client.sync import Client
from beanrow.jobs.search import Found, find, jobs_by_id
from beanrow.jobs.selection import Selection

__all__ = [
    "DRY_RUN",
    "IDS",
    "UNDO",
    "YES",
    "agree",
    "by_the_hundred",
    "choose",
    "count",
    "one_choice",
    "tell",
]

AT_ONCE = 100

T = TypeVar("T")

IDS = click.argument("ids", type=JOB_ID, nargs=-1, metavar="[ID]...")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
UNDO = click.option(
    "--undo",
    type=click.Path(dir_okay=False),
    help="Keep the jobs in this new file; 'beanrow restore' puts them back.",
)


def one_choice(ids: tuple[int, ...], wanted: Selection) -> None:
    """Check that jobs are named by their ids or by a selection; UsageError if not."""
    if bool(ids) != wanted.asks_nothing:
        raise click.UsageError("give ID, or say which jobs with options, not both")


def choose(
    client: Client, ids: tuple[int, ...], wanted: Selection, *, bodies: bool = False
) -> list[Found]:
    """Give the jobs with these ids, or those that the selection finds."""
    if ids:
        return list(jobs_by_id(client, dict.fromkeys(ids), bodies=bodies))
    with show_count("looked at") as tell_count:
        return list(find(client, wanted, bodies=bodies, tell=tell_count))


def agree(question: str, yes: bool) -> None:
    """Ask whether to go on, unless the user said --yes; ClickException if not."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(f"{question}? Say --yes; --dry-run tells what would be done")
    try:
        agreed = click.confirm(f"{question}?", err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise click.ClickException("nothing was changed")


def by_the_hundred(items: list[T], what: str, *, beside_output: bool = False) -> Iterator[list[T]]:
    """Cut them into what goes out in one write, and show how far that is."""
    with show_count(what, beside_output=beside_output) as tell_count:
        for first in range(0, len(items), AT_ONCE):
            yield items[first : first + AT_ONCE]
            tell_count(min(first + AT_ONCE, len(items)), len(items))


def count(number: int, what: str = "job") -> str:
    """Write a number of things: ``1 job``, ``2 jobs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def tell(text: str, document: dict[str, Any], as_json: bool) -> None:
    """Write what was done."""
    if as_json:
        write_json(document)
    else:
        write(f"{text}\n".encode())
