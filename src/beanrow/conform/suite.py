"""All cases against one server: first those that want it for themselves, then the others at once.

Law: the few cases that differ are played once more, when all others are over. On a busy machine an
answer may come late; one that is wrong comes wrong again. Which cases needed it is told.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from beanrow.conform.case import Case
from beanrow.conform.play import Outcome, play
from beanrow.conform.talk import Place, Talk, Unheard

__all__ = ["NoServerError", "Report", "play_all"]

_AT_ONCE = 8
_MOST_AGAIN = 20
"""Cases that are played once more: a server that differs in more of them is not unlucky."""
_PATIENCE = 3.0
"""Seconds until an answer that does not come is a difference."""
_DEFAULT_SIZE = 65535


class NoServerError(Exception):
    """Nobody speaks this protocol there."""


class Report(NamedTuple):
    """What a server answered. ``version`` is what it tells of itself, ``seconds`` how long it took."""

    server: str
    version: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    def count(self, result: str) -> int:
        """Tell how many cases went so."""
        return sum(one.result == result for one in self.outcomes)

    @property
    def differences(self) -> list[str]:
        """The names of the known differences that were met."""
        return sorted({one.difference for one in self.outcomes if one.difference})

    @property
    def conforms(self) -> bool:
        """Whether nothing differs that is not known."""
        return not self.count("differs")


def play_all(place: Place, cases: Sequence[Case]) -> Report:
    """Play these cases; NoServerError if nobody is there."""
    began = time.monotonic()
    stats = _ask_stats(place)
    size = int(stats.get("max-job-size", _DEFAULT_SIZE))
    token = secrets.token_hex(4)

    def first(case: Case) -> Outcome:
        return play(case, place, token, size, _PATIENCE)

    def again(case: Case) -> Outcome:
        return play(case, place, f"{token}-again", size, _PATIENCE)._replace(tries=2)

    try:
        outcomes = _round(cases, first)
        differing = [outcome.case for outcome in outcomes if outcome.result == "differs"]
        if len(differing) <= _MOST_AGAIN:
            outcomes = [outcome for outcome in outcomes if outcome.result != "differs"]
            outcomes += _round(differing, again)
    except OSError as error:
        raise NoServerError(f"{place} is gone in the middle of the cases: {error}") from error
    outcomes.sort(key=lambda outcome: outcome.case.number)
    version = stats.get("version", "unknown").strip('"')
    return Report(str(place), version, tuple(outcomes), time.monotonic() - began)


def _round(cases: Sequence[Case], play_one: Callable[[Case], Outcome]) -> list[Outcome]:
    """Play each once: those that want the server for themselves, quick ones, those of time."""
    outcomes = [play_one(case) for case in cases if case.alone]
    for takes_time in (False, True):
        chosen = [case for case in cases if not case.alone and case.takes_time is takes_time]
        with ThreadPoolExecutor(max(1, len(chosen)) if takes_time else _AT_ONCE) as pool:
            outcomes += pool.map(play_one, chosen)
    return outcomes


def _ask_stats(place: Place) -> dict[str, str]:
    """Ask the server who it is, before anything is judged."""
    try:
        talk = Talk(place, _PATIENCE)
    except OSError as error:
        raise NoServerError(f"cannot connect to {place}: {error.strerror or error}") from error
    try:
        talk.say(b"stats\r\n")
        head = talk.line()
        word, _, size = head.partition(b" ")
        if word != b"OK" or not size.isdigit():
            raise NoServerError(f"{place} answers stats with {head[:80]!r}: no beanstalk server")
        lines = talk.exactly(int(size) + 2).decode(errors="replace").splitlines()
    except Unheard as unheard:
        raise NoServerError(f"{place} answers stats with {unheard.kind}") from None
    finally:
        talk.close()
    pairs = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in pairs}
