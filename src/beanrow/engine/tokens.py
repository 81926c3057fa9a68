"""The sessions that have a token: each may outlive its connection, with the jobs that it holds.

Laws:
- A token has one session. Whoever shows it goes on with that session, whether its first
  connection is gone or only seems to be there.
- No randomness here: whoever serves an engine draws the tokens, which nobody may guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from beanrow.engine.session import Session

__all__ = ["Tokens"]


class Tokens:
    """All sessions with a token. ``draw`` makes a new one, spelled like the name of a tube."""

    __slots__ = ("_by_token", "draw")

    def __init__(self) -> None:
        self._by_token: dict[str, Session] = {}
        self.draw: Callable[[], str] | None = None

    def find(self, token: str) -> Session | None:
        """Give the session of a token."""
        return self._by_token.get(token)

    def sessions(self) -> Iterable[Session]:
        """Give all sessions with a token, also those without a connection."""
        return self._by_token.values()

    def absent(self) -> Iterable[Session]:
        """Give those whose connection is gone."""
        return (one for one in self._by_token.values() if one.absent_until)

    def give(self, session: Session, token: str) -> None:
        """Let a session have this token and no other."""
        self.take(session)
        session.token = token
        self._by_token[token] = session

    def take(self, session: Session) -> None:
        """Take a session's token away, if it has one."""
        if session.token:
            del self._by_token[session.token]
            session.token = ""
