"""The verb ``list``: the jobs of a server, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from beanrow.cli.options import connected, shared_options_of_servers
from beanrow.cli.output import write
from beanrow.cli.progress import show_count
from beanrow.cli.selection import selection_options
from beanrow.client.address import Address
from beanrow.jobs.lines import body_document, shown
from beanrow.jobs.search import Found, find
from beanrow.jobs.selection import STATES, Selection

__all__ = ["list_"]

_HEAD = ("id", "tube", "state", "pri", "age", "left", "body")


@click.command(
    "list",
    epilog="""\b
Examples:
  beanrow list --tube emails --state buried
  beanrow list --older-than 3600 --json
  beanrow list --match 'user=42' --ids 500000:600000""",
)
@selection_options(*STATES, "reserved")
@shared_options_of_servers
def list_(wanted: Selection, servers: tuple[Address, ...], as_json: bool) -> None:
    """List jobs with their bodies, by their ids. None is taken, and nothing is changed.

    The original server has no list: there each id that it has given out is asked for, about
    60,000 ids a second, however few jobs are left. Above a million ids say which with --ids.
    The columns age and left (of a delay, or of a worker's time) are seconds.
    """
    found = _on_all(servers, wanted)
    if as_json:
        _write_json(found)
    else:
        _write_lines(found, with_server=len(servers) > 1)


def _on_all(servers: tuple[Address, ...], wanted: Selection) -> Iterator[tuple[str, Found]]:
    for server in servers:
        with (
            connected(server) as client,
            show_count("looked at", beside_output=True) as tell_count,
        ):
            for one in find(client, wanted, bodies=True, tell=tell_count):
                yield str(server) if len(servers) > 1 else "", one


def _write_json(found: Iterable[tuple[str, Found]]) -> None:
    """Write one document, a job at a time; it is whole even after an error."""
    before = b"["
    try:
        for server, one in found:
            document: dict[str, Any] = {"server": server} if server else {}
            document |= one.stats.as_dict() | body_document(one.known_body)
            write(before + json.dumps(document, ensure_ascii=False).encode())
            before = b",\n "
    finally:
        write(b"[]\n" if before == b"[" else b"]\n")


def _write_lines(found: Iterable[tuple[str, Found]], *, with_server: bool) -> None:
    """Write a line for each job as it comes, below a head."""
    _write_line("server" if with_server else "", _HEAD)
    for server, (stats, body) in found:
        values = (stats.id, stats.tube, stats.state, stats.pri, stats.age, stats.time_left)
        _write_line(server, (*map(str, values), shown(body or b"")))


def _write_line(server: str, cells: Iterable[str]) -> None:
    id, tube, state, priority, age, left, body = cells
    line = f"{id:>8}  {tube:<20} {state:<8} {priority:>10} {age:>7} {left:>7}  {body}"
    write(f"{f'{server:<21} ' if server else ''}{line}\n".encode())
