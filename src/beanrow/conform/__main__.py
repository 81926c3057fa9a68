"""The suite as a program: ``python -m beanrow.conform HOST:PORT``, with the standard library alone."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence

from beanrow.conform.case import Case, read_cases, read_differences
from beanrow.conform.report import document, list_cases, told
from beanrow.conform.suite import NoServerError, play_all
from beanrow.conform.talk import Place

__all__ = ["main"]

_PLACE = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^\s:]+)):(?P<port>\d{1,5})")


def _place(text: str) -> Place:
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Place(path=text.removeprefix("unix:"))
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError
    return Place(match["ipv6"] or match["host"], int(match["port"]))


_place.__name__ = "HOST:PORT or unix:PATH"


def chosen(numbers: Sequence[int]) -> list[Case]:
    """Give the cases with these numbers, all if none is named; ValueError if there is none such."""
    cases = read_cases()
    if unknown := sorted(set(numbers) - {case.number for case in cases}):
        raise ValueError(f"no case {', '.join(map(str, unknown))}; --list shows them")
    return [case for case in cases if not numbers or case.number in numbers]


def main(arguments: list[str] | None = None) -> int:
    """Play the cases; 0 if nothing differs but what is known, 1 if something does, 3 without a server."""
    parser = argparse.ArgumentParser(
        prog="python -m beanrow.conform",
        description="Play the cases of the beanstalk protocol to a server and tell what differs. "
        "Nobody else should use it meanwhile.",
    )
    parser.add_argument("server", metavar="HOST:PORT", type=_place, nargs="?")
    parser.add_argument("--list", action="store_true", help="list the cases and play none")
    parser.add_argument(
        "--case",
        metavar="N",
        type=int,
        action="append",
        default=[],
        help="only this; again for more",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    try:
        cases = chosen(options.case)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        sys.stdout.write(list_cases(cases))
        return 0
    if options.server is None:
        parser.error("say which server: HOST:PORT or unix:PATH")
    known = read_differences()
    try:
        report = play_all(options.server, cases)
    except NoServerError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 3
    if options.json:
        sys.stdout.write(json.dumps(document(report, known)) + "\n")
    else:
        sys.stdout.write(told(report, known))
    return 0 if report.conforms else 1


if __name__ == "__main__":
    sys.exit(main())
