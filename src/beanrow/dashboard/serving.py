"""The process: the application on a socket, until it is told to stop.

Laws:
- Without rights it is reached from this machine only.
- SIGTERM ends live pages at once and lets other answers finish; SIGHUP reads the rights anew.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import uvicorn

from beanrow.dashboard.app import Desk, Settings, make_app
from beanrow.errors import BadValueError
from beanrow.server.listeners import Place, is_loopback, listen_tcp, where
from beanrow.server.log import Log

__all__ = ["Certificate", "LiveServer", "serve"]

_SECONDS_TO_END = 5


class Certificate(NamedTuple):
    """The files of TLS; without a ``key`` it is in the certificate's file."""

    cert: Path
    key: Path | None = None


class LiveServer(uvicorn.Server):
    """Ends live pages first: they would go on for ever."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second time without waiting for anybody.

        Unlike its parent's this does not raise the signal again at the end: to be told to stop and
        to have stopped is no failure.
        """
        self._desk.closing.set()
        self.force_exit: bool = self.should_exit
        self.should_exit = True


def serve(settings: Settings, listen: Place, certificate: Certificate | None = None) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C.

    BadValueError if a file is wrong, or if others than this machine could come without rights;
    OSError if the place cannot be had.
    """
    log = Log()
    with listen_tcp(listen.host, listen.port) as listener:
        if settings.rights is None and not is_loopback(listener):
            raise BadValueError(
                f"{listen} can be reached from other machines: say with --rights who may do what, "
                "or listen on 127.0.0.1"
            )
        desk = Desk(settings, log)
        config = uvicorn.Config(
            make_app(desk),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=_SECONDS_TO_END,
            ssl_certfile=certificate.cert if certificate else None,
            ssl_keyfile=certificate.key if certificate else None,
        )
        try:
            config.load()
        except OSError as error:  # an ssl.SSLError is one
            raise BadValueError(
                f"cannot use {certificate and certificate.cert}: {error.strerror or error}"
            ) from error
        scheme = "https" if certificate else "http"
        sys.stdout.write(f"{scheme}://{where(listener)}/\n")
        sys.stdout.flush()
        asyncio.run(_serve(LiveServer(config, desk), desk, listener))


async def _serve(server: LiveServer, desk: Desk, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, desk.reload)
    await server.serve(sockets=[listener])
