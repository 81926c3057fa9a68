"""Jobs that are looked into: the list of a tube, one job with its body, what has failed.

Law: no body, and nothing made of one, is shown without the right to look into jobs of that tube.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from starlette.responses import Response

from beanrow.client.sync import Client
from beanrow.dashboard.access import READ
from beanrow.dashboard.bodies import Failure, editable, read_body, read_failure
from beanrow.dashboard.live import Parts
from beanrow.dashboard.views import VIEWS, asked, tube_of
from beanrow.dashboard.visit import Visit, address
from beanrow.errors import NotFoundError
from beanrow.jobs.lines import shown
from beanrow.jobs.paging import Page, page_of
from beanrow.jobs.search import Found, jobs_by_id, no_job
from beanrow.jobs.selection import Selection
from beanrow.protocol.stats import JobStats

__all__ = ["body_file", "failed_page", "job_page", "jobs_page"]

_JOBS_ON_A_PAGE = 50
_LETTERS_LOOKED_AT = 200
_NUMBER = re.compile(r"\d+")
_DEAD = "-dead"
"""How tubes of dead letters are named by custom (``docs/worker.md``)."""


class _Row(NamedTuple):
    """A job in a list: what of its body fits on a line, and its failure if it is a dead letter."""

    stats: JobStats
    begin: str
    size: int
    failure: Failure | None


def _row(found: Found) -> _Row:
    body = found.known_body
    return _Row(found.stats, shown(body), len(body), read_failure(body))


# -- the list ---------------------------------------------------------------------


async def jobs_page(visit: Visit) -> Response:
    """Show jobs of a tube, by what is asked of them."""
    tube = tube_of(visit)
    visit.need(tube.name, READ)
    wanted = visit.query.selection()
    after = visit.query.number("after", 2**64 - 1) or 0
    page = await asked(visit.source, _page(tube.name, wanted, after))
    query = {
        name: visit.query.text(name) for name in ("name", "state", "older", "younger", "match")
    }
    return visit.page(
        "jobs.html",
        source=visit.source,
        tube=tube,
        rows=[_row(one) for one in page.jobs],
        page=page,
        after=after,
        query=query,
    )


def _page(tube: str, wanted: Selection, after: int) -> Callable[[Client], Page]:
    return lambda client: page_of(client, tube, wanted, after=after, limit=_JOBS_ON_A_PAGE)


# -- one job ----------------------------------------------------------------------


async def _job(visit: Visit) -> Found:
    """Give the job that a page is about, once it is known that it may be looked into."""
    id = int(visit.request.path_params["id"])
    stats = await asked(visit.source, lambda client: _stats(client, id))
    visit.need(stats.tube, READ)
    (found,) = await asked(visit.source, lambda client: [*jobs_by_id(client, [id], bodies=True)])
    return found


def _stats(client: Client, id: int) -> JobStats:
    try:
        return client.stats_job(id)
    except NotFoundError:
        raise no_job(id) from None


async def job(visit: Visit) -> Parts:
    """Write the figures of a job."""
    stats = await asked(visit.source, lambda c: _stats(c, int(visit.request.query_params["id"])))
    visit.need(stats.tube, READ)
    return {"figures": visit.render("part_job.html", stats=stats)}


VIEWS["job"] = job


async def job_page(visit: Visit) -> Response:
    """Show a job with its body."""
    found = await _job(visit)
    body = found.known_body
    text, how = editable(body)
    failure = read_failure(body)
    return visit.page(
        "job.html",
        source=visit.source,
        stats=found.stats,
        size=len(body),
        body=read_body(failure.letter.body if failure else body),
        failure=failure,
        text=text,
        how=how,
        parts={"figures": visit.render("part_job.html", stats=found.stats)},
        live=address(f"/{visit.source.number}/live/job", id=found.stats.id),
    )


async def body_file(visit: Visit) -> Response:
    """Give a body, byte for byte, as a file: no browser shows it as a page."""
    found = await _job(visit)
    return Response(
        found.known_body,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="job-{found.stats.id}"'},
    )


# -- what has failed --------------------------------------------------------------


class _Reason(NamedTuple):
    """An error, how many jobs have it, and one of them."""

    error: str
    jobs: int
    example: int


async def failed_page(visit: Visit) -> Response:
    """Show tubes with buried jobs and dead letters, and of one of them the errors."""
    source = visit.source
    seen = source.snapshot
    mine = [one for one in seen.tubes.values() if visit.sees(one.name)] if seen else []
    tubes = [
        one
        for one in mine
        if one.current_jobs_buried or (one.name.endswith(_DEAD) and one.current_jobs_ready)
    ]
    reasons: list[_Reason] = []
    rows: list[_Row] = []
    name = visit.query.text("name")
    if name:
        tube_of(visit)
        visit.need(name, READ)
        page = await asked(source, _failures(name))
        rows = [_row(one) for one in page.jobs]
        reasons = _reasons(rows)
    return visit.page(
        "failed.html", source=source, tubes=tubes, name=name, reasons=reasons, rows=rows[:50]
    )


def _failures(tube: str) -> Callable[[Client], Page]:
    states = ("ready", "buried") if tube.endswith(_DEAD) else ("buried",)
    wanted = Selection(states=states)
    return lambda client: page_of(client, tube, wanted, limit=_LETTERS_LOOKED_AT)


def _reasons(rows: list[_Row]) -> list[_Reason]:
    """Count the jobs by their errors, the most frequent first; errors differ by more than numbers."""
    told: Counter[str] = Counter()
    examples: dict[str, int] = {}
    for one in rows:
        if one.failure is not None:
            error = _NUMBER.sub("N", one.failure.letter.error[:200])
            told[error] += 1
            examples.setdefault(error, one.stats.id)
    return [_Reason(error, jobs, examples[error]) for error, jobs in told.most_common(20)]
