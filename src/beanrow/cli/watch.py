"""The verb ``watch``: bounds on the figures of tubes, told by the exit code, for monitoring."""

from __future__ import annotations

import operator
import re
from typing import Any, NamedTuple

import click

from beanrow.cli.bulk import count
from beanrow.cli.options import checked, connected, shared_options_of_servers
from beanrow.cli.output import write, write_json
from beanrow.client.address import Address
from beanrow.errors import BadValueError
from beanrow.jobs.search import tubes_of
from beanrow.protocol.stats import TubeStats

__all__ = ["watch"]

_KEYS = {
    "ready": "current-jobs-ready",
    "urgent": "current-jobs-urgent",
    "reserved": "current-jobs-reserved",
    "delayed": "current-jobs-delayed",
    "buried": "current-jobs-buried",
    "waiting": "current-waiting",
    "watching": "current-watching",
    "using": "current-using",
    "paused": "pause-time-left",
    "total": "total-jobs",
}
_COMPARED = {">": operator.gt, "<": operator.lt}
_BOUND = re.compile(r"([a-z-]+)([<>])([0-9]+)")
_OK, _WARNING, _CRITICAL = 0, 1, 2
"""Exit codes as the plugins of Nagios and its kin have them."""
_WORDS = ("OK", "WARNING", "CRITICAL")


class _Bound(NamedTuple):
    """What a figure must not be: ``ready>1000``."""

    name: str
    comparison: str
    number: int

    def is_broken_by(self, figures: dict[str, int]) -> bool:
        """Tell whether it is."""
        return bool(_COMPARED[self.comparison](figures[self.name], self.number))

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.number}"


def _bound(text: str) -> _Bound:
    match = _BOUND.fullmatch(text.replace(" ", ""))
    if match is None or match[1] not in _KEYS:
        raise BadValueError(
            f"{text!r} is no bound such as 'ready>1000' or 'watching<1'; the figures are "
            f"{', '.join(_KEYS)}"
        )
    return _Bound(match[1], match[2], int(match[3]))


_TYPE = checked("bound", _bound)


@click.command(
    epilog="""\b
Examples:
  beanrow watch emails --warning 'ready>1000' --critical 'watching<1'
  beanrow watch '*' --critical 'buried>0'

Exit codes: 0 all is well, 1 a warning, 2 critical (or bad use), 3 no server."""
)
@click.argument("tubes", nargs=-1, required=True, metavar="GLOB...")
@click.option("--warning", type=_TYPE, multiple=True, help="May be repeated.")
@click.option("--critical", type=_TYPE, multiple=True, help="May be repeated.")
@shared_options_of_servers
def watch(
    tubes: tuple[str, ...],
    warning: tuple[_Bound, ...],
    critical: tuple[_Bound, ...],
    servers: tuple[Address, ...],
    as_json: bool,
) -> int:
    """Check the figures of tubes once, and tell by the exit code what a monitor asks.

    A bound is a figure, < or >, and a number; it is broken where that is true. A tube that is
    named without * ? [ and is not there counts as one where all is 0: an empty tube that
    nobody uses is forgotten by the server.
    """
    if not warning and not critical:
        raise click.UsageError("give --warning or --critical")
    checks: list[dict[str, Any]] = []
    for server in servers:
        with connected(server) as client:
            found = {one.name: _figures(one) for one in tubes_of(client, tubes)}
        for name in tubes:
            if not set(name) & set("*?["):
                found.setdefault(name, dict.fromkeys(_KEYS, 0))
        for name, figures in sorted(found.items()):
            level, broken = _judge(figures, warning, critical)
            checks.append(
                {"server": str(server), "tube": name, "level": level, "broken": broken, **figures}
            )
    worst = max((one["level"] for one in checks), default=_OK)
    for one in checks:
        one["level"] = _WORDS[one["level"]]
    if as_json:
        write_json({"level": _WORDS[worst], "tubes": checks})
    else:
        write(f"{_WORDS[worst]} - {_told(checks)}\n".encode())
    return worst


def _figures(tube: TubeStats) -> dict[str, int]:
    told = tube.as_dict()
    return {name: int(told.get(key, 0)) for name, key in _KEYS.items()}


def _judge(
    figures: dict[str, int], warning: tuple[_Bound, ...], critical: tuple[_Bound, ...]
) -> tuple[int, list[str]]:
    for level, bounds in ((_CRITICAL, critical), (_WARNING, warning)):
        broken = [str(one) for one in bounds if one.is_broken_by(figures)]
        if broken:
            return level, broken
    return _OK, []


def _told(checks: list[dict[str, Any]]) -> str:
    """Write what is broken, or how much was looked at, on one line."""
    told = []
    for one in checks:
        for bound in one["broken"]:
            name = re.split("[<>]", bound)[0]
            told.append(f"{one['tube']} has {name} {one[name]} ({bound}) on {one['server']}")
    return "; ".join(told) or f"{count(len(checks), 'tube')} within bounds"
