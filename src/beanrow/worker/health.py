"""Health of a worker over HTTP: one small answer, for probes and for people.

``GET`` anything: 200 while the server answers, 503 when it has not for ``QUIET`` seconds or the
worker is stopping, with a JSON object: ``slots``, ``busy``, ``last_answer`` (seconds ago),
``done``, ``failed``, ``lost``, ``stopping``. A slot that waits is answered once a minute.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from beanrow.errors import BadValueError

__all__ = ["Health", "Served", "serve_health"]

QUIET = 90.0
"""Seconds: a waiting reserve lasts a minute, and its answer may take the timeout on top."""
_PATIENCE = 2.0


class Health(NamedTuple):
    """How a worker is; ``last_answer`` is how many seconds ago the server said anything."""

    slots: int
    busy: int
    last_answer: float
    done: int
    failed: int
    lost: int
    stopping: bool

    @property
    def is_well(self) -> bool:
        """Whether it takes jobs and the server answers."""
        return not self.stopping and self.last_answer < QUIET


class Served:
    """The endpoint, while it is served; ``address`` is where."""

    def __init__(self, listener: socket.socket, look: Callable[[], Health]) -> None:
        self._listener = listener
        self._look = look
        host, port = listener.getsockname()[:2]
        self.address: str = f"{host}:{port}"
        threading.Thread(target=self._serve, name="beanrow-health", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return  # closed
            with caller:
                try:
                    caller.settimeout(_PATIENCE)
                    caller.recv(4096)  # whatever it asks, this is the answer
                    caller.sendall(_answer(self._look()))
                    caller.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the caller is gone, or too slow

    def close(self) -> None:
        """Serve no more."""
        # Closing alone would leave the thread waiting in accept.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not every system lets a listener be shut down
        self._listener.close()


def _answer(health: Health) -> bytes:
    told = health._asdict()
    told["last_answer"] = round(health.last_answer, 3)
    body = json.dumps(told).encode() + b"\n"
    status = b"200 OK" if health.is_well else b"503 Service Unavailable"
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        status, len(body), body,
    )  # fmt: skip


def serve_health(place: str, look: Callable[[], Health]) -> Served:
    """Serve at ``host:port``; BadValueError if that cannot be read or is taken."""
    host, _, port = place.rpartition(":")
    try:
        listener = socket.create_server((host or "127.0.0.1", int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise BadValueError(f"cannot serve health at {place!r}: {error}") from error
    return Served(listener, look)
