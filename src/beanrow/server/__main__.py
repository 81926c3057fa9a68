"""The server as a program: ``python -m beanrow.server``, with the daemon's own flags."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from beanrow.errors import BadValueError
from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.flags import add_limits, add_operations, count, read_limits
from beanrow.server.listeners import Place, is_loopback, listen_tcp, listen_unix, where
from beanrow.server.log import Log
from beanrow.server.server import Server
from beanrow.server.systemd import Notifier, inherited_listeners
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
        "-p", metavar="PORT", dest="port", type=count, default=11300, help="default 11300"
    )
    parser.add_argument("-b", metavar="DIR", dest="journal", help="refused: no journal yet")
    parser.add_argument(
        "-f", metavar="MS", dest="sync", type=count, help="taken, of no effect without -b"
    )
    parser.add_argument("-F", dest="never_sync", action="store_true", help="likewise")
    parser.add_argument(
        "-s", metavar="BYTES", dest="segment", type=count, default=_SEGMENT, help="likewise"
    )
    parser.add_argument("-u", metavar="USER", dest="user", help="become this user and its group")
    parser.add_argument(
        "-z",
        metavar="BYTES",
        dest="max_job_size",
        type=count,
        default=MAX_JOB_SIZE,
        help=f"largest body (default {MAX_JOB_SIZE}, at most {_MOST_JOB_SIZE})",
    )
    add_limits(parser)
    add_operations(parser)
    parser.add_argument("-v", action="version", version=f"beanrow {__version__}")
    parser.add_argument(
        "-V", dest="verbose", action="count", default=0, help="tell where it listens"
    )
    parser.add_argument("--announce", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


class _Listeners(NamedTuple):
    """Sockets by what is spoken there; ``own`` and ``inherited`` speak the queue's protocol."""

    own: list[socket.socket]
    inherited: list[socket.socket]
    http: list[socket.socket]


def _listen(prog: str, where: str, listen: Callable[[], socket.socket]) -> socket.socket:
    try:
        return listen()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that can be none
        problem = error.strerror if isinstance(error, OSError) and error.strerror else error
        sys.exit(f"{prog}: cannot listen on {where}: {problem}")


def _open_listeners(prog: str, options: argparse.Namespace) -> _Listeners:
    """Take the sockets from systemd; open those that it did not hand over."""
    try:
        handed = inherited_listeners(os.environ, os.getpid())
    except (OSError, BadValueError) as error:
        sys.exit(f"{prog}: {error}")
    http = [listener for name, listener in handed if name == "http"]
    inherited = [listener for name, listener in handed if name != "http"]
    own = []
    if not inherited:
        if options.address.startswith("unix:"):
            path = options.address.removeprefix("unix:")
            own.append(_listen(prog, options.address, lambda: listen_unix(path)))
        else:
            place = Place(options.address, options.port)
            own.append(_listen(prog, str(place), lambda: listen_tcp(*place)))
    if options.http is not None and not http:
        http.append(_listen(prog, str(options.http), lambda: listen_tcp(*options.http)))
    return _Listeners(own, inherited, http)


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _prepare(prog: str, options: argparse.Namespace) -> _Listeners:
    """Do all that can fail; exits with one line that says what and why."""
    if options.journal is not None:
        sys.exit(f"{prog}: -b {options.journal}: this version has no journal; start without -b")
    if options.max_job_size > _MOST_JOB_SIZE:
        sys.exit(f"{prog}: -z {options.max_job_size}: at most {_MOST_JOB_SIZE} bytes")
    if options.port > 65535:
        sys.exit(f"{prog}: -p {options.port}: a port is at most 65535")
    listeners = _open_listeners(prog, options)
    if options.user is not None:
        try:
            _become(options.user)
        except (KeyError, OSError) as error:
            sys.exit(f"{prog}: cannot become user {options.user}: {error}")
    return listeners


def _warn(log: Log, listeners: _Listeners) -> None:
    for listener in listeners.own + listeners.inherited:
        if not is_loopback(listener):
            log.tell(
                "no-rights",
                f"WARNING: anyone who can reach {where(listener)} can read, add and delete jobs: "
                "there are no access rights. Listen on loopback, or keep others out by firewall.",
                level="warning",
            )


def main(arguments: list[str] | None = None, prog: str = "python -m beanrow.server") -> int:
    """Serve until told to stop; the exit status."""
    options = _parser(prog).parse_args(arguments)
    notifier = Notifier(os.environ, os.getpid())
    listeners = _prepare(prog, options)
    log = Log(as_json=options.log == "json")
    _warn(log, listeners)
    server = Server(
        listeners.own,
        max_job_size=options.max_job_size,
        segment=options.segment,
        limits=read_limits(options),
        log=log,
        notifier=notifier,
    )
    server.serve_queue(listeners.inherited)
    server.serve_http(listeners.http)
    if options.with_parent:
        server.stop_with_parent(os.getppid(), sys.stdin.fileno())

    def tell() -> None:
        if options.verbose:
            for listener in listeners.own + listeners.inherited:
                log.tell("listening", f"listening on {where(listener)}", address=where(listener))
            for listener in listeners.http:
                log.tell("http", f"answering HTTP on {where(listener)}", address=where(listener))
        if options.announce:
            sys.stdout.write(f"{where((listeners.own + listeners.inherited)[0])}\n")
            sys.stdout.flush()

    server.run(tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
