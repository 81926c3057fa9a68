"""The gateway as a program: ``beanrow serve --store``, or ``python -m beanrow.cluster``."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from typing import NoReturn

import uvloop

from beanrow.cluster.address import StoreAddress, read_store_address
from beanrow.cluster.gateway import Gateway
from beanrow.cluster.layout import LAYOUT, Layout
from beanrow.cluster.redis import RedisStore
from beanrow.cluster.safety import DANGERS
from beanrow.errors import BadValueError, StoreError
from beanrow.protocol.values import MAX_JOB_SIZE
from beanrow.server.listeners import Place, is_loopback, listen_tcp, listen_unix, where
from beanrow.server.log import Log
from beanrow.version import __version__

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as a daemon's log wants it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} -h\n")


def _store(text: str) -> StoreAddress:
    try:
        return read_store_address(text)
    except BadValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog, description="Serve a beanstalk queue whose jobs are in Redis or Valkey."
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        type=_store,
        required=True,
        help="redis://HOST:PORT, or redis-cluster://HOST:PORT,HOST:PORT; with ?ack=1 a reply waits "
        "until a replica has what it promises (default ack=0: the master alone)",
    )
    parser.add_argument(
        "--accept",
        metavar="DANGER",
        action="append",
        default=[],
        choices=sorted(DANGERS),
        help=f"start although the store is not safe: {', '.join(sorted(DANGERS))} "
        "(docs/cluster.md); may be given several times",
    )
    parser.add_argument(
        "-l",
        metavar="ADDR",
        dest="address",
        default="127.0.0.1",
        help="listen on this address, or on unix:PATH (default 127.0.0.1)",
    )
    parser.add_argument("-p", metavar="PORT", dest="port", type=int, default=11300)
    parser.add_argument(
        "-z",
        metavar="BYTES",
        dest="max_job_size",
        type=int,
        default=MAX_JOB_SIZE,
        help=f"largest body (default {MAX_JOB_SIZE})",
    )
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of stderr")
    parser.add_argument("-v", action="version", version=f"beanrow {__version__}")
    parser.add_argument(
        "-V", dest="verbose", action="count", default=0, help="tell where it listens"
    )
    parser.add_argument("--announce", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


def _listen(prog: str, options: argparse.Namespace) -> socket.socket:
    place = options.address
    try:
        if place.startswith("unix:"):
            return listen_unix(place.removeprefix("unix:"))
        place = str(Place(options.address, options.port))
        return listen_tcp(options.address, options.port)
    except (OSError, UnicodeError, OverflowError) as error:
        sys.exit(f"{prog}: cannot listen on {place}: {error}")


async def _serve(
    options: argparse.Namespace, listener: socket.socket, layout: Layout, log: Log
) -> None:
    store = RedisStore(options.store, layout)
    await store.open()
    try:
        gateway = Gateway(store, [listener], options.max_job_size, log)
        await gateway.check(options.accept)
        if options.with_parent:
            gateway.stop_with_parent(os.getppid())

        def tell() -> None:
            if options.verbose:
                log.tell("listening", f"listening on {where(listener)}", address=where(listener))
            if options.announce:
                sys.stdout.write(f"{where(listener)}\n")
                sys.stdout.flush()

        await gateway.run(tell)
    finally:
        await store.close()


def main(
    arguments: list[str] | None = None,
    prog: str = "python -m beanrow.cluster",
    layout: Layout = LAYOUT,
) -> int:
    """Serve until told to stop; the exit status."""
    options = _parser(prog).parse_args(arguments)
    log = Log(as_json=options.log == "json")
    listener = _listen(prog, options)
    if not is_loopback(listener):
        log.tell(
            "no-rights",
            f"WARNING: anyone who can reach {where(listener)} can read, add and delete jobs: a "
            "gateway has no access rights. Listen on loopback, or keep others out by firewall.",
            level="warning",
        )
    try:
        # A third less CPU for each command than with asyncio's own loop.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options, listener, layout, log))
    except StoreError as error:
        log.tell("store-refused", f"{prog}: {error}", level="error")
        return 1
    finally:
        listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
