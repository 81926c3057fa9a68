"""What a client asks a server for beyond the protocol, and how it says that something is missing."""

from __future__ import annotations

from beanrow.errors import NotOfferedError, UnknownCommandError
from beanrow.protocol import extensions
from beanrow.protocol.capabilities import (
    JOBS_WITH_TUBE,
    LIST_CLIENTS,
    LIST_JOBS,
    LIST_LEASES,
    LIST_SLOW,
    LIST_TIMES,
    MORE_STATS,
    PUT_IN_TUBE,
    PUT_UNIQUE,
    RESUME,
    SESSION,
    TRUNCATE,
)
from beanrow.protocol.commands import Command, written
from beanrow.protocol.values import Duration, seconds

__all__ = ["ASKED", "begin_session", "offers", "refuse_missing", "unique_put"]

_WANTED = (
    *(JOBS_WITH_TUBE, MORE_STATS, PUT_IN_TUBE, PUT_UNIQUE, RESUME, SESSION, TRUNCATE),
    *(LIST_CLIENTS, LIST_JOBS, LIST_LEASES, LIST_SLOW, LIST_TIMES),
)
"""What our clients use; each connection that asks switches all of it on."""
_INSTEAD = {
    PUT_UNIQUE: "no other command does this: what a client did alone would not hold between two",
    SESSION: "there a reserved job is lost with its connection; leave session= out",
    TRUNCATE: "drain_tube() deletes the jobs of a tube with the commands of every server",
}


def _read_words(request: bytes, reply: bytes) -> frozenset[str]:
    try:
        return _ASKED.read(request, reply)
    except UnknownCommandError:
        return frozenset()  # so does every server without extensions answer


_ASKED = extensions.capabilities(*_WANTED)
ASKED = Command(_ASKED.request, _read_words)
"""Asks for the words that a server knows, and switches on what our clients use."""


def offers(words: frozenset[str] | None) -> bool:
    """Tell whether a put into another tube needs no ``use``; no while nobody has asked."""
    return words is not None and PUT_IN_TUBE in words


def refuse_missing(word: str, words: frozenset[str], request: bytes, peer: str) -> None:
    """Raise NotOfferedError unless the server at ``peer`` knows the word."""
    if word not in words:
        raise NotOfferedError(written(request), word, peer, _INSTEAD.get(word, ""))


def begin_session(grace: int, words: frozenset[str], peer: str) -> Command[str]:
    """Make what begins a session; NotOfferedError unless the server at ``peer`` knows them."""
    command = extensions.session(grace)
    refuse_missing(SESSION, words, command.request, peer)
    return command


class _Repeatable(Command[int]):
    """A put that may be sent again after a lost connection."""

    __slots__ = ()

    @property
    def may_be_repeated(self) -> bool:
        return True


def unique_put(put: Command[int], lifetime: Duration, timeout: float) -> Command[int]:
    """Let a ``put-unique`` be sent again if its key outlives all tries, ``timeout`` seconds.

    With a shorter lifetime the job could be put, done and its key free before the second try.
    """
    if seconds(lifetime, "lifetime") < timeout:
        return put
    return _Repeatable(put.request, put.read)
