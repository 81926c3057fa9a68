"""The verb ``cluster``: look at a store of gateways, and have all of them drain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beanrow.cli.options import checked
from beanrow.cli.output import write, write_json, write_table

if TYPE_CHECKING:
    from beanrow.cluster.address import StoreAddress
    from beanrow.cluster.status import Status

__all__ = ["STORE", "cluster", "needs_extra"]

_WRONG = 1


def needs_extra(missing: ModuleNotFoundError) -> click.UsageError:
    """Say which extra brings what is missing; raises anything that is no part of it."""
    if missing.name not in ("hiredis", "uvloop"):
        raise missing
    return click.UsageError("this needs the extra 'cluster': pip install 'beanrow[cluster]'")


def _read(text: str) -> StoreAddress:
    try:
        from beanrow.cluster.address import read_store_address
    except ModuleNotFoundError as missing:
        raise needs_extra(missing) from None
    return read_store_address(text)


STORE = checked("store", _read)
_STORE = click.argument("store", metavar="STORE", type=STORE)


@click.group(
    epilog="""\b
Examples:
  beanrow cluster status redis://localhost:6379
  beanrow cluster status 'redis-cluster://a:6379,b:6379?ack=1' --json
  beanrow cluster drain redis://localhost:6379 on"""
)
def cluster() -> None:
    """Look at the store of gateways ('serve --store'), and drain all of them."""


@cluster.command()
@_STORE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(store: StoreAddress, as_json: bool) -> int:
    """Tell of nodes, gateways and jobs, and of what is not safe.

    Ends with 1 if something is not safe (docs/cluster.md).
    """
    from beanrow.cluster.status import look

    found = look(store)
    if as_json:
        write_json(_document(found))
    else:
        _write(found)
    return _WRONG if any(one.danger for one in found.dangers) else 0


def _document(found: Status) -> dict[str, object]:
    return {
        "store": found.store,
        "library": found.library,
        "nodes": [one._asdict() for one in found.nodes],
        "gateways": [one._asdict() for one in found.gateways],
        "jobs": found.jobs,
        "dangers": [one._asdict() for one in found.dangers],
    }


def _write(found: Status) -> None:
    jobs = ", ".join(f"{count} {state}" for state, count in found.jobs.items())
    write(f"{found.store}\njobs: {jobs}\n\n".encode())
    nodes = [
        (
            *(one.address, one.partitions, one.replicas, one.behind),
            *(f"{one.memory / 1e6:.1f} MB", one.version),
        )
        for one in found.nodes
    ]
    write_table(nodes, ("master", "partitions", "replicas", "bytes behind", "memory", "engine"))
    gateways = [
        (
            *(f"{one.number} {one.name}", f"{one.silent} ms ago"),
            *(one.connections, one.waiting, "draining" if one.draining else "serving"),
        )
        for one in found.gateways
    ]
    write(b"\n")
    write_table(gateways, ("gateway", "heard of", "connections", "waiting", "state"))
    for one in found.dangers:
        name = f" ({one.danger})" if one.danger else ""
        write(f"\nnot safe: {one.node}: {one.words}{name}\n".encode())


@cluster.command()
@_STORE
@click.argument("state", type=click.Choice(["on", "off"]))
def drain(store: StoreAddress, state: str) -> None:
    """Have all gateways refuse puts, or take them again."""
    from beanrow.cluster.status import drain as drain_all

    drain_all(store, state == "on")
