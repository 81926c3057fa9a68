"""The flags that the original daemon does not have: limits and operations."""

from __future__ import annotations

import argparse
from pathlib import Path

from beanrow.engine.limited import JOB_OVERHEAD, Room
from beanrow.engine.timers import SECOND
from beanrow.server.limits import Limits
from beanrow.server.listeners import Place, read_place

__all__ = ["add_access", "add_limits", "add_operations", "count", "read_limits"]

_OUT_OF_MEMORY = "a put beyond it is answered OUT_OF_MEMORY"


def count(text: str) -> int:
    """Read a whole number that is not negative."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


count.__name__ = "number"  # argparse names the type in its errors


def _place(text: str) -> Place:
    return read_place(text)


_place.__name__ = "[ADDR:]PORT"


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
        type=_place,
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
        type=_place,
        help="answer /live, /ready, /health and /metrics (Prometheus) there, without "
        "encryption or rights (default address 127.0.0.1)",
    )
    group.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="what stderr gets: lines for people, or one JSON object a line (default text)",
    )
