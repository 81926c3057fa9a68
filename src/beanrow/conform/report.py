"""What is told of a run: for people, and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from beanrow.conform.case import Case, Difference
from beanrow.conform.play import Outcome
from beanrow.conform.suite import Report

__all__ = ["document", "list_cases", "told"]

_INDENT = " " * 6


def told(report: Report, known: dict[str, Difference]) -> str:
    """Tell people what differs, and who says so."""
    lines = [f"{report.version} at {report.server}", ""]
    listed = [one for one in report.outcomes if one.result == "listed"]
    if listed:
        lines += ["Differs as known:", *(_known(one, known) for one in listed), ""]
    differing = [one for one in report.outcomes if one.result == "differs"]
    if differing:
        lines += ["Differs:", *(line for one in differing for line in _differing(one)), ""]
    late = [one.case for one in report.outcomes if one.tries > 1 and one.result != "differs"]
    if late:
        lines += ["Only at the second try:", *(f"  {one.number} {one.title}" for one in late), ""]
    lines.append(
        f"{len(report.outcomes)} cases in {report.seconds:.1f} s: {report.count('agrees')} agree, "
        f"{len(listed)} differ as known, {len(differing)} differ"
    )
    return "".join(f"{line}\n" for line in lines)


def _known(outcome: Outcome, known: dict[str, Difference]) -> str:
    difference = known[outcome.difference]
    return f"  {outcome.case.number} {outcome.case.title}: it {difference.what} ({difference.name})"


def _differing(outcome: Outcome) -> Iterator[str]:
    yield f"  {outcome.case.number} {outcome.case.title}"
    for line in outcome.transcript:
        yield f"{_INDENT}{line}"
    yield f"{_INDENT}heard: {outcome.heard}"
    yield f"{_INDENT}to be heard: {outcome.expected}"
    yield f"{_INDENT}who says so: {outcome.case.source}"


def document(report: Report, known: dict[str, Difference]) -> dict[str, Any]:
    """Give the whole run as one document."""
    return {
        "server": report.server,
        "version": report.version,
        "conforms": report.conforms,
        "seconds": round(report.seconds, 1),
        "counts": {name: report.count(name) for name in ("agrees", "listed", "differs")},
        "known-differences": [known[name]._asdict() for name in report.differences],
        "cases": [_case_document(one) for one in report.outcomes],
    }


def _case_document(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    told: dict[str, Any] = {
        "number": case.number,
        "title": case.title,
        "source": case.source,
        "result": outcome.result,
        "tries": outcome.tries,
    }
    if outcome.result != "agrees":
        told["expected"], told["heard"] = outcome.expected, outcome.heard
        told["transcript"] = list(outcome.transcript)
    if outcome.difference:
        told["difference"] = outcome.difference
    return told


def list_cases(cases: Iterable[Case]) -> str:
    """List cases with who says so."""
    return "".join(f"{case.number} {case.title}\n    {case.source}\n" for case in cases)
