"""The verb ``conform``: whether a server does what the protocol says, case by case."""

from __future__ import annotations

import click

from beanrow.cli.options import SERVER, shared_options
from beanrow.cli.output import write, write_json
from beanrow.client.address import Address
from beanrow.errors import ConnectFailedError

__all__ = ["conform"]

_DIFFERS = 1


@click.command(
    epilog="""\b
Examples:
  beanrow conform localhost:11300
  beanrow conform localhost:11300 --case 302 --json
  beanrow conform --list

Ends with 0 where nothing differs but what is known (docs/conform.md), with 1
where something does."""
)
@click.argument("place", metavar="[HOST:PORT]", type=SERVER, required=False)
@click.option("--list", "listing", is_flag=True, help="List the cases and play none.")
@click.option("--case", "numbers", type=int, multiple=True, help="Only this; may be repeated.")
@shared_options
def conform(
    place: Address | None,
    listing: bool,
    numbers: tuple[int, ...],
    server: Address,
    as_json: bool,
) -> int:
    """Play the cases of the protocol to a server and tell what differs.

    Nobody else should use the server meanwhile. The jobs that are put are deleted.
    """
    from beanrow.conform.__main__ import chosen
    from beanrow.conform.case import read_differences
    from beanrow.conform.report import document, list_cases, told
    from beanrow.conform.suite import NoServerError, play_all
    from beanrow.conform.talk import Place

    try:
        cases = chosen(numbers)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if listing:
        write(list_cases(cases).encode())
        return 0
    at = place or server
    if at.tls or at.token:
        raise click.UsageError("conform speaks without TLS and tokens: give HOST:PORT")
    try:
        report = play_all(Place(at.host, at.port, at.path), cases)
    except NoServerError as error:
        raise ConnectFailedError(str(error)) from error
    if as_json:
        write_json(document(report, read_differences()))
    else:
        write(told(report, read_differences()).encode())
    return 0 if report.conforms else _DIFFERS
