"""The server as a program: ``python -m beanrow.server``, with the daemon's own flags."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from typing import NoReturn

from beanrow.engine.limited import JOB_OVERHEAD, Room
from beanrow.engine.timers import SECOND
from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.limits import Limits
from beanrow.server.log import Log
from beanrow.server.server import Server, listen_tcp, listen_unix
from beanrow.version import __version__

__all__ = ["main"]

_MOST_JOB_SIZE = 1073741824
"""The largest -z, as in the daemon: 1 GiB."""


_SEGMENT = 10485760
"""The default -s, as in the daemon: 10 MiB."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as a daemon's log wants it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} -h\n")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


_count.__name__ = "number"  # argparse names the type in its errors


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description="Serve a beanstalk queue in memory.")
    parser.add_argument(
        "-l",
        metavar="ADDR",
        dest="address",
        default="127.0.0.1",
        help="listen on this address, or on unix:PATH (default 127.0.0.1)",
    )
    parser.add_argument(
        "-p", metavar="PORT", dest="port", type=_count, default=11300, help="default 11300"
    )
    parser.add_argument("-b", metavar="DIR", dest="journal", help="refused: no journal yet")
    parser.add_argument(
        "-f", metavar="MS", dest="sync", type=_count, help="taken, of no effect without -b"
    )
    parser.add_argument("-F", dest="never_sync", action="store_true", help="likewise")
    parser.add_argument(
        "-s", metavar="BYTES", dest="segment", type=_count, default=_SEGMENT, help="likewise"
    )
    parser.add_argument("-u", metavar="USER", dest="user", help="become this user and its group")
    parser.add_argument(
        "-z",
        metavar="BYTES",
        dest="max_job_size",
        type=_count,
        default=MAX_JOB_SIZE,
        help=f"largest body (default {MAX_JOB_SIZE}, at most {_MOST_JOB_SIZE})",
    )
    _add_limits(parser)
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="what stderr gets: lines for people, or one JSON object a line (default text)",
    )
    parser.add_argument("-v", action="version", version=f"beanrow {__version__}")
    parser.add_argument(
        "-V", dest="verbose", action="count", default=0, help="tell where it listens"
    )
    parser.add_argument("--announce", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits", "each is off unless it is given")
    for flag, unit, words in (
        (
            "--max-memory",
            "BYTES",
            f"of all bodies, with {JOB_OVERHEAD} for each job; a put beyond it: OUT_OF_MEMORY",
        ),
        ("--max-tube-jobs", "JOBS", "in one tube; a put beyond it: OUT_OF_MEMORY"),
        ("--max-tube-bytes", "BYTES", "of bodies in one tube; a put beyond it: OUT_OF_MEMORY"),
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
        group.add_argument(flag, metavar=unit, type=_count, default=0, help=words)


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(
        connections=options.max_connections,
        slow=options.slow_timeout * SECOND,
        idle=options.idle_timeout * SECOND,
        room=Room(options.max_memory, options.max_tube_jobs, options.max_tube_bytes),
    )


def _listener(address: str, port: int) -> socket.socket:
    if address.startswith("unix:"):
        return listen_unix(address.removeprefix("unix:"))
    return listen_tcp(address, port)


def _where(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(listener: socket.socket) -> bool:
    if listener.family == socket.AF_UNIX:
        return True
    host = str(listener.getsockname()[0])
    return host == "::1" or host.startswith("127.")


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _prepare(prog: str, options: argparse.Namespace) -> socket.socket:
    """Do all that can fail; exits with one line that says what and why."""
    if options.journal is not None:
        sys.exit(f"{prog}: -b {options.journal}: this version has no journal; start without -b")
    if options.max_job_size > _MOST_JOB_SIZE:
        sys.exit(f"{prog}: -z {options.max_job_size}: at most {_MOST_JOB_SIZE} bytes")
    if options.port > 65535:
        sys.exit(f"{prog}: -p {options.port}: a port is at most 65535")
    try:
        listener = _listener(options.address, options.port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that can be none
        where = options.address
        if not where.startswith("unix:"):
            where = f"[{where}]:{options.port}" if ":" in where else f"{where}:{options.port}"
        problem = error.strerror if isinstance(error, OSError) and error.strerror else error
        sys.exit(f"{prog}: cannot listen on {where}: {problem}")
    if options.user is not None:
        try:
            _become(options.user)
        except (KeyError, OSError) as error:
            sys.exit(f"{prog}: cannot become user {options.user}: {error}")
    return listener


def main(arguments: list[str] | None = None, prog: str = "python -m beanrow.server") -> int:
    """Serve until told to stop; the exit status."""
    options = _parser(prog).parse_args(arguments)
    listener = _prepare(prog, options)
    log = Log(as_json=options.log == "json")
    if not _is_loopback(listener):
        log.tell(
            "no-rights",
            f"WARNING: anyone who can reach {_where(listener)} can read, add and delete "
            "jobs: there are no access rights. Listen on loopback, or keep others out by firewall.",
            level="warning",
        )
    server = Server(
        [listener],
        max_job_size=options.max_job_size,
        segment=options.segment,
        limits=_limits(options),
        log=log,
    )
    if options.with_parent:
        server.stop_with_parent(os.getppid(), sys.stdin.fileno())

    def tell() -> None:
        if options.verbose:
            log.tell("listening", f"listening on {_where(listener)}", address=_where(listener))
        if options.announce:
            sys.stdout.write(f"{_where(listener)}\n")
            sys.stdout.flush()

    server.run(tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
