"""The server as a program: ``python -m beanrow.server``, with the daemon's own flags."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from pathlib import Path
from typing import NoReturn

from beanrow.errors import JournalError
from beanrow.journal.opening import DEFAULT_SIZE
from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.local import Data
from beanrow.server.server import Server, listen_tcp, listen_unix
from beanrow.version import __version__

__all__ = ["main"]

_MOST_JOB_SIZE = 1073741824
"""The largest -z, as in the daemon: 1 GiB."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as a daemon's log wants it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} -h\n")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _milliseconds(text: str) -> int:
    return _count(text) * 1_000_000


def _sync_policy(text: str) -> int | None:
    """Read --fsync into nanoseconds; None is never."""
    words = {"always": 0, "never": None}
    return words[text] if text in words else _milliseconds(text)


_count.__name__ = _milliseconds.__name__ = "number"  # argparse names the type in its errors
_sync_policy.__name__ = "time to sync"


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description="Serve a beanstalk queue.")
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
        type=_count,
        default=DEFAULT_SIZE,
        help=f"what the journal may take beyond twice its jobs (default {DEFAULT_SIZE})",
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
    parser.add_argument("-v", action="version", version=f"beanrow {__version__}")
    parser.add_argument(
        "-V", dest="verbose", action="count", default=0, help="tell where it listens"
    )
    parser.add_argument("--announce", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


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
    if not _is_loopback(listener):
        sys.stderr.write(
            f"{prog}: WARNING: anyone who can reach {_where(listener)} can read, add and delete "
            "jobs: there are no access rights. Listen on loopback, or keep others out by firewall.\n"
        )
    data = None
    if options.data is not None:
        data = Data(options.data, options.sync_after, options.segment)
    try:
        server = Server(
            [listener], max_job_size=options.max_job_size, segment=options.segment, data=data
        )
    except JournalError as error:
        listener.close()
        sys.exit(f"{prog}: {error}")
    if options.with_parent:
        server.stop_with_parent(os.getppid(), sys.stdin.fileno())

    def tell() -> None:
        if options.verbose:
            sys.stderr.write(f"{prog}: listening on {_where(listener)}\n")
        if options.announce:
            sys.stdout.write(f"{_where(listener)}\n")
            sys.stdout.flush()

    return 0 if server.run(tell) else 1


if __name__ == "__main__":
    sys.exit(main())
