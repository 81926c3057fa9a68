"""Which jobs a verb is about: their ids, or what its options say of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

import click

from beanrow.cli.options import checked, period
from beanrow.errors import BadValueError
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import MAX_ID, whole_number

__all__ = ["STATES", "Selection", "by_glob", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

STATES = ("ready", "delayed", "buried")
"""The states of a job that nobody holds."""


class Selection(NamedTuple):
    """What is asked of a job; what is empty or None is not asked."""

    tubes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    older: int | None = None
    younger: int | None = None
    match: re.Pattern[bytes] | None = None
    span: range | None = None
    offered: tuple[str, ...] = STATES

    @property
    def asks_nothing(self) -> bool:
        """Tell whether it says nothing at all."""
        return self == Selection(offered=self.offered)

    @property
    def meant_states(self) -> tuple[str, ...]:
        """The states that are asked for, or those that the verb knows."""
        return self.states or self.offered

    @property
    def by_state_alone(self) -> bool:
        """Tell whether all jobs of some states are meant."""
        return self == Selection(self.tubes, self.states, offered=self.offered)

    def takes(self, stats: JobStats) -> bool:
        """Tell whether a job of the chosen tubes is one, as far as its statistics tell."""
        return (
            stats.state in self.meant_states
            and (self.older is None or stats.age >= self.older)
            and (self.younger is None or stats.age < self.younger)
        )


_ASKED = tuple(name for name in Selection._fields if name != "offered")


def by_glob(names: list[str], globs: tuple[str, ...]) -> list[str]:
    """Give the names that one of the globs matches, sorted; all of them without a glob."""
    if not globs:
        return sorted(names)
    return sorted(name for name in names if any(fnmatchcase(name, glob) for glob in globs))


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


def _pattern(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(text.encode(), re.DOTALL)
    except re.error as error:
        raise BadValueError(f"{text!r} is no regular expression: {error}") from error


def _span(text: str) -> range:
    first, _, last = text.partition(":")
    numbers = [whole_number(int(one), "job id", MAX_ID - 1) for one in (first, last or first)]
    return range(max(1, numbers[0]), numbers[1] + 1)


_PATTERN = checked("regexp", _pattern)
_SPAN = checked("first:last", _span)
