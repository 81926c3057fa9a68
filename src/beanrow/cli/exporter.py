"""The verb ``exporter``: figures of servers for Prometheus."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import click

from beanrow.cli.exits import Exit
from beanrow.cli.options import shared_servers
from beanrow.cli.output import write
from beanrow.client.address import Address
from beanrow.errors import ConnectFailedError
from beanrow.observe.exposition import NAMINGS, Naming
from beanrow.server.listeners import Place, read_place

if TYPE_CHECKING:
    from beanrow.observe.exporter import Exporter

__all__ = ["exporter"]


def _place(text: str) -> Place:
    try:
        return read_place(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_place.__name__ = "[host:]port"


@click.command(
    epilog="""\b
Examples:
  beanrow exporter --listen 0.0.0.0:9180
  beanrow exporter --listen 9180 --server queue1 --server queue2
  beanrow exporter --listen 9180 --include 'mail*' --exclude '*.test'
  beanrow exporter --once > beanstalkd.prom"""
)
@click.option("--listen", type=_place, help="Answer GET /metrics there.")
@click.option("--once", is_flag=True, help="Print the figures of now, and end.")
@click.option("--include", multiple=True, metavar="GLOB", help="Tubes. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these. May be repeated.")
@click.option(
    "--names",
    type=click.Choice(NAMINGS),
    default=NAMINGS[0],
    help=f"Whose exporter the names are like. Default: {NAMINGS[0]}.",
)
@shared_servers
def exporter(
    listen: Place | None,
    once: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    names: Naming,
    servers: tuple[Address, ...],
) -> int:
    """Tell Prometheus the figures of servers and of their tubes.

    Each scrape asks each server once, for all tubes in one burst. A server that does not answer is
    beanstalkd_up 0, and has no other figure. Of several servers each figure has a label 'server'.
    """
    if once == (listen is not None):
        raise click.UsageError("give --listen [HOST:]PORT, or --once")
    from beanrow.observe.exporter import Exporter  # and a web server with it
    from beanrow.observe.snapshot import Tubes

    figures = Exporter(servers, Tubes(include, exclude), names)
    try:
        if listen is None:
            return _print(figures)
        return _serve(figures, listen)
    finally:
        figures.close()


def _print(figures: Exporter) -> int:
    write(figures.scrape().encode())
    return Exit.NO_SERVER if figures.errors() else Exit.DONE


def _serve(figures: Exporter, place: Place) -> int:
    from beanrow.observe.exporter import ExporterServer

    try:
        server = ExporterServer(place.host, place.port, figures)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConnectFailedError(f"cannot listen on {place}: {reason}") from error
    signal.signal(signal.SIGTERM, _end)
    with server:
        host, port = server.server_address[:2]
        sys.stderr.write(f"beanrow: metrics on http://{Place(str(host), int(port))}/metrics\n")
        sys.stderr.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass  # the way to end it
    return Exit.DONE


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
