"""The verb ``put``: one job, or each line of the input a job."""

from __future__ import annotations

import os
from typing import BinaryIO

import click

from beanrow.cli.input import read_all, standard_input
from beanrow.cli.lines import put_lines
from beanrow.cli.options import DELAY, PRIORITY, TTR, TUBE, connected, shared_options
from beanrow.cli.output import write, write_json
from beanrow.client.address import Address
from beanrow.errors import BuriedJob
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.values import DEFAULT_PRIORITY, DEFAULT_TTR

__all__ = ["put"]


@click.command(
    epilog="""\b
Examples:
  beanrow put --tube emails "hello"
  beanrow put --tube URLs-to-fetch --lines --file urls.txt"""
)
@click.argument("body", required=False)
@click.option("--tube", type=TUBE, default="default", show_default=True)
@click.option(
    "--priority",
    type=PRIORITY,
    default=DEFAULT_PRIORITY,
    show_default=True,
    help="0 is the most urgent.",
)
@click.option("--delay", type=DELAY, default=0, show_default=True, help="Wait before it is ready.")
@click.option(
    "--ttr", type=TTR, default=DEFAULT_TTR, show_default=True, help="How long a worker may hold it."
)
@click.option("--file", type=click.File("rb"), help="Read this file, not standard input.")
@click.option("--lines", is_flag=True, help="Make each line a job, without its newline.")
@shared_options
def put(
    body: str | None,
    tube: str,
    priority: int,
    delay: int,
    ttr: int,
    file: BinaryIO | None,
    lines: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Put a job and print its id.

    Its body is BODY; without it all of standard input or of the file, byte for byte.
    """
    if body is not None and (file is not None or lines):
        raise click.UsageError("give BODY, or --file and --lines, not both")
    if lines:
        source = file or standard_input()
        with connected(server) as client:
            put_lines(client, source, as_json, tube=tube, priority=priority, delay=delay, ttr=ttr)
        return
    content = os.fsencode(body) if body is not None else read_all(file or standard_input())
    with connected(server) as client:
        job_id = client.put(content, tube=tube, priority=priority, delay=delay, ttr=ttr)
    if as_json:
        write_json({"id": job_id, "tube": tube})
    else:
        write(b"%d\n" % job_id)
    if isinstance(job_id, BuriedId):
        raise BuriedJob(job_id)
