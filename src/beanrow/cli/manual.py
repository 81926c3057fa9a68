"""The verbs ``completion`` and ``man``: what shells and manual pages make of the help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from beanrow.cli.output import write
from beanrow.version import __version__

__all__ = ["COMPLETE_VARIABLE", "completion", "man"]

COMPLETE_VARIABLE = "_BEANROW_COMPLETE"
"""How a shell asks for completions: the variable that click's scripts set."""


@click.command(
    epilog="""\b
Examples:
  eval "$(beanrow completion bash)"                    in ~/.bashrc
  eval "$(beanrow completion zsh)"                     in ~/.zshrc
  beanrow completion fish | source                     in config.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete verbs, options and their values."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these three"
    script = kind(ctx.find_root().command, {}, "beanrow", COMPLETE_VARIABLE)
    write((script.source_template % script.source_vars()).encode())


@click.command(
    epilog="""\b
Example:
  beanrow man | man -l -"""
)
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print a manual page, made of the help of all verbs."""
    root = ctx.find_root()
    lines = [
        f'.TH BEANROW 1 "" "beanrow {__version__}"',
        ".SH NAME",
        r"beanrow \- put jobs into a Beanstalk work queue, take them out, and look at it",
        ".SH SYNOPSIS",
        _quoted(_usage(root)),
        ".SH OPTIONS",
        *_options(root),
        ".SH VERBS",
    ]
    for verb in _verbs(root):
        lines += [f".SS {_quoted(_usage(verb))}", *_text(cleandoc(verb.command.help or ""))]
        lines += _options(verb)
        lines += _text(verb.command.epilog or "")
    lines += [".SH NOTES", *_text(root.command.epilog or "")]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        "BEANSTALKD_URL",
        "The server, where no \\-\\-server names one.",
        ".SH SEE ALSO",
        "beanstalkd(1)",
    ]
    write("\n".join([*lines, ""]).encode())


def _verbs(ctx: click.Context) -> Iterator[click.Context]:
    """Give the verbs, each behind its group."""
    if not isinstance(ctx.command, click.Group):
        return
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        verb = click.Context(command, parent=ctx, info_name=name)
        yield verb
        yield from _verbs(verb)


def _usage(ctx: click.Context) -> str:
    return " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])


def _options(ctx: click.Context) -> list[str]:
    options = [one for one in ctx.command.get_params(ctx) if isinstance(one, click.Option)]
    records = [one.get_help_record(ctx) for one in options]
    lines: list[str] = []
    for names, text in filter(None, records):
        lines += [".TP", f"\\fB{_quoted(names)}\\fR", _quoted(text)]
    return lines


def _text(text: str) -> list[str]:
    """Write paragraphs; one that begins with click's mark for lines as they are keeps them."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        as_it_is = paragraph.startswith("\b")
        lines.append(".PP")
        body = [_quoted(line) for line in paragraph.removeprefix("\b").strip("\n").splitlines()]
        lines += [".nf", *body, ".fi"] if as_it_is else body
    return lines


def _quoted(text: str) -> str:
    """Write a line so that roff takes no sign of it for its own."""
    told = " ".join(text.split("\n")).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{told}" if told.startswith((".", "'")) else told
