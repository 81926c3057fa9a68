"""What became of every job, from two sides: what the workers say, and what the server counts.

Laws:
- Put = deleted + buried, and each job has exactly one end. The workers' reports and the server's
  own statistics must agree on it, job by job and in the sums.
- A worker reports first and deletes or buries then. So a job may be reported twice in one case
  only: its first worker died between the two, and the server gave the job to another.
- Nothing here talks to anybody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

__all__ = ["Account", "BadReportError", "Report", "ServerSide", "find_problems", "settle"]

Outcome = Literal["done", "released", "buried"]


class BadReportError(Exception):
    """A worker printed something that is no report."""


@dataclass(frozen=True)
class Report:
    """One line of a worker: what it did with one job."""

    worker: int
    job: int
    url: str
    outcome: Outcome
    title: str = ""
    links: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def read(cls, worker: int, line: str) -> Self:
        """Read a line of a worker's output; BadReportError if it is no report."""
        try:
            told = json.loads(line)
            report = cls(
                worker,
                told["job"],
                told["url"],
                told["outcome"],
                told.get("title", ""),
                tuple(told.get("links", ())),
                told.get("error", ""),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadReportError(f"worker {worker} printed no report: {line[:200]!r}") from None
        if report.outcome not in get_args(Outcome):
            raise BadReportError(f"worker {worker} printed an unknown outcome: {line[:200]!r}")
        return report


@dataclass(frozen=True)
class ServerSide:
    """What the server says. ``left`` holds our jobs it still has, by id, with their state.

    The sums are those of the tube; ``put`` and ``deleted`` since the run began.
    """

    left: Mapping[int, str]
    put: int
    deleted: int
    ready: int
    reserved: int
    delayed: int
    buried: int


@dataclass(frozen=True)
class Account:
    """The reports, settled: each job's end, and what happened on the way."""

    ends: Mapping[int, Report]
    retried: int
    """Releases for another attempt."""
    repeated: int
    """Jobs that were reported twice because their worker died before the server heard of it."""
    contradictions: tuple[str, ...]

    def with_outcome(self, outcome: Outcome) -> list[Report]:
        """Give the ends of this kind, by job id."""
        return [self.ends[job] for job in sorted(self.ends) if self.ends[job].outcome == outcome]


def settle(reports: Sequence[Report], died: Container[int]) -> Account:
    """Find the one end of each job. ``died`` holds the workers that did not leave in order."""
    ends: dict[int, Report] = {}
    last_of = {report.worker: report for report in reports}
    retried = repeated = 0
    contradictions = []
    for report in reports:
        earlier = ends.get(report.job)
        if earlier is not None:
            if earlier.worker in died and last_of[earlier.worker] is earlier:
                repeated += 1
                del ends[report.job]
            else:
                contradictions.append(
                    f"job {report.job} ({report.url}): {report.outcome} by worker {report.worker} "
                    f"after it was {earlier.outcome} by worker {earlier.worker}"
                )
        if report.outcome == "released":
            retried += 1
        else:
            ends[report.job] = report
    return Account(ends, retried, repeated, tuple(contradictions))


def find_problems(
    urls: Iterable[str], put: Mapping[int, str], account: Account, server: ServerSide
) -> list[str]:
    """Tell everything that does not add up; nothing if put = deleted + buried, one end each.

    ``urls`` are the pages of the site, ``put`` the jobs that were put, by id.
    """
    problems = list(account.contradictions)
    problems += _url_problems(Counter(urls), Counter(put.values()))
    for job, url in put.items():
        problems += _job_problems(job, url, account.ends.get(job), server.left.get(job))
    problems += [
        f"job {job} ({account.ends[job].url}) was taken by a worker and is none of this run"
        for job in sorted(account.ends.keys() - put.keys())
    ]
    deleted, buried = len(account.with_outcome("done")), len(account.with_outcome("buried"))
    for name, expected, counted in (
        ("put", len(put), server.put),
        ("deleted", deleted, server.deleted),
        ("buried", buried, server.buried),
        ("ready", 0, server.ready),
        ("reserved", 0, server.reserved),
        ("delayed", 0, server.delayed),
    ):
        if expected != counted:
            problems.append(f"the server counts {counted} {name}, and it should be {expected}")
    if len(put) != deleted + buried:
        problems.append(f"put {len(put)} is not deleted {deleted} + buried {buried}")
    return problems


def _url_problems(urls: Counter[str], put: Counter[str]) -> Iterable[str]:
    for url in urls | put:
        if urls[url] != put[url]:
            yield f"{url}: {urls[url]} on the site, put {put[url]} times"


def _job_problems(job: int, url: str, end: Report | None, state: str | None) -> Iterable[str]:
    """Compare what is told of one job; ``state`` is the server's, None for a job it has not."""
    where = f"the server has it {state}" if state else "the server has it no more"
    if end is None:
        yield f"job {job} ({url}): no worker reported its end; {where}"
        return
    if end.url != url:
        yield f"job {job}: put as {url}, done as {end.url}"
    if state != {"done": None, "buried": "buried"}[end.outcome]:
        yield f"job {job} ({url}): worker {end.worker} reported it {end.outcome}; {where}"
