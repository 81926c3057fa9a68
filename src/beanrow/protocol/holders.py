"""Who is connected, who holds which job, and what took long: pages of JSON lines.

Laws:
- A page without a last line ``{"after-id":N}`` is the end, as in ``list-jobs``.
- A key that this version of beanrow does not know is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from beanrow.errors import StatsParsingError

__all__ = ["Connected", "Lease", "Rows", "SlowCommand", "read_rows", "write_rows"]

RowT = TypeVar("RowT", bound="Lease | Connected | SlowCommand")


class Lease(NamedTuple):
    """A job that is reserved, and who holds it. Times in whole seconds, rounded down.

    ``connection`` is the number that the server gave the connection, ``peer`` its address, and
    ``client`` what it calls itself, if it has told. ``held`` is since when it has the job.
    """

    id: int
    tube: str
    connection: int
    peer: str
    client: str
    held: int
    time_left: int
    ttr: int
    reserves: int


class Connected(NamedTuple):
    """A connection, what it uses, watches, holds. ``connection``, ``peer``, ``client`` as ``Lease``.

    ``watched`` names 20 tubes at most of the ``watching`` that there are.
    """

    connection: int
    peer: str
    client: str
    producer: bool
    worker: bool
    waiting: bool
    used: str
    watching: int
    watched: tuple[str, ...]
    held: int


class SlowCommand(NamedTuple):
    """A command that took long to carry out. ``at`` is seconds since 1970, ``took`` milliseconds.

    ``command`` is its line without a body. Numbers count on from the start of the server.
    """

    number: int
    at: float
    took: float
    connection: int
    peer: str
    client: str
    command: str


class Rows(NamedTuple, Generic[RowT]):
    """A page. ``after`` is the id to go on behind, None at the end."""

    rows: list[RowT]
    after: int | None


def write_rows(rows: Iterable[Lease | Connected | SlowCommand], after: int | None) -> bytes:
    """Write a page."""
    lines = [
        _line({key.replace("_", "-"): value for key, value in row._asdict().items()})
        for row in rows
    ]
    if after is not None:
        lines.append(_line({"after-id": after}))
    return "".join(lines).encode("ascii")


def _line(values: dict[str, Any]) -> str:
    import json  # when it is needed: `import beanrow` takes a millisecond less

    return json.dumps(values, separators=(",", ":")) + "\n"


def read_rows(kind: type[RowT], document: bytes) -> Rows[RowT]:
    """Read a page; StatsParsingError if it is none."""
    import json

    rows: list[RowT] = []
    after = None
    for line in document.splitlines():
        try:
            told = json.loads(line)
            if "after-id" in told:
                after = int(told["after-id"])
                continue
            values = {name: told[name.replace("_", "-")] for name in kind._fields}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise StatsParsingError(
                document, f"no {kind.__name__} in the line {line[:80]!r}"
            ) from None
        if isinstance(values.get("watched"), list):
            values["watched"] = tuple(values["watched"])
        rows.append(kind(**values))
    return Rows(rows, after)
