"""Commands that take long: measured where somebody asked for it, told to the log and to list-slow.

What is measured is carrying a command out, not the wait of a ``reserve``; and what the journal takes
to write and sync what a turn's commands have changed, as ``journal`` of no connection.

Law: no body and no token is ever in it.
"""

from __future__ import annotations

import time
from typing import Any

from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.protocol import requests
from beanrow.protocol.holders import SlowCommand
from beanrow.server.log import Log

__all__ = ["SlowLog", "word_of"]

_MILLISECOND = 1_000_000
_KEPT_TO_ITSELF = {"body", "token"}


class SlowLog:
    """Carries out an engine's requests and notes those that take ``threshold`` nanoseconds.

    It is asked for (``--slow-log``), since reading a clock twice costs each command 0.2 µs.
    """

    def __init__(self, engine: Engine, log: Log, threshold: int) -> None:
        self._engine = engine
        self._execute = engine.execute
        self._clock = time.perf_counter_ns
        self._log = log
        self._threshold = threshold
        self._noted = 0

    def execute(self, session: Session, request: requests.Request, now: int) -> bytes | None:
        """Carry out one request. As ``Engine.execute``."""
        begin = self._clock()
        reply = self._execute(session, request, now)
        took = self._clock() - begin
        if took >= self._threshold:
            self._note(took, session.number, session.peer, session.name, _line(request))
        return reply

    def note_commit(self, took: int) -> None:
        """Hear how long the journal took for a turn."""
        if took >= self._threshold:
            self._note(took, 0, "", "", "journal")

    def _note(self, took: int, connection: int, peer: str, client: str, command: str) -> None:
        self._noted += 1
        slow = SlowCommand(
            number=self._noted,
            at=round(time.time(), 3),
            took=round(took / _MILLISECOND, 3),
            connection=connection,
            peer=peer,
            client=client,
            command=command,
        )
        self._engine.slow_commands.append(slow)
        who = f"{slow.peer} ({slow.client})" if slow.client else slow.peer
        self._log.tell(
            "slow-command",
            f"{slow.took:.0f} ms for {slow.command!r}{f' of {who}' if who else ''}",
            level="warning",
            took_us=took // 1000,
            address=slow.peer,
            client=slow.client,
            command=slow.command,
        )


def _line(request: Any) -> str:
    """Write a request about as it came."""
    line = [word_of(request)]
    for name, value in request._asdict().items():
        if name not in _KEPT_TO_ITSELF:
            line += value if isinstance(value, tuple) else [str(value)]
    return " ".join(line)


def word_of(request: requests.Request) -> str:
    """Write the name of a request as the protocol does."""
    name = request.__class__.__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
