"""Which jobs a verb is about: the options that say so."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from beanrow.cli.options import checked, period
from beanrow.jobs.selection import Selection, body_pattern
from beanrow.protocol.values import MAX_ID, whole_number

__all__ = ["selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

_ASKED = tuple(name for name in Selection._fields if name != "offered")


def selection_options(*states: str) -> Callable[[F], F]:
    """Give a verb options that say which jobs, among these states, as ``wanted: Selection``."""
    options = [
        click.option("--tube", "tubes", multiple=True, metavar="GLOB", help="May be repeated."),
        click.option(
            "--state",
            "states",
            type=click.Choice(states),
            multiple=True,
            help="May be repeated. Default: all.",
        ),
        click.option("--older-than", "older", type=period("age"), help="At least this age."),
        click.option("--younger-than", "younger", type=period("age"), help="Below this age."),
        click.option("--match", type=_PATTERN, help="A regular expression that the body holds."),
        click.option("--ids", "span", type=_SPAN, help="Ask for these ids only."),
    ]

    def decorate(verb: F) -> F:
        @wraps(verb)
        def with_selection(**values: Any) -> Any:
            asked = {name: values.pop(name) for name in _ASKED}
            return verb(wanted=Selection(**asked, offered=states), **values)

        for option in reversed(options):
            with_selection = option(with_selection)
        return cast("F", with_selection)

    return decorate


def _span(text: str) -> range:
    first, _, last = text.partition(":")
    numbers = [whole_number(int(one), "job id", MAX_ID - 1) for one in (first, last or first)]
    return range(max(1, numbers[0]), numbers[1] + 1)


_PATTERN = checked("regexp", body_pattern)
_SPAN = checked("first:last", _span)
