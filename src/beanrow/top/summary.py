"""The first lines of the view: the server as a whole."""

from __future__ import annotations

from beanrow.top.table import rate, short, span
from beanrow.top.watched import Watched

__all__ = ["summary_lines"]


def summary_lines(server: str, watched: Watched, *, held: bool) -> list[str]:
    """Write three lines about the server."""
    if watched.snapshot is None:
        return [f" {server}", " waiting for its first answer", ""]
    told = watched.snapshot.stats.as_dict()

    def of(key: str) -> str:
        return short(told.get(key, 0), 7)

    flags = [
        *(["DRAINING"] if told.get("draining") else []),
        *(["HELD: Space goes on"] if held else []),
    ]
    first = [
        f"{server}  {told.get('version', '')}",
        f"up {span(told.get('uptime'))}",
        f"{of('current-connections')} connections",
        f"{of('current-workers')} workers, {of('current-waiting')} idle",
        *flags,
    ]
    jobs = [
        f"{state} {of(f'current-jobs-{state}')}"
        for state in ("ready", "reserved", "delayed", "buried")
    ]
    return [
        f" {'  '.join(first)}",
        f" jobs: {'  '.join(jobs)}  in {of('current-tubes')} tubes",
        f" a second: {_rates(watched)}",
    ]


def _rates(watched: Watched) -> str:
    if watched.rates is None:
        return "-"
    rates = watched.rates.server
    return "  ".join(
        f"{name} {rate(value)}"
        for name, value in (
            ("put", rates.puts),
            ("deleted", rates.deletes),
            ("released", rates.releases),
            ("buried", rates.buries),
            ("timed out", rates.timeouts),
        )
    )
