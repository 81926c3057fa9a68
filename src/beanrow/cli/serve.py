"""The verb ``serve``: the server, with the daemon's own flags."""

from __future__ import annotations

import click

from beanrow.cli.cluster import needs_extra

__all__ = ["serve"]


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def serve(ctx: click.Context, flags: tuple[str, ...]) -> int:
    """Start a server, with the daemon's own flags; --store: a gateway; --test: one for tests."""
    if ctx.obj:
        raise click.UsageError("serve takes no --server: say where to listen with -l and -p")
    if "--test" in flags:
        from beanrow.testing.__main__ import main as serve_tests

        return serve_tests([one for one in flags if one != "--test"], prog="beanrow serve --test")
    if any(flag.partition("=")[0] == "--store" for flag in flags):
        return _serve_store(list(flags))
    from beanrow.server.__main__ import main  # the other verbs need no server

    return main(list(flags), prog="beanrow serve")


def _serve_store(flags: list[str]) -> int:
    try:
        from beanrow.cluster.__main__ import main
    except ModuleNotFoundError as missing:
        raise needs_extra(missing) from None
    return main(flags, prog="beanrow serve")
