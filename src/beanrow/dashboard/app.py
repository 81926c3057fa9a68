"""The dashboard as a whole: its pages, and what holds for each of them.

Laws:
- Every answer forbids scripts, styles and everything else but from here, and to be framed.
- Who may not enter gets to the login, and to nothing else but the files of that page.
- A failure is a page that tells it, with the status that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beanrow.client.address import Address
from beanrow.dashboard import actions, reading, views
from beanrow.dashboard.access import Access
from beanrow.dashboard.changes import Changes
from beanrow.dashboard.live import stream
from beanrow.dashboard.machines import Machines
from beanrow.dashboard.source import Source
from beanrow.dashboard.visit import Form, Visit
from beanrow.errors import BadValueError, BeanstalkError, ConnectionLostError, ForbiddenError
from beanrow.jobs.search import NothingThereError
from beanrow.server.audit import Audit
from beanrow.server.log import Log

if TYPE_CHECKING:
    from beanrow.cluster.address import StoreAddress

__all__ = ["Desk", "Settings", "make_app"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STATIC = Path(__file__).parent / "static"

Page = Callable[[Visit], Awaitable[Response]]
Action = Callable[[Visit, Form], Awaitable[Response]]


class Settings(NamedTuple):
    """What a dashboard is made of: its servers, and who may do what.

    ``undo`` is a directory in which what was taken away is kept, one file for each change, as
    ``beanrow restore`` reads it; without it these files end with the process. ``store`` is what
    gateways keep their jobs in, to show the machines behind them.
    """

    servers: tuple[Address, ...]
    rights: Path | None = None
    audit: Path | None = None
    undo: Path | None = None
    read_only: bool = False
    store: StoreAddress | None = None


class Desk:
    """What all requests share. BadValueError if a file of the settings is wrong."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings = settings
        self.log = log
        self.audit: Audit = Audit(settings.audit, log)
        self.access: Access = Access(settings.rights, self.audit)
        self.changes: Changes = Changes(settings.undo, self.audit, log)
        self.machines: Machines | None = (
            None if settings.store is None else Machines(settings.store)
        )
        self.sources: list[Source] = []
        self.closing: asyncio.Event = asyncio.Event()
        self.streams = 0

    def reload(self) -> None:
        """Read the rights anew and open the audit log anew; what is wrong is told in the log."""
        try:
            self.access.reload()
            self.audit.reopen()
        except BadValueError as error:
            self.log.tell("reload-failed", f"{error}; all stays as it was", level="error")
        else:
            self.audit.tell("reloaded")

    @asynccontextmanager
    async def at_work(self, _app: Starlette) -> AsyncIterator[None]:
        """Look at the servers as long as this lasts."""
        self.sources = [Source(number, one) for number, one in enumerate(self.settings.servers, 1)]
        looking = [asyncio.create_task(one.keep_looking()) for one in self.sources]
        try:
            yield
        finally:
            self.closing.set()
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            await self.changes.close()
            for source in self.sources:
                source.close()
            self.audit.close()


def make_app(desk: Desk) -> Starlette:
    """Make the application."""

    def page(path: str, show: Page, *, to_all: bool = False, fresh: bool = False) -> Route:
        async def answer(request: Request) -> Response:
            visit = _entered(desk, request, to_all=to_all)
            if isinstance(visit, Response):
                return visit
            if fresh:
                await visit.source.recent()
            return await show(visit)

        return Route(path, answer, methods=["GET"])

    def action(path: str, act: Action, *, to_all: bool = False) -> Route:
        async def answer(request: Request) -> Response:
            visit = _entered(desk, request, to_all=to_all)
            if isinstance(visit, Response):
                return visit
            form = await visit.form()
            if desk.settings.read_only and not to_all:
                raise HTTPException(403, "this dashboard was started with --read-only")
            return await act(visit, form)

        return Route(path, answer, methods=["POST"])

    routes = [
        page("/", views.servers_page),
        page("/cluster", views.cluster_page),
        page("/login", _login_page, to_all=True),
        action("/login", _login, to_all=True),
        action("/logout", _logout, to_all=True),
        page("/live/{view}", _live),
        page("/{server:int}/", views.overview_page, fresh=True),
        page("/{server:int}/live/{view}", _live),
        page("/{server:int}/tube", views.tube_page, fresh=True),
        page("/{server:int}/jobs", reading.jobs_page, fresh=True),
        page("/{server:int}/job", _find_job),
        page("/{server:int}/job/{id:int}", reading.job_page),
        page("/{server:int}/job/{id:int}/body", reading.body_file),
        page("/{server:int}/failed", reading.failed_page, fresh=True),
        page("/{server:int}/workers", views.workers_page, fresh=True),
        page("/{server:int}/changes", views.changes_page, fresh=True),
        action("/{server:int}/tube", actions.change_tube),
        action("/{server:int}/jobs", actions.change_jobs),
        action("/{server:int}/job/{id:int}", actions.edit_job),
        action("/{server:int}/undo", actions.undo_change),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]

    async def failed(request: Request, error: Exception) -> Response:
        return _error_page(desk, request, error)

    return Starlette(
        routes=routes,
        lifespan=desk.at_work,
        middleware=[Middleware(_Headers)],
        exception_handlers=dict.fromkeys(
            (HTTPException, BeanstalkError, NothingThereError), failed
        ),
    )


class _Headers:
    """Adds what every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


def _entered(desk: Desk, request: Request, *, to_all: bool) -> Visit | Response:
    """Let somebody in; a way to the login for who may see nothing."""
    if desk.access.is_foreign_host(request):
        return PlainTextResponse(
            "without --rights this dashboard is at localhost and under no other name", 421
        )
    visit = Visit(desk, request)
    if to_all or visit.session.may_enter:
        return visit
    if request.method == "GET" and "/live/" not in request.url.path:
        return visit.go("/login")
    raise HTTPException(403, "log in first")


async def _live(visit: Visit) -> Response:
    name = visit.request.path_params["view"]
    if name not in views.VIEWS:
        raise HTTPException(404, f"there is no live page {name}")
    await visit.source.first()
    return await stream(visit, views.VIEWS[name])


async def _find_job(visit: Visit) -> Response:
    id = visit.query.number("id", 2**64 - 1)
    return visit.go(f"/{visit.source.number}/" + ("" if id is None else f"job/{id}"))


async def _login_page(visit: Visit) -> Response:
    return visit.page("login.html", refused=False)


async def _login(visit: Visit, form: Form) -> Response:
    id = await visit.desk.access.login(visit.request, form.text("token"))
    if id is None:
        return visit.page("login.html", status=403, refused=True)
    visit.session = visit.session._replace(id=id)
    return visit.go("/")


async def _logout(visit: Visit, _form: Form) -> Response:
    visit.desk.access.logout(visit.request, visit.session)
    return visit.go("/login")


def _error_page(desk: Desk, request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
    elif isinstance(error, NothingThereError):
        status, text = 404, str(error)
    elif isinstance(error, BadValueError):
        status, text = 400, str(error)
    elif isinstance(error, ForbiddenError):
        status, text = 403, f"the server refused the dashboard itself: {error}"
    else:
        status, text = (502 if isinstance(error, ConnectionLostError) else 500), str(error)
    return Visit(desk, request).page("error.html", status=status, text=text)
