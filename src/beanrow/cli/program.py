"""The command ``beanrow``: its verbs, and how each way to end becomes an exit code."""

from __future__ import annotations

import click

from beanrow.cli.exits import CODES, Exit, NothingThereError, exit_code, one_line
from beanrow.cli.journal import journal
from beanrow.cli.move import move
from beanrow.cli.options import SERVER
from beanrow.cli.output import give_up_output
from beanrow.cli.peek import peek
from beanrow.cli.put import put
from beanrow.cli.reserve import reserve
from beanrow.cli.serve import serve
from beanrow.cli.stats import stats, tubes
from beanrow.cli.work import work
from beanrow.client.address import Address
from beanrow.errors import BeanstalkError
from beanrow.version import __version__

__all__ = ["run"]

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
    type=SERVER,
    help="Also after the verb. Default: environment BEANSTALKD_URL, else localhost:11300.",
)
@click.version_option(__version__, message="beanrow %(version)s")
@click.pass_context
def _beanrow(ctx: click.Context, server: Address | None) -> None:
    """Put jobs into a Beanstalk work queue, take them out, and look at it."""
    ctx.obj = server


for _verb in (put, reserve, peek, move, stats, tubes, serve, work, journal):
    _beanrow.add_command(_verb)


def run(arguments: list[str]) -> int:
    """Run a command line without its program's name; the exit code."""
    try:
        # Not main(): that one would end a closed pipe itself, with 1 and without a word.
        with _beanrow.make_context("beanrow", arguments) as ctx:
            status = _beanrow.invoke(ctx)
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code
    except (click.ClickException, NothingThereError, BeanstalkError, OSError) as error:
        code = exit_code(error)
        if code is Exit.OUTPUT:
            give_up_output()
        click.echo(one_line(error), err=True)
        return code
    return status or Exit.DONE
