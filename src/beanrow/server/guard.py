"""What stands before the engine where there are rights: it knows who asks, and says no.

Laws:
- The engine hears nothing of a request that is refused.
- Whoever's rights change by a reload is closed, its jobs ready again: no wait that is under
  way, and no job in hand, outlives the right to it.
- The audit log hears of each arrival by token or certificate, of each refusal, and of each
  command that needs ``admin`` for a tube: those that change something. Who looks at the whole
  server looks every second.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.protocol import replies, requests
from beanrow.server.audit import Audit
from beanrow.server.connection import Execute
from beanrow.server.rights import RULES, Principal, Rights, Rule, Where, digest, read_rights
from beanrow.server.slow import word_of

if TYPE_CHECKING:
    from beanrow.server.link import Link

__all__ = ["Access", "Guard"]

_MOST_REFUSALS = 20
"""Different refusals of one connection that are told; more of them tell nothing new."""


class Access:
    """The rights as they are now, and everybody who is connected under them.

    ``execute`` carries out what is allowed in the engine's place. BadValueError if the file cannot
    be read or is wrong.
    """

    def __init__(
        self, path: Path, engine: Engine, audit: Audit, execute: Execute | None = None
    ) -> None:
        self.path = path
        self.engine = engine
        self.execute: Execute = execute or engine.execute
        self.audit = audit
        self.rights: Rights = read_rights(path)
        self._guards: WeakSet[Guard] = WeakSet()

    def guard(self, peer: str, certificate: tuple[str, ...] = ()) -> Guard:
        """Make the guard of a new connection; ``certificate`` is the names in its own."""
        guard = Guard(self, peer, certificate)
        self._guards.add(guard)
        return guard

    def reload(self) -> int:
        """Read the file anew and close whoever's rights have changed; tells how many.

        BadValueError if it is wrong; then everything stays as it was.
        """
        self.rights = read_rights(self.path)
        changed = [guard for guard in self._guards if guard.has_changed()]
        for guard in changed:
            guard.dismiss()
        return len(changed)


class Guard:
    """Carries out the requests of one connection, as far as it may. ``peer`` is its address."""

    __slots__ = (
        "__weakref__",
        "_access",
        "_certificate",
        "_digest",
        "_engine",
        "_execute",
        "_principal",
        "_refused",
        "_session",
        "peer",
    )

    def __init__(self, access: Access, peer: str, certificate: tuple[str, ...]) -> None:
        self._access = access
        self._engine = access.engine
        self._execute = access.execute
        self._certificate = certificate
        self._digest = ""  # of its token, once it has shown one that is known
        self._refused: set[tuple[str, str]] = set()
        self._session: Session | None = None
        self.peer: str = peer
        self._principal = self._who()
        if certificate:
            self._tell("connected")

    def execute(self, session: Session, request: requests.Request, now: int) -> bytes | None:
        """Carry out one request, or answer FORBIDDEN. As ``Engine.execute``."""
        kind = request.__class__
        rule = RULES.get(kind, _NOBODY)
        if rule is not None:
            rights, where = rule
            principal = self._principal
            self._session = session
            if where == "any":
                if not principal.may_anywhere(rights):
                    return self._refuse(session, request, "")
            else:
                for tube in self._tubes(where, session, request):
                    if not principal.may(rights, tube):
                        return self._refuse(session, request, tube)
            if rights == ("admin",) and where != "any":
                self._tell("admin", command=word_of(request), request=str(tuple(request)))
        elif kind is requests.Auth:
            return self._auth(session, request)
        return self._execute(session, request, now)

    def _tubes(self, where: Where, session: Session, request: Any) -> Iterable[str]:
        """Name the tubes that a request is about."""
        if where == "used":
            return (session.used.name,)
        if where == "watched":
            return [tube.name for tube in session.watched]
        if where == "named":
            return (request.tube,)
        if where == "named or used":
            return (request.tube or session.used.name,)
        if where == "session":
            resumed = self._engine.tokens.find(request.token)
            return () if resumed is None else {job.tube.name for job in resumed.held.values()}
        job = self._engine.jobs.find(request.id)
        return () if job is None else (job.tube.name,)

    def _auth(self, session: Session, request: requests.Request) -> bytes:
        assert isinstance(request, requests.Auth)
        shown = digest(request.token)
        if shown not in self._access.rights.by_token:
            self._tell("refused-token", level="warning")
            return self._engine.answer(session, replies.FORBIDDEN)
        self._digest = shown
        self._principal = self._who()
        self._session = session
        self._tell("authenticated")
        return self._engine.answer(session, replies.AUTHENTICATED)

    def _who(self) -> Principal:
        rights = self._access.rights
        who = rights.by_token.get(self._digest)
        return who or rights.of_certificate(self._certificate) or rights.anonymous

    def _refuse(self, session: Session, request: requests.Request, tube: str) -> bytes:
        what = (word_of(request), tube)
        if what not in self._refused and len(self._refused) < _MOST_REFUSALS:
            self._refused.add(what)
            self._tell("forbidden", level="warning", command=what[0], tube=tube)
        return self._engine.answer(session, replies.FORBIDDEN)

    def _tell(self, event: str, *, level: str = "info", **fields: str) -> None:
        self._access.audit.tell(
            event, level=level, who=self._principal.name, peer=self.peer, **fields
        )

    def has_changed(self) -> bool:
        """Tell whether it is somebody else by the file as it is now, and become that."""
        before, self._principal = self._principal, self._who()
        return before != self._principal

    def dismiss(self) -> None:
        """Close the connection."""
        self._tell("dismissed", reason="its rights have changed")
        link: Link | None = self._session.owner if self._session else None  # type: ignore[assignment]
        if link is not None:
            self._engine.end_grace(link.session)
            link.close()


_NOBODY = Rule((), "any")
