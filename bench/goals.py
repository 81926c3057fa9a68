"""What is expected of a figure, and whether it was reached."""

from __future__ import annotations

from typing import NamedTuple


class Goal(NamedTuple):
    """A bound that a figure is to keep to: at least so much, or at most."""

    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:.2f}"

    def met_by(self, figure: float) -> bool:
        return figure <= self.bound if self.at_most else figure >= self.bound


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
        return f"{self.goal} {'met' if self.met else 'missed'}"

    @property
    def line(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {self.figure:.2f}{unit}, goal {self.short}"


class Section(NamedTuple):
    """A part of the report, and what it says of the goals."""

    lines: list[str]
    verdicts: list[Verdict]


def summary(verdicts: list[Verdict]) -> list[str]:
    """Lines that end the report: how many goals were reached, and which were not."""
    missed = [one for one in verdicts if not one.met]
    lines = [f"GOALS: {len(verdicts) - len(missed)} of {len(verdicts)} met"]
    return lines + [f"  {one.line}" for one in missed]
