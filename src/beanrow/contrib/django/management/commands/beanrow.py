"""``manage.py beanrow``: the command line for this project's server, and its worker."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from beanrow.cli.program import run
from beanrow.contrib.django import app

__all__ = ["Command"]

_WORKER = "beanrow.contrib.django.worker:app"


class Command(BaseCommand):
    """Hands its words to the command line, which knows what they mean."""

    help = "The command line of the work queue; 'beanrow work' runs the jobs of this project."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run what ``manage.py`` was told; ends with the exit code of the command line."""
        django = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        django.add_argument("--settings")  # both were obeyed by manage.py before this
        django.add_argument("--pythonpath")
        _, words = django.parse_known_args(argv[2:])
        sys.exit(_run(words))

    def add_arguments(self, parser: CommandParser) -> None:
        """Take any words from ``call_command``."""
        parser.add_argument("words", nargs="*")

    def handle(self, *, words: list[str], **_options: Any) -> None:
        """Run it for ``call_command``; CommandError unless it succeeds."""
        code = _run(words)
        if code:
            raise CommandError(f"beanrow {' '.join(words)} ended with {code}", returncode=code)


def _run(words: list[str]) -> int:
    if words[:1] == ["work"]:
        return run(["work", _WORKER, *words[1:]])
    return run(["--server", app.address.url, *words])
