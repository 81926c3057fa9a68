"""Who asks, and what they may: the rights of the queue port, for people with a browser.

The file of rights is that of the server (``docs/server.md``), or one like it. Who shows a token of
it is that principal until the session ends. Without a file everybody may do everything, and the
dashboard listens on loopback only.

Laws:
- What an action needs is said in requests of the protocol, and ``RULES`` of the server tells what
  those need: there is one table.
- Rights are looked up at each request: a reload holds for sessions that are open.
- A form is taken only from a page of ours: with the token of its session, and with no other origin.
- No token is kept: of a session the digest is known, as in the file.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from beanrow.protocol import requests
from beanrow.server.audit import Audit
from beanrow.server.rights import RULES, Principal, Right, Rights, digest, read_rights

__all__ = [
    "CLEAR",
    "DELETE",
    "EDIT",
    "HOLDERS",
    "KICK",
    "MOVE",
    "PAUSE",
    "PUT",
    "READ",
    "SEE",
    "Access",
    "Needs",
    "Session",
]

Needs = tuple[type, ...]
"""The requests that a look or an action consists of, as far as rights are concerned."""
SEE: Needs = (requests.StatsTube,)
READ: Needs = (requests.Peek,)
PUT: Needs = (requests.Put,)
KICK: Needs = (requests.Kick,)
PAUSE: Needs = (requests.PauseTube,)
CLEAR: Needs = (requests.Truncate,)
DELETE: Needs = (requests.Delete,)
EDIT: Needs = (requests.ReserveJob, requests.Put, requests.Delete)
HOLDERS: Needs = (requests.ListLeases, requests.ListClients, requests.ListSlow)
MOVE: Needs = (requests.ReserveJob, requests.Delete)

_COOKIE = "beanrow-session"
_FIELD = "csrf"
_LIFETIME = 12 * 3600
_MOST_SESSIONS = 10_000
_AFTER_A_WRONG_TOKEN = 1.0
_ALL: tuple[Right, ...] = ("put", "take", "admin")
_EVERYBODY = Principal("everybody", {"put": ("*",), "take": ("*",), "admin": ("*",)})
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Session(NamedTuple):
    """A browser: its id, who it is, and what proves that a form comes from a page of ours."""

    id: str
    principal: Principal
    csrf: str
    known: bool
    """Whether it has shown a token."""

    def may(self, tube: str, needs: Needs) -> bool:
        """Tell whether it may do all this in a tube."""
        rules = (RULES[one] for one in needs)
        return all(rule is None or self.principal.may(rule.rights, tube) for rule in rules)

    def may_somewhere(self, needs: Needs) -> bool:
        """Tell whether it may do all this in some tube."""
        rules = (RULES[one] for one in needs)
        return all(rule is None or self.principal.may_anywhere(rule.rights) for rule in rules)

    @property
    def may_enter(self) -> bool:
        """Tell whether there is anything that it may see."""
        return self.principal.may_anywhere(_ALL)


class _Login(NamedTuple):
    digest: str
    ends: float


class Access:
    """Everybody who may come; ``path`` is the file of rights, or None for everybody.

    BadValueError if the file cannot be read or is wrong.
    """

    def __init__(self, path: Path | None, audit: Audit) -> None:
        self._path = path
        self._rights = None if path is None else read_rights(path)
        self._audit = audit
        self._secret = secrets.token_bytes(32)
        self._logins: OrderedDict[str, _Login] = OrderedDict()

    @property
    def open(self) -> bool:
        """Tell whether everybody may do everything."""
        return self._rights is None

    def reload(self) -> None:
        """Read the file anew; BadValueError if it is wrong, and the rights stay as they were."""
        if self._path is not None:
            self._rights = read_rights(self._path)

    # -- who it is ----------------------------------------------------------------

    def session(self, request: Request) -> Session:
        """Tell who asks; a browser that is new gets an id, which ``remember`` gives it."""
        id = request.cookies.get(_COOKIE, "")
        if not 20 <= len(id) <= 100 or not id.isascii():
            id = secrets.token_urlsafe(32)
        principal = self._principal(id)
        known = principal is not None
        if principal is None:
            principal = _EVERYBODY if self._rights is None else self._rights.anonymous
        return Session(id, principal, self._csrf(id), known)

    def _principal(self, id: str) -> Principal | None:
        login = self._logins.get(id)
        if login is None or self._rights is None:
            return None
        principal = self._rights.by_token.get(login.digest)
        if principal is None or login.ends < time.monotonic():
            del self._logins[id]
            return None
        return principal

    def _csrf(self, id: str) -> str:
        return hmac.digest(self._secret, id.encode(), "sha256").hex()

    def remember(self, request: Request, response: Response, id: str) -> None:
        """Have the browser keep its id."""
        if request.cookies.get(_COOKIE) != id:
            response.set_cookie(
                _COOKIE, id, httponly=True, samesite="lax", secure=request.url.scheme == "https"
            )

    async def login(self, request: Request, token: str) -> str | None:
        """Give the id of a new session for who has this token; None if nobody has."""
        rights, shown = self._rights or Rights(), digest(token.strip().encode())
        principal = rights.by_token.get(shown)
        if principal is None:
            self._audit.tell("login-refused", peer=_peer(request))
            await asyncio.sleep(_AFTER_A_WRONG_TOKEN)
            return None
        id = secrets.token_urlsafe(32)  # another one: whoever knew the old one knows nothing
        self._logins[id] = _Login(shown, time.monotonic() + _LIFETIME)
        while len(self._logins) > _MOST_SESSIONS:
            self._logins.popitem(last=False)
        self._audit.tell("login", who=principal.name, peer=_peer(request))
        return id

    def logout(self, request: Request, session: Session) -> None:
        """End a session."""
        if self._logins.pop(session.id, None) is not None:
            self._audit.tell("logout", who=session.principal.name, peer=_peer(request))

    # -- what comes from elsewhere ------------------------------------------------

    def is_foreign_host(self, request: Request) -> bool:
        """Tell whether an open dashboard is asked under a name that leads here by a trick.

        A foreign page can give its own name the address of this machine, and would then be of one
        origin with a dashboard that asks nobody who they are.
        """
        return self.open and (request.url.hostname or "") not in _LOOPBACK

    def is_forged(self, request: Request, session: Session, form: dict[str, list[str]]) -> bool:
        """Tell whether a form comes from anywhere but a page of this session."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return True
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        return not hmac.compare_digest(form.get(_FIELD, [""])[0].encode(), session.csrf.encode())


def _peer(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""
