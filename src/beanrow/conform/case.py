r"""A case: a numbered conversation with what must be heard, read from the files of ``cases``.

Each begins with a line ``NUMBER TITLE``, then come, indented, where it is written and its steps:

    A> put 0 0 60 1          A says this line; lines that follow each other are one write
    A>> \x20stats\r\n        A says these bytes, with Python's escapes, in a write of their own
    A< INSERTED {job}        A hears this line; a name in braces stands for what it was first
    A< TIMED_OUT @1          ... one second after A last said something
    A<< FOUND 1 2\r\n...     A hears these bytes
    A= pri: 5, age: 0..1     A hears a document with these values, +2 is more than remembered
    A= [a, b]                A hears this list; also: includes a, lacks a, keys a b, remember
    A~ stats-tube t pause: 0 A asks until the document says so
    A closed                 A hears the end of the connection
    A close, A half-close    what A does
    or [NAME] LINE           the step before may also hear this (or: closed): a known difference
    fresh A                  A is a new connection as it is; others use and watch {tube} alone
    wait 1.5                 seconds
    {a} < {b}                of two numbers that were heard
    alone                    no other case is played meanwhile

``{max}`` is the largest body of the server, ``{x*N}`` so many x, ``{name:N}`` a name of N bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Case", "Difference", "Step", "read_case_file", "read_cases", "read_differences"]

_HOME = Path(__file__).parent
_HEAD = re.compile(r"(?P<number>\d{3}) (?P<title>\S.*)")
_STEP = re.compile(r"(?P<who>[A-Z])(?P<kind>>>|>|<<|<|=|~)(?: (?P<text>.*))?")
_ACT = re.compile(r"(?P<who>[A-Z]) (?P<kind>closed|close|half-close)")
_OTHER = re.compile(r"or \[(?P<name>[a-z-]+)\] (?P<text>.+)")
_COMPARE = re.compile(r"\{\w+\} < \{\w+\}")
_WAIT = re.compile(r"wait (?P<text>\d+(?:\.\d+)?)")
_FRESH = re.compile(r"fresh (?P<who>[A-Z])")
_SOON = re.compile(r" @\d+$")


class Step(NamedTuple):
    """One step. ``others`` are the known differences of what is heard: name and line."""

    kind: str
    who: str = ""
    text: str = ""
    others: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.kind in ("closed", "close", "half-close"):
            return f"{self.who} {self.kind}"
        if self.kind == "wait":
            return f"wait {self.text}"
        return f"{self.who}{self.kind} {self.text}".rstrip() if self.who else self.text


class Case(NamedTuple):
    """A conversation. ``source`` tells where it is written that a server answers so."""

    number: int
    title: str
    source: str
    steps: tuple[Step, ...]
    alone: bool

    @property
    def takes_time(self) -> bool:
        """Whether seconds pass in it."""
        return any(step.kind == "wait" or _SOON.search(step.text) for step in self.steps)


class Difference(NamedTuple):
    """A difference that is known. ``row`` is its line of docs/compatibility.md."""

    name: str
    server: str
    what: str
    row: str


def read_cases() -> list[Case]:
    """Give all cases, by their numbers."""
    found = [case for path in (_HOME / "cases").glob("*.txt") for case in read_case_file(path)]
    return sorted(found)


def read_case_file(path: Path) -> list[Case]:
    """Read one file; ValueError with its line for what cannot be read."""
    cases: list[Case] = []
    head = ""
    lines: list[str] = []
    for place, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), "000 end"], 1):
        if line[:4].strip() and not _HEAD.fullmatch(line) and not head:
            continue  # the first lines tell what the file is about
        if _HEAD.fullmatch(line):
            if head:
                cases.append(_read_case(head, lines))
            head, lines = line, []
        elif line.startswith("    "):
            lines.append(line[4:])
        elif line:
            raise ValueError(f"{path.name}, line {place}: {line!r} is no part of a case")
    return cases


def _read_case(head: str, lines: list[str]) -> Case:
    match = _HEAD.fullmatch(head)
    assert match is not None
    if not lines:
        raise ValueError(f"case {head!r} tells no source and has no steps")
    source, *rest = lines
    steps: list[Step] = []
    for line in rest:
        if line == "alone":
            continue
        other = _OTHER.fullmatch(line)
        if other is None:
            steps.append(_read_step(head, line))
        else:
            last = steps.pop()
            steps.append(last._replace(others=(*last.others, (other["name"], other["text"]))))
    return Case(int(match["number"]), match["title"], source, tuple(steps), "alone" in rest)


def _read_step(head: str, line: str) -> Step:
    if match := _STEP.fullmatch(line):
        return Step(match["kind"], match["who"], match["text"] or "")
    if match := _ACT.fullmatch(line):
        return Step(match["kind"], match["who"])
    if match := _FRESH.fullmatch(line):
        return Step("fresh", match["who"])
    if match := _WAIT.fullmatch(line):
        return Step("wait", text=match["text"])
    if _COMPARE.fullmatch(line):
        return Step("compare", text=line)
    raise ValueError(f"case {head!r}: cannot read the step {line!r}")


def read_differences() -> dict[str, Difference]:
    """Give the differences that are known, by name."""
    blocks = (_HOME / "differences.txt").read_text(encoding="utf-8").split("\n\n")[1:]
    found = {}
    for block in blocks:
        head, what, row = (line.strip() for line in block.strip().splitlines())
        name, _, server = head.partition(" | ")
        found[name] = Difference(name, server, what, row)
    return found
