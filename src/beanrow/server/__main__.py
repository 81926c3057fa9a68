"""The server as a program: ``python -m beanrow.server``, with the daemon's own flags."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, NoReturn

from beanrow.errors import BadValueError, JournalError
from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.flags import (
    add_access,
    add_journal,
    add_limits,
    add_operations,
    count,
    read_data,
    read_limits,
)
from beanrow.server.listeners import Place, is_loopback, listen_tcp, listen_unix, where
from beanrow.server.log import Log
from beanrow.server.server import Server
from beanrow.server.systemd import Notifier, inherited_listeners
from beanrow.server.tls import TlsFiles
from beanrow.version import __version__

__all__ = ["main"]

_MOST_JOB_SIZE = 1073741824
"""The largest -z, as in the daemon: 1 GiB."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as a daemon's log wants it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} -h\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="Serve a beanstalk queue.",
        epilog="A server for tests, with a clock to be moved: beanrow serve --test -h.",
    )
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
    add_journal(parser)
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
    add_access(parser)
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
    tls: list[socket.socket]
    http: list[socket.socket]

    def close(self) -> None:
        """Close them all."""
        for listener in self.own + self.inherited + self.tls + self.http:
            listener.close()


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
    tls = [listener for name, listener in handed if name == "tls"]
    inherited = [listener for name, listener in handed if name not in ("http", "tls")]
    own = []
    if not inherited:
        if options.address.startswith("unix:"):
            path = options.address.removeprefix("unix:")
            own.append(_listen(prog, options.address, lambda: listen_unix(path)))
        else:
            place = Place(options.address, options.port)
            own.append(_listen(prog, str(place), lambda: listen_tcp(*place)))
    for place, listeners in ((options.tls, tls), (options.http, http)):
        if place is not None and not listeners:
            listeners.append(_listen(prog, str(place), partial(listen_tcp, *place)))
    return _Listeners(own, inherited, tls, http)


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _prepare(prog: str, options: argparse.Namespace) -> _Listeners:
    """Do all that can fail; exits with one line that says what and why."""
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


def _fault(options: argparse.Namespace, listeners: _Listeners) -> str | None:
    """Say which of the flags about access does not go with the others."""
    if listeners.tls and options.tls_cert is None:
        return "--tls needs --tls-cert, the server's certificate"
    if not listeners.tls and (options.tls_cert or options.tls_key or options.tls_ca):
        return "--tls-cert, --tls-key and --tls-ca need --tls [ADDR:]PORT"
    if options.audit and not options.rights:
        return "--audit needs --rights: without rights nobody is known and nothing refused"
    open_to_all = _open_to_all(options, listeners)
    if options.require_auth and open_to_all:
        return f"--require-auth: {where(open_to_all[0])} is open to everybody; give --rights FILE"
    return None


def _open_to_all(options: argparse.Namespace, listeners: _Listeners) -> list[socket.socket]:
    """Give the sockets where others than this machine may do everything."""
    if options.rights is not None:
        return []
    tls = [] if options.tls_ca else listeners.tls
    queue = listeners.own + listeners.inherited + tls
    return [listener for listener in queue if not is_loopback(listener)]


def _warn(log: Log, options: argparse.Namespace, listeners: _Listeners) -> None:
    for listener in _open_to_all(options, listeners):
        log.tell(
            "no-rights",
            f"WARNING: anyone who can reach {where(listener)} can read, add and delete jobs: "
            "there are no access rights. Give --rights FILE, listen on loopback, or keep others "
            "out by firewall.",
            level="warning",
        )
    for listener in listeners.own + listeners.inherited:
        if options.rights is not None and not is_loopback(listener):
            log.tell(
                "plain-text",
                f"WARNING: jobs and tokens cross the network unencrypted at {where(listener)}: "
                "clients of other machines should come by --tls",
                level="warning",
            )


def _protect(server: Server, options: argparse.Namespace, listeners: _Listeners) -> None:
    """Set up rights and TLS; BadValueError tells what is wrong with a file."""
    if options.rights is not None:
        rights = server.protect(options.rights, options.audit)
        if rights.by_certificate and not options.tls_ca:
            raise BadValueError(f"{options.rights} names certificates, which needs --tls-ca FILE")
    if listeners.tls:
        key = options.tls_key or options.tls_cert
        server.serve_tls(listeners.tls, TlsFiles(options.tls_cert, key, options.tls_ca))


def main(arguments: list[str] | None = None, prog: str = "python -m beanrow.server") -> int:
    """Serve until told to stop; the exit status."""
    options = _parser(prog).parse_args(arguments)
    notifier = Notifier(os.environ, os.getpid())
    listeners = _prepare(prog, options)
    if (fault := _fault(options, listeners)) is not None:
        sys.exit(f"{prog}: {fault}")
    log = Log(as_json=options.log == "json")
    _warn(log, options, listeners)
    try:
        server = Server(
            listeners.own,
            max_job_size=options.max_job_size,
            segment=options.segment,
            data=read_data(options),
            limits=read_limits(options),
            log=log,
            notifier=notifier,
        )
    except JournalError as error:
        listeners.close()
        sys.exit(f"{prog}: {error}")
    server.serve_queue(listeners.inherited)
    server.serve_http(listeners.http)
    if options.slow_log is not None:
        server.watch_slow_commands(options.slow_log)
    try:
        _protect(server, options, listeners)
    except BadValueError as error:
        sys.exit(f"{prog}: {error}")
    if options.with_parent:
        server.stop_with_parent(os.getppid(), sys.stdin.fileno())

    def tell() -> None:
        if options.verbose:
            for listener in listeners.own + listeners.inherited:
                log.tell("listening", f"listening on {where(listener)}", address=where(listener))
            for listener in listeners.tls:
                log.tell("tls", f"listening for TLS on {where(listener)}", address=where(listener))
            for listener in listeners.http:
                log.tell("http", f"answering HTTP on {where(listener)}", address=where(listener))
        if options.announce:
            sys.stdout.write(f"{where((listeners.own + listeners.inherited)[0])}\n")
            sys.stdout.flush()

    return 0 if server.run(tell) else 1


if __name__ == "__main__":
    sys.exit(main())
