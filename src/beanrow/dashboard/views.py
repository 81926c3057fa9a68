"""What is looked at: servers, tubes, workers, changes. Each page is parts, and they are live.

Law: a page shows no tube that who asks has no right to see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Self, TypeVar

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import Response

from beanrow.client.sync import Client
from beanrow.dashboard import words
from beanrow.dashboard.access import HOLDERS, READ
from beanrow.dashboard.graph import Graph, graphs_of
from beanrow.dashboard.history import SPANS
from beanrow.dashboard.live import Parts, Rows
from beanrow.dashboard.source import Source
from beanrow.dashboard.visit import Visit, address, rendered
from beanrow.errors import ForbiddenError, NotFoundError, NotOfferedError
from beanrow.jobs.search import Found, ask
from beanrow.observe.snapshot import TubeRates
from beanrow.protocol import commands
from beanrow.protocol.capabilities import MORE_STATS
from beanrow.protocol.holders import Connected, Lease, SlowCommand
from beanrow.protocol.stats import JobStats, TubeStats
from beanrow.protocol.times import TubeTimes

__all__ = [
    "VIEWS",
    "asked",
    "changes_page",
    "cluster_page",
    "overview_page",
    "servers_page",
    "tube_of",
    "tube_page",
    "workers_page",
]

T = TypeVar("T")

_STATES = ("ready", "reserved", "delayed", "buried")
_TUBES_ON_A_PAGE = 200
_MOST_LEASES = 200
_MOST_SLOW = 20
_SORTS: dict[str, Callable[[TubeStats, TubeRates], Any]] = {
    "name": lambda tube, _: tube.name,
    "ready": lambda tube, _: -tube.current_jobs_ready,
    "reserved": lambda tube, _: -tube.current_jobs_reserved,
    "delayed": lambda tube, _: -tube.current_jobs_delayed,
    "buried": lambda tube, _: -tube.current_jobs_buried,
    "waiting": lambda tube, _: -tube.current_waiting,
    "puts": lambda _, rates: -rates.puts,
    "deletes": lambda _, rates: -rates.deletes,
    "oldest": lambda tube, _: -(tube.oldest_ready_age or 0),
}
_STILL = TubeRates(0.0, 0.0)


async def asked(source: Source, question: Callable[[Client], T]) -> T:
    """Ask a server something over a connection that serves this alone."""

    def in_thread() -> T:
        with Client(source.address.url) as client:
            return question(client)

    return await asyncio.to_thread(in_thread)


def tube_of(visit: Visit) -> TubeStats:
    """Give the tube that a page is about, as it was last seen; HTTPException 404 or 403."""
    name = visit.query.text("name")
    if not visit.sees(name):
        raise HTTPException(403, f"{visit.session.principal.name} may not see tube {name}")
    seen = visit.source.snapshot
    if seen is None or name not in seen.tubes:
        raise HTTPException(
            404, f"there is no tube {name}: it was never used, or is empty and nobody watches it"
        )
    return seen.tubes[name]


def _span(visit: Visit) -> int:
    return 1 if visit.query.text("span") == "day" else 0


def _status(visit: Visit) -> Markup:
    return visit.render("part_status.html", source=visit.source)


def _graphs(visit: Visit, graphs: list[Graph]) -> Markup:
    return visit.render("part_graphs.html", graphs=graphs)


# -- all servers ------------------------------------------------------------------


async def servers(visit: Visit) -> Parts:
    """Write a row for each server."""
    for source in visit.desk.sources:
        await source.first()
    rows: Rows = {
        str(one.number): visit.render("row_server.html", one=one) for one in visit.desk.sources
    }
    return {"servers": rows}


async def servers_page(visit: Visit) -> Response:
    """Show all servers; where there is one only, that one."""
    if len(visit.desk.sources) == 1:
        return visit.go("/1/")
    return visit.page("servers.html", parts=await servers(visit), live="/live/servers")


# -- one server -------------------------------------------------------------------


class _Shown(NamedTuple):
    """The tubes on a page of the table, and of how many."""

    tubes: list[TubeStats]
    first: int
    found: int
    all: int


def _shown(visit: Visit) -> _Shown:
    seen = visit.source.snapshot
    if seen is None:
        return _Shown([], 0, 0, 0)
    wanted = visit.query.text("q").lower()
    mine = [one for name, one in seen.tubes.items() if visit.sees(name)]
    found = [one for one in mine if wanted in one.name.lower()]
    if key := _SORTS.get(visit.query.text("sort")):
        found.sort(key=lambda one: key(one, _rates_of(visit.source, one.name)))
    first = (visit.query.number("page", 10**6) or 0) * _TUBES_ON_A_PAGE
    return _Shown(found[first : first + _TUBES_ON_A_PAGE], first, len(found), len(mine))


def _rates_of(source: Source, tube: str) -> TubeRates:
    return source.rates.tubes.get(tube, _STILL) if source.rates else _STILL


class _TubeFigures(NamedTuple):
    """What a row of the table shows."""

    name: str
    paused: bool
    states: tuple[tuple[str, int], ...]
    waiting: int
    oldest: str | None
    puts: str
    deletes: str

    @classmethod
    def of(cls, tube: TubeStats, rates: TubeRates) -> Self:
        """Take them from what was seen."""
        age = tube.oldest_ready_age
        oldest = words.seconds(age) if age is not None and tube.current_jobs_ready else "-"
        return cls(
            tube.name,
            bool(tube.pause_time_left),
            tuple((state, getattr(tube, f"current_jobs_{state}")) for state in _STATES),
            tube.current_waiting,
            None if age is None else oldest,
            words.rate(rates.puts),
            words.rate(rates.deletes),
        )


@lru_cache(maxsize=10_000)
def _tube_row(server: int, tube: _TubeFigures) -> Markup:
    """Write a row; most rows are what they were half a second ago, on every page that has them."""
    return rendered("row_tube.html", server=server, tube=tube)


async def overview(visit: Visit) -> Parts:
    """Write the figures of a server, its graphs and its tubes."""
    source = visit.source
    shown, span = _shown(visit), _span(visit)
    rows: Rows = {
        one.name: _tube_row(source.number, _TubeFigures.of(one, _rates_of(source, one.name)))
        for one in shown.tubes
    }
    graphs = graphs_of(source.history.of_server(span), span, time.monotonic())
    return {
        "status": _status(visit),
        "totals": visit.render("part_totals.html", source=source),
        "graphs": _graphs(visit, graphs),
        "tubes": rows,
        "pages": visit.render("part_pages.html", shown=shown, width=_TUBES_ON_A_PAGE),
    }


async def overview_page(visit: Visit) -> Response:
    """Show a server."""
    seen = visit.source.snapshot
    query = {name: visit.query.text(name) for name in ("q", "sort", "page", "span")}
    live = address(f"/{visit.source.number}/live/overview", **query)
    return visit.page(
        "overview.html",
        source=visit.source,
        parts=await overview(visit),
        live=live,
        query=query,
        spans=SPANS,
        more_stats=seen is not None and MORE_STATS in seen.words,
    )


# -- one tube ---------------------------------------------------------------------


class _Next(NamedTuple):
    """The next job of a tube in a state, if there is one."""

    state: str
    found: Found | None


class _Asked(NamedTuple):
    """What is asked for a page of one tube alone."""

    times: TubeTimes | None = None
    next_jobs: tuple[_Next, ...] = ()


def _look_at(tube: str, *, jobs: bool) -> Callable[[Client], _Asked]:
    """Ask how long jobs of a tube wait and run, and for its next ``jobs``."""

    def look(client: Client) -> _Asked:
        try:
            times = client.list_times(tube)
        except (NotOfferedError, NotFoundError):
            times = None
        return _Asked(times, _next_jobs(client, tube) if jobs else ())

    return look


def _next_jobs(client: Client, tube: str) -> tuple[_Next, ...]:
    peeks = [commands.peek_ready(), commands.peek_delayed(), commands.peek_buried()]
    _, *jobs = ask(client, [commands.use(tube), *peeks])
    there = [job for job in jobs if job is not None]
    told = ask(client, [commands.stats_job(job) for job in there]) if there else []
    stats: dict[int, JobStats] = {one.id: one for one in told if one is not None}
    return tuple(
        _Next(state, Found(stats[job.id], job.body) if job and job.id in stats else None)
        for state, job in zip(("ready", "delayed", "buried"), jobs, strict=True)
    )


async def tube(visit: Visit) -> Parts:
    """Write the figures of a tube, its graphs, and its next jobs."""
    source = visit.source
    stats, span = tube_of(visit), _span(visit)
    told = _Asked()
    if not source.trouble:
        jobs = visit.session.may(stats.name, READ)
        told = await asked(source, _look_at(stats.name, jobs=jobs))
    graphs = graphs_of(source.history.of_tube(stats.name, span), span, time.monotonic())
    return {
        "status": _status(visit),
        "figures": visit.render(
            "part_tube.html",
            tube=stats,
            rates=_rates_of(source, stats.name),
            next_jobs=told.next_jobs,
        ),
        "graphs": _graphs(visit, graphs),
        "times": visit.render("part_times.html", times=told.times),
    }


async def tube_page(visit: Visit) -> Response:
    """Show a tube."""
    stats = tube_of(visit)
    query = {"name": stats.name, "span": visit.query.text("span")}
    return visit.page(
        "tube.html",
        source=visit.source,
        tube=stats,
        parts=await tube(visit),
        live=address(f"/{visit.source.number}/live/tube", **query),
        query=query,
        spans=SPANS,
    )


# -- workers and leases -----------------------------------------------------------


class _Holders(NamedTuple):
    """Who holds what, who is connected, and what took long."""

    leases: list[Lease]
    clients: list[Connected]
    slow: list[SlowCommand]


def _holders(client: Client) -> _Holders | None:
    """Ask who holds what; None where the server tells nobody, or not the dashboard."""
    try:
        return _Holders(client.list_leases(), client.list_clients(), client.list_slow())
    except (NotOfferedError, ForbiddenError):
        return None


async def workers(visit: Visit) -> Parts:
    """Write who works on what, as far as the server tells."""
    source = visit.source
    await source.first()
    seen = source.snapshot
    tubes = [one for one in seen.tubes.values() if visit.sees(one.name)] if seen else []
    worked = [one for one in tubes if one.current_watching or one.current_jobs_reserved]
    may_know = visit.session.may_somewhere(HOLDERS)
    told = await asked(source, _holders) if may_know and not source.trouble else None
    leases = [one for one in told.leases if visit.sees(one.tube)] if told else []
    leases.sort(key=lambda one: one.time_left)
    rows: Rows = {
        one.name: visit.render("row_worked.html", tube=one, source=source)
        for one in worked[:_TUBES_ON_A_PAGE]
    }
    return {
        "status": _status(visit),
        "crew": visit.render("part_crew.html", source=source),
        "worked": rows,
        "leases": visit.render(
            "part_leases.html",
            source=source,
            told=told,
            leases=leases[:_MOST_LEASES],
            clients=[one for one in told.clients if one.worker][:_MOST_LEASES] if told else [],
            slow=told.slow[: -_MOST_SLOW - 1 : -1] if told else [],
            held=[one.name for one in tubes if one.current_jobs_reserved],
            may_know=may_know,
        ),
    }


async def workers_page(visit: Visit) -> Response:
    """Show the workers of a server, and what they hold."""
    live = f"/{visit.source.number}/live/workers"
    parts = await workers(visit)
    return visit.page("workers.html", source=visit.source, parts=parts, live=live)


# -- the machines of a cluster ---------------------------------------------------


async def cluster(visit: Visit) -> Parts:
    """Write how the nodes and the gateways of a store are."""
    machines = visit.desk.machines
    if machines is None:
        raise HTTPException(404, "this dashboard was started without --store")
    if not visit.session.may_somewhere(HOLDERS):
        raise HTTPException(403, "the machines are shown to those who administer a tube")
    await machines.look()
    return {"machines": visit.render("part_machines.html", machines=machines)}


async def cluster_page(visit: Visit) -> Response:
    """Show the machines behind gateways."""
    parts = await cluster(visit)
    store = visit.desk.settings.store
    return visit.page("cluster.html", parts=parts, store=store, live="/live/cluster")


# -- changes ----------------------------------------------------------------------


async def changes(visit: Visit) -> Parts:
    """Write what was changed on a server."""
    mine = [
        one
        for one in visit.desk.changes.newest()
        if one.source is visit.source and all(map(visit.sees, one.tubes))
    ]
    return {
        "changes": {
            str(one.number): visit.render("row_change.html", change=one, source=visit.source)
            for one in mine
        }
    }


async def changes_page(visit: Visit) -> Response:
    """Show what was changed, and how far what goes on is."""
    live = f"/{visit.source.number}/live/changes"
    return visit.page("changes.html", source=visit.source, parts=await changes(visit), live=live)


VIEWS = {
    "servers": servers,
    "overview": overview,
    "tube": tube,
    "workers": workers,
    "changes": changes,
    "cluster": cluster,
}
"""The pages that go on, by the names in their live addresses."""
