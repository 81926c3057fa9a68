"""A connection to a server, on a bare socket: what is said, and what is heard line by line.

Law: it understands no more than CR LF and the size of an ``OK`` reply.
"""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

__all__ = ["CLOSED", "NOTHING", "Place", "Talk", "Unheard"]

CLOSED = "closed"
NOTHING = "nothing"
_PIECE = 65536


class Place(NamedTuple):
    """Where a server is: host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Unheard(Exception):  # no error of a program: an answer of its own kind
    """Nothing came where something was to be heard, or the end; ``kind`` says which.

    ``heard`` is what had come of it.
    """

    def __init__(self, kind: str, heard: bytes = b"") -> None:
        super().__init__(kind)
        self.kind = kind
        self.heard = heard


class Talk:
    """One connection; nothing is waited for longer than ``patience`` seconds."""

    def __init__(self, place: Place, patience: float) -> None:
        if place.path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(place.path)
        else:
            self._socket = socket.create_connection((place.host, place.port), patience)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._patience = patience
        self._socket.settimeout(patience)
        self._unread = b""
        self.spoke: float = time.monotonic()  # when something was last said

    def say(self, data: bytes) -> None:
        """Say this in one write; whoever has closed is found out by listening."""
        try:
            self._socket.sendall(data)
        except OSError:
            pass
        self.spoke = time.monotonic()

    def line(self, more: float = 0.0) -> bytes:
        """Give the next line without its CR LF; ``more`` seconds are waited on top."""
        while b"\r\n" not in self._unread:
            self._hear(more)
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def exactly(self, size: int) -> bytes:
        """Give so many bytes."""
        while len(self._unread) < size:
            self._hear(0.0)
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def _hear(self, more: float) -> None:
        self._socket.settimeout(self._patience + more)
        try:
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            raise Unheard(NOTHING, self._unread) from None
        except OSError:
            data = b""
        if not data:
            raise Unheard(CLOSED, self._unread)
        self._unread += data

    def half_close(self) -> None:
        """Say that nothing more will be said."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is closed already, which listening will show

    def close(self) -> None:
        """Leave."""
        self._socket.close()
