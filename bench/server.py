"""The server's part: ours and the real daemon under one load generator, row by row.

Laws:
- A fresh server for each run, alone on one core; the generator has the other.
- The two take turns; the ratio of neighbouring runs counts, and the median over the rounds.
- Each row says what is expected of it (goal), and what it may not fall below (floor).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench import flat, half_load, million, pauses, rates, recovery
from bench.goals import Section
from bench.side_by_side import Terms

ROWS = (
    "rates",
    "durable",
    "synced",
    "fill",
    "memory",
    "deep",
    "recovery",
    "half",
    "pause",
    "flat",
)
_OF_A_MILLION = ("fill", "memory", "deep")

EXPLANATION = """\
SERVER: beanrow against beanstalkd

One load generator in C, one thread, on a core of its own; the server alone on the other. Every
reply is checked. Ratios are of neighbouring runs, medians of them; in brackets the lowest and the
highest round."""


def sections(terms: Terms, rows: Sequence[str], *, quick: bool) -> Iterator[Section]:
    """Measure the rows that are asked for, and give each part of the report when it is known."""
    for table in (rates.MEMORY_TABLE, rates.DURABLE_TABLE, rates.SYNCED_TABLE):
        if table.name in rows:
            yield rates.section(terms, table.quick() if quick else table)
    of_a_million = [name for name in _OF_A_MILLION if name in rows]
    if of_a_million:
        yield from million.sections(terms, of_a_million)
    for name, section in (
        ("recovery", recovery.section),
        ("half", half_load.section),
        ("pause", pauses.section),
        ("flat", flat.section),
    ):
        if name in rows:
            yield section(terms)
