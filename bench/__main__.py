"""`python -m bench`: beanrow beside its peers, in one run, on this machine.

Laws:
- Ratios from one run are the result; absolute figures belong to the machine and to its mood.
- Nothing here passes or fails by time; a wrong reply, though, stops it with status 1.
- Everything started is ended by its process id, also on Ctrl-C and on SIGTERM.
- Loopback only, and bounded in time and memory.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple, NoReturn

from bench import client, cluster, generator, server
from bench.goals import Section, Verdict, summary
from bench.machine import BenchError, allow_many_files, cores, facts
from bench.rows import OURS
from bench.side_by_side import Terms


class Plan(NamedTuple):
    """How much is measured. Seconds are of the timed part of one run."""

    part: str
    rows: tuple[str, ...]
    rounds: int
    seconds: float
    quick: bool

    @property
    def long_rounds(self) -> int:
        """Rounds of what takes a minute each."""
        return 1 if self.quick else min(self.rounds, 3)


def read_plan(arguments: list[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", nargs="?", choices=["server", "client", "cluster", "all"], default="all"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=server.ROWS,
        help=f"of the server's part, with commas between them (default: {','.join(server.ROWS)})",
    )
    parser.add_argument("--rounds", type=_rounds, help="runs of each figure (default 5, quick 3)")
    parser.add_argument(
        "--seconds", type=_seconds, help="timed, of each run (default 0.8, quick 0.3)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer points and rounds")
    options = parser.parse_args(arguments)
    rounds, seconds = (3, 0.3) if options.quick else (5, 0.8)
    return Plan(
        options.part,
        options.rows,
        options.rounds or rounds,
        options.seconds or seconds,
        options.quick,
    )


def run(plan: Plan) -> None:
    """Measure what is asked for, and print each part of the report when it is known."""
    if plan.part in ("client", "all"):
        client.require(*client.PACKAGES)
    else:
        client.require(OURS)
    _tell(["beanrow side by side", "", *facts(), _method(plan)])
    if plan.part in ("server", "all"):
        _tell(["", "", *server.EXPLANATION.splitlines()])
        _show(server.sections(_terms(plan), plan.rows, quick=plan.quick))
    if plan.part in ("client", "all"):
        _show(client.sections(plan.rounds, plan.seconds, cores(), _progress, quick=plan.quick))
    if plan.part in ("cluster", "all"):
        _tell(["", "", *cluster.EXPLANATION.splitlines()])
        _show(cluster.sections(3.0 if plan.quick else 6.0, _progress))


def _method(plan: Plan) -> str:
    return (
        f"method    medians; rounds: {plan.rounds}, of {plan.seconds:g} s; taking turns; pinned to"
        " cores; fresh processes"
    )


def _terms(plan: Plan) -> Terms:
    return Terms(generator.build(), plan.rounds, plan.long_rounds, plan.seconds, cores(), _progress)


def _show(sections: Iterator[Section]) -> None:
    verdicts: list[Verdict] = []
    for section in sections:
        _tell(["", "", *section.lines])
        verdicts += section.verdicts
    _tell(["", "", *summary(verdicts), f"load {os.getloadavg()[0]:.2f} after the last run"])


def _tell(lines: list[str]) -> None:
    _progress("")
    print("\n".join(lines), flush=True)


def _progress(text: str) -> None:
    """One changing line, for a terminal only; the report alone goes to stdout."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def _rows(text: str) -> tuple[str, ...]:
    rows = tuple(text.split(","))
    unknown = [row for row in rows if row not in server.ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no row {unknown[0]!r}; there are {','.join(server.ROWS)}"
        )
    return rows


def _rounds(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("from 1 to 100")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 30:
        raise argparse.ArgumentTypeError("from 0.05 to 30")
    return value


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    plan = read_plan(sys.argv[1:])
    signal.signal(signal.SIGTERM, _stop)
    allow_many_files()
    try:
        run(plan)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; nothing is left running", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
