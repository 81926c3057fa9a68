"""The verb ``work``: run the jobs of an app's tasks."""

from __future__ import annotations

import click

__all__ = ["work"]


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def work(ctx: click.Context, flags: tuple[str, ...]) -> int:
    """Run the jobs of an app's tasks: module:app."""
    from beanrow.worker.__main__ import main  # the other verbs need no worker

    if len(ctx.obj) > 1:
        raise click.UsageError("work takes one --server")
    server = [word for one in ctx.obj for word in ("--server", one.url)]
    return main([*server, *flags], prog="beanrow work")
