"""Which of several servers a job goes to, and which of them are away.

Laws:
- Pure: time is passed in, and nothing is sent.
- A key always ranks the servers in the same way, in every process and whatever their
  order (rendezvous hashing): one server more or less moves only the keys that are its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b

from beanrow.errors import BadTypeError, BadValueError

__all__ = ["Servers"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_MOST_REMEMBERED = 1024


class Servers:
    """The names of the servers, and since when some of them do not answer."""

    __slots__ = ("_away", "_ranked", "_turn", "names")

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise BadTypeError(f"the addresses of a pool are a list of them, not {names!r} alone")
        self.names: tuple[str, ...] = tuple(names)
        if not self.names:
            raise BadValueError("a pool needs the address of a server, better of two")
        if len(set(self.names)) != len(self.names):
            raise BadValueError(f"a pool has each server once: {', '.join(self.names)}")
        self._away: dict[str, tuple[float, int]] = {}
        self._ranked: dict[str, tuple[str, ...]] = {}
        self._turn = 0

    def ranked(self, key: str) -> list[str]:
        """Give all servers in the order in which a job with this key tries them.

        Those that are away come last: they may be back, and nobody knows it yet.
        """
        order = self._ranked.get(key)
        if order is None:
            order = tuple(sorted(self.names, key=lambda name: _score(name, key), reverse=True))
            if len(self._ranked) < _MOST_REMEMBERED:
                self._ranked[key] = order
        return sorted(order, key=self._away.__contains__) if self._away else list(order)

    def present(self) -> list[str]:
        """Give the servers that are not away, beginning with another one each time."""
        self._turn += 1
        first = self._turn % len(self.names)
        return [
            name for name in (*self.names[first:], *self.names[:first]) if name not in self._away
        ]

    def lose(self, name: str, now: float) -> bool:
        """Note that a server did not answer; gives True if that is news."""
        is_news = name not in self._away
        _, tries = self._away.get(name, (0.0, 0))
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**tries) * random.uniform(0.5, 1)
        self._away[name] = (now + pause, tries + 1)
        return is_news

    def find(self, name: str) -> None:
        """Note that a server is back."""
        self._away.pop(name, None)

    def due(self) -> tuple[float, str] | None:
        """Tell which server is to be tried again next, and when; None if none is away."""
        away = self._away.copy()
        return min((when, name) for name, (when, _) in away.items()) if away else None


def _score(name: str, key: str) -> bytes:
    return blake2b(f"{name}\0{key}".encode(), digest_size=8).digest()
