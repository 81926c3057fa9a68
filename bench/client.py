"""The client's part: ours beside its peers and raw sockets, row by row, with what is expected."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

from bench import imports, latency, own_cost, throughput
from bench.goals import Section
from bench.machine import BenchError, Cores
from bench.rows import OURS, ROWS

PACKAGES = ("aiostalk", "greenstalk", "pystalk", OURS)


def require(*packages: str) -> None:
    """Stop, before anything is measured, if a client is not installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise BenchError(f"{name} is not installed: pip install -e '.[bench]'")


def sections(
    rounds: int, seconds: float, cores: Cores, progress: Callable[[str], None], *, quick: bool
) -> Iterator[Section]:
    """Measure, and give each part of the report when it is known."""
    rows = [row for row in ROWS if row.quick or not quick]
    yield throughput.report(throughput.measure(rows, rounds, seconds, cores, progress))
    core = cores.load
    yield latency.report(latency.measure(1 if quick else 3, core, progress))
    yield imports.report(imports.measure(7 if quick else 15, core, progress))
    yield own_cost.report(own_cost.measure(rounds, core, progress))
