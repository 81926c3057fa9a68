"""Which jobs are meant: what is asked of them, and which tubes a glob means."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from beanrow.errors import BadValueError
from beanrow.protocol.stats import JobStats

__all__ = ["STATES", "Selection", "body_pattern", "by_glob"]

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


def by_glob(names: list[str], globs: tuple[str, ...]) -> list[str]:
    """Give the names that one of the globs matches, sorted; all of them without a glob."""
    if not globs:
        return sorted(names)
    return sorted(name for name in names if any(fnmatchcase(name, glob) for glob in globs))


def body_pattern(text: str) -> re.Pattern[bytes]:
    """Read a regular expression for bodies; BadValueError if it is none."""
    try:
        return re.compile(text.encode(), re.DOTALL)
    except re.error as error:
        raise BadValueError(f"{text!r} is no regular expression: {error}") from error
