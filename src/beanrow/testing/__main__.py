"""A test server as a program, for tests in any language: ``beanrow serve --test``.

Law: it is for tests alone: it keeps nothing, and whoever reaches its ports may do everything. So
it listens on loopback unless it is told otherwise.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from types import FrameType

from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.flags import count, place
from beanrow.server.http import Http
from beanrow.server.listeners import Place, listen_tcp, where
from beanrow.server.log import Log
from beanrow.testing.control import Control
from beanrow.testing.loop import TestLoop

__all__ = ["main"]

_STDIN = 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve a beanstalk queue for tests: its clock stands still until the control "
        "port moves it, and fails as it is told to (docs/testing.md).",
    )
    parser.add_argument(
        "-l", metavar="ADDR", dest="address", default="127.0.0.1", help="default 127.0.0.1"
    )
    parser.add_argument(
        "-p", metavar="PORT", dest="port", type=count, default=11300, help="default 11300; 0: any"
    )
    parser.add_argument(
        "--control",
        metavar="[ADDR:]PORT",
        type=place,
        default=Place("127.0.0.1", 11301),
        help="where clock and faults are moved over HTTP (default 127.0.0.1:11301; 0: any port)",
    )
    parser.add_argument(
        "-z",
        metavar="BYTES",
        dest="max_job_size",
        type=count,
        default=MAX_JOB_SIZE,
        help=f"largest body (default {MAX_JOB_SIZE})",
    )
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end with standard input: started with a pipe, it never outlives what started it",
    )
    return parser


def _listen(prog: str, at: Place) -> socket.socket:
    try:
        return listen_tcp(*at)
    except (OSError, UnicodeError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else error
        sys.exit(f"{prog}: cannot listen on {at}: {problem}")


def _end_with_others(loop: TestLoop, until_eof: bool, prog: str) -> None:
    """Have the loop end at SIGTERM and SIGINT, and with standard input if that is wanted."""

    def end(_number: int, _frame: FrameType | None) -> None:
        loop.end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if until_eof:

        def read(_events: int) -> None:
            if not os.read(_STDIN, 4096):
                loop.end()

        try:
            loop.watch(_STDIN, read)
        except OSError:
            sys.exit(f"{prog}: --until-eof: standard input is neither a pipe nor a terminal")


def main(arguments: list[str] | None = None, prog: str = "python -m beanrow.testing") -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    The first line of standard output tells both addresses: ``queue ADDR control ADDR``.
    """
    options = _parser(prog).parse_args(arguments)
    if options.port > 65535:
        sys.exit(f"{prog}: -p {options.port}: a port is at most 65535")
    queue = _listen(prog, Place(options.address, options.port))
    control = _listen(prog, options.control)
    loop = TestLoop(options.max_job_size, Log())
    loop.listen(queue)
    loop.listen(control, Http(loop, Control(loop).answer).admit)
    _end_with_others(loop, options.until_eof, prog)
    sys.stdout.write(f"queue {where(queue)} control {where(control)}\n")
    sys.stdout.flush()
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
