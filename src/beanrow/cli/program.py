"""The command ``beanrow``: its verbs, and how each way to end becomes an exit code."""

from __future__ import annotations

import os

import click

from beanrow.cli.bench import bench
from beanrow.cli.cluster import cluster
from beanrow.cli.conform import conform
from beanrow.cli.copy import copy
from beanrow.cli.dashboard import dashboard
from beanrow.cli.delete import delete, truncate
from beanrow.cli.dump import dump, restore
from beanrow.cli.edit import edit
from beanrow.cli.exits import CODES, Exit, exit_code, one_line
from beanrow.cli.exporter import exporter
from beanrow.cli.hold import bury, release, touch
from beanrow.cli.journal import journal
from beanrow.cli.kick import kick
from beanrow.cli.listing import list_
from beanrow.cli.manual import COMPLETE_VARIABLE, completion, man
from beanrow.cli.migrate import migrate
from beanrow.cli.move import move
from beanrow.cli.options import SERVER
from beanrow.cli.output import give_up_output
from beanrow.cli.pause import pause, resume
from beanrow.cli.peek import peek
from beanrow.cli.put import put
from beanrow.cli.reserve import reserve
from beanrow.cli.serve import serve
from beanrow.cli.stats import stats, tubes
from beanrow.cli.tail import tail
from beanrow.cli.top import top
from beanrow.cli.watch import watch
from beanrow.cli.work import work
from beanrow.client.address import Address
from beanrow.errors import BeanstalkError
from beanrow.jobs.search import NothingThereError
from beanrow.version import __version__

__all__ = ["command_line", "run"]

_EXAMPLE = """\b
Example:
  beanrow serve &
  beanrow put --tube emails "hello"
  beanrow reserve --tube emails --delete

"""


@click.group(
    epilog=_EXAMPLE + CODES,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--server",
    "servers",
    type=SERVER,
    multiple=True,
    help="Also after the verb. Default: environment BEANSTALKD_URL, else localhost:11300.",
)
@click.version_option(__version__, message="beanrow %(version)s")
@click.pass_context
def command_line(ctx: click.Context, servers: tuple[Address, ...]) -> None:
    """Put jobs into a Beanstalk work queue, take them out, and look at it."""
    ctx.obj = servers


_VERBS = (
    *(put, reserve, peek, tail, list_, stats, tubes, top, watch),
    *(kick, bury, release, touch, delete, truncate, move, copy, edit),
    *(dump, restore, migrate),
    *(pause, resume),
    *(serve, work, journal, cluster, dashboard, exporter, bench, conform),
    *(completion, man),
)
for _verb in _VERBS:
    command_line.add_command(_verb)


def run(arguments: list[str]) -> int:
    """Run a command line without its program's name; the exit code."""
    if asked := os.environ.get(COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete  # only for a shell that completes

        return shell_complete(command_line, {}, "beanrow", COMPLETE_VARIABLE, asked)
    try:
        # Not main(): that one would end a closed pipe itself, with 1 and without a word.
        with command_line.make_context("beanrow", arguments) as ctx:
            status = command_line.invoke(ctx)
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code
    except (click.ClickException, NothingThereError, BeanstalkError, OSError) as error:
        code = exit_code(error)
        if code is Exit.OUTPUT:
            give_up_output()
        click.echo(one_line(error), err=True)
        return code
    return status or Exit.DONE
