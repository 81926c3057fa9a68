"""What is expected of a figure, and whether it was reached."""

from __future__ import annotations

from typing import NamedTuple


class Goal(NamedTuple):
    """A bound that a figure is to keep to: at least so much, or at most.

    Beyond the ``floor``, where there is one, a figure may not fall even if it misses the bound.
    """

    bound: float
    at_most: bool = False
    floor: float | None = None

    def __str__(self) -> str:
        return f"{self._sign} {self.bound:.2f}"

    @property
    def _sign(self) -> str:
        return "<=" if self.at_most else ">="

    def met_by(self, figure: float) -> bool:
        return _within(figure, self.bound, self.at_most)

    def judge(self, figure: float) -> str:
        """The goal in words, and how the figure stands to it."""
        if self.floor is None:
            return f"{self} {'met' if self.met_by(figure) else 'missed'}"
        if self.met_by(figure):
            outcome = "met"
        elif _within(figure, self.floor, self.at_most):
            outcome = "missed"
        else:
            outcome = "BELOW THE FLOOR"
        return f"{self} (floor {self._sign} {self.floor:.2f}) {outcome}"


def _within(figure: float, bound: float, at_most: bool) -> bool:
    return figure <= bound if at_most else figure >= bound


class Verdict(NamedTuple):
    """A figure beside its goal; ``what`` and ``unit`` say of what."""

    what: str
    figure: float
    goal: Goal
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.goal.met_by(self.figure)

    @property
    def short(self) -> str:
        return self.goal.judge(self.figure)

    @property
    def line(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {self.figure:.2f}{unit}, goal {self.short}"


class Section(NamedTuple):
    """A part of the report, and what it says of the goals."""

    lines: list[str]
    verdicts: list[Verdict]


def summary(verdicts: list[Verdict]) -> list[str]:
    """Lines that end the report: how many goals were reached, which were not, and which were."""
    missed = [one for one in verdicts if not one.met]
    met = [one for one in verdicts if one.met]
    lines = [f"GOALS: {len(met)} of {len(verdicts)} met"]
    return lines + [f"  {one.line}" for one in (*missed, *met)]
