"""One request: who asks, of which server, and how it is answered.

Laws:
- An address names a tube in its query, never in its path: ``..`` and ``a/b`` are tubes too.
- What changes something is a POST, and is answered with the way back to a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from beanrow.dashboard import access, graph, words
from beanrow.dashboard.access import SEE, Needs
from beanrow.dashboard.source import Source
from beanrow.jobs.selection import STATES, Selection
from beanrow.version import __version__

if TYPE_CHECKING:
    from beanrow.dashboard.app import Desk

__all__ = ["Form", "Visit", "address", "rendered"]

_MOST_FORM = 16 * 1024 * 1024
_MOST_FIELDS = 2000
_ANY_STATE = (*STATES, "reserved")

_templates = Environment(
    loader=PackageLoader("beanrow.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def address(path: str, **query: object) -> str:
    """Write an address within the dashboard; what is None or empty is left out."""
    told = {name: value for name, value in query.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(told, doseq=True)}" if told else path


_templates.globals.update(address=address, bars_of=graph.bars_of, graph=graph, needs=access)
_templates.filters.update(
    brief=words.brief,
    number=words.number,
    count=words.count,
    rate=words.rate,
    seconds=words.seconds,
    size=words.size,
    when=words.when,
)


def rendered(template: str, **values: Any) -> Markup:
    """Write a template; what is not from the template is escaped in it."""
    return Markup(_templates.get_template(template).render(values))  # noqa: S704


class Form:
    """The fields of a form. HTTPException 400 tells which one is wrong."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self.fields: dict[str, list[str]] = dict(fields)

    def text(self, name: str, default: str = "") -> str:
        """Give a field as it is."""
        return self.fields.get(name, [default])[0]

    def number(self, name: str, most: int = 2**32 - 1) -> int | None:
        """Give a whole number; None for an empty field."""
        text = self.text(name).strip()
        if not text:
            return None
        if not text.isdecimal() or int(text) > most:
            raise HTTPException(400, f"{name}: {text!r} is no whole number from 0 to {most}")
        return int(text)

    def ids(self) -> list[int]:
        """Give the jobs that were ticked."""
        ids = self.fields.get("id", [])
        if wrong := [one for one in ids if not (one.isdecimal() and len(one) < 20)]:
            raise HTTPException(400, f"{wrong[0]!r} is no job's id")
        return [int(one) for one in ids]

    def selection(self) -> Selection:
        """Give which jobs of a tube are meant."""
        state, match = self.text("state"), self.text("match")
        if state and state not in _ANY_STATE:
            raise HTTPException(400, f"{state!r} is no state of a job")
        return Selection(
            states=(state,) if state else (),
            older=self.number("older"),
            younger=self.number("younger"),
            # Plain text: a pattern can be made to search for hours, and all pages would wait for it.
            match=re.compile(re.escape(match.encode())) if match else None,
            offered=_ANY_STATE,
        )


class Visit:
    """A request and who is behind it; ``desk`` is the dashboard as a whole."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self.desk = desk
        self.request = request
        self.session: access.Session = desk.access.session(request)
        self.query: Form = Form(
            {name: request.query_params.getlist(name) for name in request.query_params}
        )

    @property
    def peer(self) -> str:
        """Where the request comes from."""
        client = self.request.client
        return f"{client.host}:{client.port}" if client else ""

    @property
    def source(self) -> Source:
        """The server that it is about; HTTPException 404 if there is none of this number."""
        number = int(self.request.path_params.get("server", 1))
        if not 1 <= number <= len(self.desk.sources):
            raise HTTPException(404, f"there is no server {number}")
        return self.desk.sources[number - 1]

    def may_change(self, tube: str, needs: Needs) -> bool:
        """Tell whether this can be changed here by who asks."""
        return not self.desk.settings.read_only and self.session.may(tube, needs)

    def need(self, tube: str, needs: Needs) -> None:
        """Refuse with HTTPException 403 what there is no right to."""
        if not self.session.may(tube, needs):
            who = self.session.principal.name
            self.desk.audit.tell(
                "forbidden", who=who, peer=self.peer, tube=tube, path=self.request.url.path
            )
            raise HTTPException(403, f"{who} has no right to do this in tube {tube}")

    def sees(self, tube: str) -> bool:
        """Tell whether a tube may be seen."""
        return self.session.may(tube, SEE)

    async def form(self) -> Form:
        """Read the form that was sent; HTTPException 403 if it is none of ours."""
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _MOST_FORM:
                raise HTTPException(413, f"a form has at most {_MOST_FORM} bytes")
        try:
            fields = parse_qs(
                body.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
        except ValueError as error:
            raise HTTPException(400, f"this form cannot be read: {error}") from error
        if self.desk.access.is_forged(self.request, self.session, fields):
            raise HTTPException(403, "this form comes from another page; reload yours, try again")
        return Form(fields)

    # -- answers ------------------------------------------------------------------

    def render(self, template: str, **values: Any) -> Markup:
        """Write a part of a page."""
        return rendered(template, visit=self, csrf=self._csrf, **values)

    def _csrf(self) -> Markup:
        """Write the field that shows that a form is from a page of this session."""
        field = Markup('<input type="hidden" name="csrf" value="{}">')
        return field.format(self.session.csrf)

    @property
    def notice(self) -> Markup | None:
        """What became of the change that the address names, if there is one."""
        change = self.desk.changes.find(self.query.number("change") or 0)
        if change is None or not all(map(self.sees, change.tubes)):
            return None
        return self.render("part_notice.html", change=change, source=change.source)

    @property
    def home(self) -> str:
        """The page of the server."""
        return f"/{self.source.number}/"

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer with a page."""
        values.setdefault("source", None)
        values.setdefault("live", "")
        text = self.render(template, version=__version__, **values)
        return self._sent(HTMLResponse(str(text), status))

    def go(self, to: str) -> Response:
        """Answer with the way to another page."""
        return self._sent(RedirectResponse(to, 303))

    def _sent(self, response: Response) -> Response:
        self.desk.access.remember(self.request, response, self.session.id)
        return response
