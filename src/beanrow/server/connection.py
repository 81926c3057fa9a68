"""One connection without its socket: bytes in, replies into its session.

Laws:
- One request at a time, in order: what comes behind a reserve that waits, waits.
- Only a bounded share is carried out at once, so that ten thousand commands in one
  packet, or a few that ask for large bodies, neither starve others nor fill memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from beanrow.engine.engine import COMMAND, Engine
from beanrow.engine.session import Session
from beanrow.protocol.request_stream import RequestStream
from beanrow.protocol.requests import Request

__all__ = ["Connection", "Execute"]

Execute: TypeAlias = Callable[[Session, Request, int], bytes | None]
"""What carries a request out: an engine, or what stands before it."""

_SHARE = 256 * 1024
"""Bytes of replies after which a connection lets the others go first; each counts COMMAND more, so
about 2,000 small ones make a share."""
_MOST_AHEAD = 64 * 1024
"""Bytes that are read ahead of a reserve that waits."""


class Connection:
    """A session of an engine, fed with bytes. ``now`` is the engine's time.

    ``execute`` carries out its requests in the engine's place.
    """

    __slots__ = (
        "_ahead",
        "_ended",
        "_engine",
        "_execute",
        "_execute_all",
        "_stream",
        "session",
    )

    def __init__(self, engine: Engine, execute: Execute | None = None) -> None:
        self._engine = engine
        self._stream = RequestStream(engine.max_job_size)
        self._execute = execute or engine.execute
        self._execute_all = engine.execute_all if execute is None else _one_by_one(execute)
        self._ahead: list[Request] = []  # cut, and not yet carried out
        self._ended = False
        self.session: Session = engine.open()

    def receive(self, data: bytes, now: int) -> bool:
        """Take bytes from the peer and carry out a share of what it asks.

        Tells whether there is more to do at once. Sets ``session.closing`` when the peer
        has ended and all it sent is done.
        """
        session = self.session
        if not (session.waiting or session.closing or self._ahead):
            request = self._stream.only(data)
            if request is not None:
                self._execute(session, request, now)
                return False
        self._stream.feed(data)
        if session.waiting or session.closing:
            return False
        share = _SHARE
        while True:
            requests = self._ahead or self._stream.take()
            if requests is None:
                break
            if requests:
                done, share = self._execute_all(session, requests, now, share)
                self._ahead = requests[done:]
                if session.waiting or session.closing:
                    return False
            else:
                request = self._stream.next()
                if request is None:
                    break
                reply = self._execute(session, request, now)
                if reply is None:
                    return False
                share -= len(reply) + COMMAND
            if share <= 0:
                return True
        if self._ended:
            session.closing = True
        return False

    def advance(self, now: int) -> bool:
        """Go on with what was received before, as ``receive``."""
        return self.receive(b"", now)

    def end(self, now: int) -> bool:
        """Note that the peer sends no more, and go on as ``receive``."""
        self._ended = True
        self._engine.half_close(self.session)
        return self.receive(b"", now)

    @property
    def has_more(self) -> bool:
        """Whether there may be requests that are not yet carried out."""
        return bool(self._ahead or self._stream.buffered)

    @property
    def full(self) -> bool:
        """Whether no more should be read for now: enough waits behind a reserve."""
        return self.session.waiting and self._stream.buffered > _MOST_AHEAD

    @property
    def lacking(self) -> int:
        """Bytes that an unfinished request lacks: at least 1 if one has begun, else 0."""
        return self._stream.lacking

    def close(self, now: int) -> None:
        """End the session: its jobs become ready again."""
        self._engine.close(self.session, now)


def _one_by_one(
    execute: Execute,
) -> Callable[[Session, list[Request], int, int], tuple[int, int]]:
    """Do as ``Engine.execute_all`` does, with something else that carries out each request."""

    def execute_all(
        session: Session, requests: list[Request], now: int, share: int
    ) -> tuple[int, int]:
        done = 0
        share -= COMMAND * len(requests)
        for done, request in enumerate(requests, 1):  # noqa: B007  # it is returned
            reply = execute(session, request, now)
            if reply is None:
                break
            share -= len(reply)
            if share <= 0:
                break
        return done, share

    return execute_all
