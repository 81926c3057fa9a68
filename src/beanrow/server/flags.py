"""The flags of the server that need more than a line: the journal, limits, access, operations."""

from __future__ import annotations

import argparse
from pathlib import Path

from beanrow.engine.limited import JOB_OVERHEAD, Room
from beanrow.engine.timers import SECOND
from beanrow.journal.opening import DEFAULT_SIZE
from beanrow.server.limits import Limits
from beanrow.server.listeners import Place, read_place
from beanrow.server.local import Data

__all__ = [
    "add_access",
    "add_journal",
    "add_limits",
    "add_operations",
    "count",
    "place",
    "read_data",
    "read_limits",
]

_OUT_OF_MEMORY = "a put beyond it is answered OUT_OF_MEMORY"


def count(text: str) -> int:
    """Read a whole number that is not negative."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


count.__name__ = "number"  # argparse names the type in its errors


def place(text: str) -> Place:
    """Read where to listen."""
    return read_place(text)


place.__name__ = "[ADDR:]PORT"


def _milliseconds(text: str) -> int:
    return count(text) * 1_000_000


def _sync_policy(text: str) -> int | None:
    """Read --fsync into nanoseconds; None is never."""
    words = {"always": 0, "never": None}
    return words[text] if text in words else _milliseconds(text)


_milliseconds.__name__ = "number"
_sync_policy.__name__ = "time to sync"


def add_journal(parser: argparse.ArgumentParser) -> None:
    """Add where jobs are kept, also in the daemon's words; ``read_data`` reads it."""
    parser.add_argument(
        "-b", "--data", metavar="DIR", type=Path, help="keep the jobs in this directory"
    )
    parser.add_argument(
        "--fsync",
        metavar="WHEN",
        dest="sync_after",
        type=_sync_policy,
        default=0,
        help="sync the journal: always, before each reply (the default); every so many "
        "milliseconds; or never",
    )
    parser.add_argument(
        "-f", metavar="MS", dest="sync_after", type=_milliseconds, help="as --fsync MS; 0 is always"
    )
    parser.add_argument(
        "-F", dest="sync_after", action="store_const", const=None, help="as --fsync never"
    )
    parser.add_argument(
        "-s",
        metavar="BYTES",
        dest="segment",
        type=count,
        default=DEFAULT_SIZE,
        help=f"what the journal may take beyond twice its jobs (default {DEFAULT_SIZE})",
    )


def read_data(options: argparse.Namespace) -> Data | None:
    """Give where jobs are to be kept, None if nowhere."""
    if options.data is None:
        return None
    return Data(options.data, options.sync_after, options.segment)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the limits; ``read_limits`` reads them."""
    group = parser.add_argument_group("limits", "each is off unless it is given")
    for flag, unit, words in (
        (
            "--max-memory",
            "BYTES",
            f"of all bodies, with {JOB_OVERHEAD} for each job; {_OUT_OF_MEMORY}",
        ),
        ("--max-tube-jobs", "JOBS", f"in one tube; {_OUT_OF_MEMORY}"),
        ("--max-tube-bytes", "BYTES", f"of bodies in one tube; {_OUT_OF_MEMORY}"),
        ("--max-connections", "NUMBER", "open at once; one more is told OUT_OF_MEMORY and closed"),
        (
            "--slow-timeout",
            "SECONDS",
            "for each 64 KiB of a request that has begun or of replies to be taken; then closed",
        ),
        (
            "--idle-timeout",
            "SECONDS",
            "without a request, while neither waiting for a job nor holding one; then closed",
        ),
    ):
        group.add_argument(flag, metavar=unit, type=count, default=0, help=words)


def read_limits(options: argparse.Namespace) -> Limits:
    """Give the limits that were asked for."""
    return Limits(
        connections=options.max_connections,
        slow=options.slow_timeout * SECOND,
        idle=options.idle_timeout * SECOND,
        room=Room(options.max_memory, options.max_tube_jobs, options.max_tube_bytes),
    )


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add who may do what."""
    group = parser.add_argument_group("access", "SIGHUP reads these files anew")
    group.add_argument(
        "--rights",
        metavar="FILE",
        type=Path,
        help="who may put, take and administer in which tubes (docs/server.md); "
        "without it everybody may do everything",
    )
    group.add_argument(
        "--audit", metavar="FILE", type=Path, help="append who came and who was refused, as JSON"
    )
    group.add_argument(
        "--require-auth",
        action="store_true",
        help="refuse to start where others than this machine could come without rights",
    )
    group.add_argument(
        "--tls",
        metavar="[ADDR:]PORT",
        type=place,
        help="serve the queue inside TLS there as well (default address 127.0.0.1)",
    )
    group.add_argument("--tls-cert", metavar="FILE", type=Path, help="the server's certificate")
    group.add_argument(
        "--tls-key", metavar="FILE", type=Path, help="its key (default: in --tls-cert)"
    )
    group.add_argument(
        "--tls-ca",
        metavar="FILE",
        type=Path,
        help="take only clients with a certificate of this authority",
    )


def add_operations(parser: argparse.ArgumentParser) -> None:
    """Add what the people who run it need."""
    group = parser.add_argument_group("operations")
    group.add_argument(
        "--http",
        metavar="[ADDR:]PORT",
        type=place,
        help="answer /live, /ready, /health and /metrics (Prometheus) there, without "
        "encryption or rights (default address 127.0.0.1)",
    )
    group.add_argument(
        "--slow-log",
        metavar="MS",
        type=_milliseconds,
        help="tell of commands that take so many milliseconds, in the log and by list-slow "
        "(docs/server.md)",
    )
    group.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="what stderr gets: lines for people, or one JSON object a line (default text)",
    )
