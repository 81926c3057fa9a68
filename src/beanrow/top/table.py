"""Tubes and leases as lines of text, as wide as there is room.

Laws:
- A line is never wider than asked, and columns keep their places from look to look.
- Nothing is told by colour alone.
- What comes from others is escaped: a name must not steer the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanrow.protocol.holders import Connected, Lease
from beanrow.top.watched import TubeRow

__all__ = [
    "COLUMNS",
    "Column",
    "chosen_columns",
    "cut",
    "head_line",
    "lease_lines",
    "rate",
    "short",
    "span",
    "sparkline",
    "tube_line",
]

_GAP = 1
_NARROWEST_NAME = 14
_WIDEST_NAME = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_SIGNS = "_.-=+*#@"
_UNKNOWN = "-"


def short(number: float, width: int) -> str:
    """Write a number in so many places at most: 12345 as 12k."""
    text = f"{number:.0f}"
    for unit in "kMGT":
        if len(text) <= width:
            break
        number /= 1000
        text = f"{number:.1f}{unit}" if number < 9.95 and width > 3 else f"{number:.0f}{unit}"
    return text


def rate(number: float) -> str:
    """Write a rate: with a decimal where that tells something."""
    return f"{number:.1f}" if 0 < number < 99.95 else short(number, 5)


def span(seconds: float | None) -> str:
    """Write a duration in five places at most."""
    if seconds is None:
        return _UNKNOWN
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def sparkline(values: Sequence[float], width: int, *, plain: bool) -> str:
    """Draw the last values, the highest of them as high as can be; ``plain`` in ASCII."""
    signs = _SIGNS if plain else _BLOCKS
    last = values[-width:]
    highest = max(last, default=0.0)
    if highest <= 0:
        return (signs[0] * len(last)).rjust(width)
    steps = [min(len(signs) - 1, int(one / highest * len(signs))) for one in last]
    return "".join(signs[step] for step in steps).rjust(width)


def cut(text: str, width: int, *, plain: bool) -> str:
    """Make a text fit by leaving out its middle: beginnings and ends tell names apart."""
    text = "".join(one if one.isprintable() else "?" for one in text)
    if len(text) <= width:
        return text.ljust(width)
    mark = "~" if plain else "…"
    end = (width - 1) // 2
    return text[: width - 1 - end] + mark + text[len(text) - end :]


class Column(NamedTuple):
    """A column: its title, width, what it shows and what it sorts by.

    Where there is no room for all, those of the highest ``rank`` are left out.
    """

    title: str
    width: int
    rank: int
    show: Callable[[TubeRow, bool], str]
    key: Callable[[TubeRow], float]


def _count(title: str, width: int, rank: int, name: str) -> Column:
    def value(row: TubeRow) -> int:
        return int(getattr(row.stats, name))

    return Column(title, width, rank, lambda row, _: short(value(row), width), value)


def _time(title: str, rank: int, value: Callable[[TubeRow], float | None]) -> Column:
    return Column(title, 5, rank, lambda row, _: span(value(row)), lambda row: value(row) or 0.0)


COLUMNS = (
    _count("ready", 6, 0, "current_jobs_ready"),
    _count("held", 4, 0, "current_jobs_reserved"),
    _count("delay", 5, 0, "current_jobs_delayed"),
    _count("buried", 6, 0, "current_jobs_buried"),
    Column("put/s", 5, 0, lambda row, _: rate(row.rates.puts), lambda row: row.rates.puts),
    Column("done/s", 6, 0, lambda row, _: rate(row.rates.deletes), lambda row: row.rates.deletes),
    Column(
        *("trend", 6, 0),
        lambda row, plain: sparkline(row.trend, 6, plain=plain),
        lambda row: row.rates.deletes,
    ),
    _time("wait", 0, lambda row: row.wait),
    _time("run", 2, lambda row: row.run),
    _time("oldest", 2, lambda row: getattr(row.stats, "oldest_ready_age", None)),
    _count("watch", 5, 0, "current_watching"),
    _count("idle", 4, 0, "current_waiting"),
    _count("using", 5, 3, "current_using"),
    _count("total", 6, 3, "total_jobs"),
)


def chosen_columns(width: int) -> tuple[list[Column], int]:
    """Tell which columns fit, and how wide the name of a tube may be."""
    chosen: list[Column] = []
    for highest in range(max(one.rank for one in COLUMNS) + 1):
        more = [one for one in COLUMNS if one.rank <= highest]
        if highest and width - _width(more) < _NARROWEST_NAME:
            break
        chosen = more
    return chosen, max(1, min(_WIDEST_NAME, width - _width(chosen)))


def _width(columns: Sequence[Column]) -> int:
    """Places of these columns, the gaps before them, and the two signs before a name."""
    return 2 + sum(_GAP + max(one.width, len(one.title)) for one in columns)


def head_line(width: int, sorted_by: str, *, falling: bool) -> str:
    """Write the titles; the one that is sorted by is in capitals, with its direction."""
    columns, name_width = chosen_columns(width)

    def title(name: str) -> str:
        return name.upper() if name == sorted_by else name

    mark = "v" if falling else "^"
    cells = [title(one.title).rjust(max(one.width, len(one.title))) for one in columns]
    head = f"{mark} {title('tube').ljust(name_width)}"
    return (" " * _GAP).join([head, *cells])[:width]


def tube_line(row: TubeRow, width: int, *, at_cursor: bool, plain: bool) -> str:
    """Write a tube; ``>`` marks the cursor and ``P`` a tube that is paused."""
    columns, name_width = chosen_columns(width)
    signs = (">" if at_cursor else " ") + ("P" if row.is_paused else " ")
    cells = [one.show(row, plain).rjust(max(one.width, len(one.title))) for one in columns]
    return (" " * _GAP).join([signs + cut(row.name, name_width, plain=plain), *cells])[:width]


_LEASE_HEAD = ("state", "job", "tube", "held", "left")


def lease_lines(
    clients: Sequence[Connected], leases: Sequence[Lease], width: int, *, plain: bool
) -> list[str]:
    """Write who works: a head, then a line for each job that is held and for each idle worker."""
    fixed = 8 + 10 + 6 + 6 + 5
    names = max(20, min(60, (width - fixed - 1) * 3 // 5))
    tubes = max(8, min(60, width - fixed - 1 - names))

    def line(client: str, state: str, job: str, tube: str, held: str, left: str) -> str:
        first = cut(client, names, plain=plain)
        return (
            f" {first} {state:<8} {job:>9} {cut(tube, tubes, plain=plain)} {held:>5} {left:>5}"
        )[:width]

    lines = [line("worker", *_LEASE_HEAD)]
    for lease in leases:
        who = _who(lease.client, lease.peer)
        times = span(lease.held), span(lease.time_left)
        lines.append(line(who, "works", str(lease.id), lease.tube, *times))
    for one in clients:
        if one.held or not (one.worker or one.waiting):
            continue
        watched = " ".join(one.watched)
        state = "waits" if one.waiting else "away"
        lines.append(line(_who(one.client, one.peer), state, "", watched, "", ""))
    return lines


def _who(client: str, peer: str) -> str:
    return f"{client} {peer}" if client else peer
