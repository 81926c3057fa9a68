"""The verb ``bench``: how many jobs a second this server does with this client.

Law: it uses a tube of its own and deletes what it has put, also when it is stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import click

from beanrow.cli.options import COUNT, connected, shared_options
from beanrow.cli.output import write_json, write_table
from beanrow.cli.reserve import watch_only
from beanrow.client.address import Address
from beanrow.client.sync import Client

__all__ = ["bench"]

_AT_ONCE = 100


@click.command(
    epilog="""\b
Example:
  beanrow bench --jobs 5000 --size 1000"""
)
@click.option("--jobs", type=COUNT, default=10_000, show_default=True, help="So many in each row.")
@click.option("--size", type=COUNT, default=100, show_default=True, help="Bytes of a body.")
@shared_options
def bench(jobs: int, size: int, server: Address, as_json: bool) -> None:
    """Measure jobs a second, one by one and in batches, over one connection.

    The jobs are put into a tube of its own and deleted. It keeps the server busy while it runs:
    others wait longer. The figures are of this client and this network too.
    """
    if not jobs:
        raise click.UsageError("--jobs 0 measures nothing")
    tube = f"beanrow-bench-{os.getpid()}-{time.time_ns()}"
    body = b"x" * size
    with connected(server) as client:
        try:
            watch_only(client, (tube,))
            client.use(tube)
            rates = {what: _rate(jobs, work) for what, work in _rows(client, jobs, body).items()}
        finally:
            client.drain_tube(tube)
    if as_json:
        write_json({"jobs": jobs, "size": size, "jobs-per-second": rates})
    else:
        write_table([[what, f"{rate:,}"] for what, rate in rates.items()], ("", "jobs/s"))


def _rows(client: Client, jobs: int, body: bytes) -> dict[str, Callable[[], Any]]:
    """Give what is measured, in this order: each row takes what the one before has put."""

    def put() -> None:
        for _ in range(jobs):
            client.put(body)

    def take() -> None:
        for _ in range(jobs):
            job = client.reserve(0)
            if job is not None:
                client.delete(job)

    def take_many() -> None:
        while found := client.reserve_many(_AT_ONCE):
            client.delete_many(found)

    return {
        "put": put,
        "reserve and delete": take,
        "put_many": lambda: client.put_many(body for _ in range(jobs)),
        "reserve_many and delete_many": take_many,
    }


def _rate(jobs: int, work: Callable[[], object]) -> int:
    start = time.perf_counter()
    work()
    return round(jobs / (time.perf_counter() - start))
