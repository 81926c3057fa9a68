"""The verb ``top``: a live view of a server in the terminal."""

from __future__ import annotations

import locale
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from beanrow.cli.options import connected, shared_options
from beanrow.cli.output import on_terminal, write, write_json
from beanrow.client.address import Address
from beanrow.errors import ForbiddenError, NotOfferedError

if TYPE_CHECKING:
    from beanrow.client.sync import Client
    from beanrow.protocol.holders import Connected, Lease
    from beanrow.top.watched import Watched

__all__ = ["top"]

_WIDTH = 80


@click.command(
    epilog="""\b
Examples:
  beanrow top
  beanrow top 'mail*' --server queue1 --interval 5
  beanrow top --once --json

\b
Keys:
  arrows, PageUp, PageDown, Home, End   move
  < >      sort by another column           r      turn the order round
  /        show tubes whose names match     Enter  look at the next job
  p        pause or resume the tube         x      kick jobs of the tube
  w, t     workers and what they hold, tubes
  Space    hold the view as it is           q      quit"""
)
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print what happened in one interval, and end.")
@shared_options
def top(
    globs: tuple[str, ...], interval: float, once: bool, server: Address, as_json: bool
) -> None:
    """Watch a server: its tubes with rates and trends, and its workers with what they hold.

    What workers hold, and how long jobs wait, is known of servers of beanrow only. --json prints
    what --once does as a document, with workers and what they hold.
    """
    from beanrow.observe.snapshot import Tubes

    if once or as_json:
        _print(server, Tubes(globs), interval, as_json=as_json)
        return
    if not on_terminal():
        raise click.UsageError("top needs a terminal; --once prints what it shows")
    with connected(server):
        pass  # tell here, not on a screen of its own, that no server answers
    try:
        from beanrow.top.app import TopApp  # textual, which nothing else needs
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise click.UsageError(
            "top needs textual: pip install 'beanrow[top]'; --once prints what it shows without"
        ) from error
    TopApp(server, Tubes(globs), interval=interval, plain=_is_plain()).run()


def _is_plain() -> bool:
    """Tell whether the terminal may be without the signs of a trend."""
    encoding = (sys.stdout.encoding or locale.getpreferredencoding()).lower()
    return "utf" not in encoding or os.environ.get("TERM", "") in {"linux", "vt100", "vt220"}


def _print(server: Address, tubes: Any, interval: float, *, as_json: bool) -> None:
    from beanrow.observe.snapshot import take_snapshot
    from beanrow.top.watched import Watched

    watched = Watched()
    with connected(server) as client:
        watched.add(take_snapshot(client, tubes))
        time.sleep(interval)
        watched.add(take_snapshot(client, tubes))
        if as_json:
            write_json({**_document(watched), **_holders(client)})
            return
    from beanrow.top.summary import summary_lines
    from beanrow.top.table import head_line, tube_line

    rows = sorted(watched.rows(), key=lambda row: row.stats.current_jobs_ready, reverse=True)
    lines = summary_lines(str(server), watched, held=False)
    lines += [head_line(_WIDTH, "ready", falling=True)]
    lines += [tube_line(row, _WIDTH, at_cursor=False, plain=_is_plain()) for row in rows]
    write("".join(f"{line.rstrip()}\n" for line in lines).encode())


def _holders(client: Client) -> dict[str, Any]:
    """Tell who holds what and who is connected, None where the server does not tell us."""
    try:
        leases, clients = client.list_leases(), client.list_clients()
    except (NotOfferedError, ForbiddenError):
        return {"leases": None, "clients": None}
    return {"leases": list(map(_keyed, leases)), "clients": list(map(_keyed, clients))}


def _keyed(row: Lease | Connected) -> dict[str, Any]:
    """Write a row with the protocol's own keys."""
    return {key.replace("_", "-"): value for key, value in row._asdict().items()}


def _document(watched: Watched) -> dict[str, Any]:
    assert watched.snapshot is not None
    rates = watched.rates
    return {
        "stats": watched.snapshot.stats.as_dict(),
        "a-second": None if rates is None else rates.server._asdict(),
        "tubes": [
            {
                **row.stats.as_dict(),
                "puts-a-second": row.rates.puts,
                "deletes-a-second": row.rates.deletes,
                "wait-95": row.wait,
                "run-95": row.run,
            }
            for row in watched.rows()
        ],
    }
