"""A server that says what a script tells it: for replies that no real daemon can be made to give.

Law: a script is what must be heard and what is said to it, in turn; whatever else is heard fails
the test at the end of the `with` block. So an empty script proves that not a byte was sent.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Self

Act = Callable[[socket.socket], None]
Script = Sequence[tuple[bytes, bytes | Act]]

ANY_STATS = (b"stats\r\n", b"OK 4\r\n---\n\r\n")
"""What a client asks before its first put, answered by a server that tells no limit."""


def cut(peer: socket.socket) -> None:
    """Close as an ended process does."""
    peer.shutdown(socket.SHUT_RDWR)


def reset(peer: socket.socket) -> None:
    """Close as a host does that knows nothing of the connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def drip(data: bytes, seconds: float, stop: threading.Event) -> Act:
    """Say the data byte by byte, with a pause after each, until the client has had enough."""

    def say(peer: socket.socket) -> None:
        for byte in data:
            try:
                peer.sendall(bytes([byte]))
            except OSError:
                return
            if stop.wait(seconds):
                return

    return say


class ScriptedServer:
    """Serves one connection after the other, each by its script, on a free loopback port.

    At the end of a script the connection is kept open until the client closes it.
    """

    def __init__(self, *scripts: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.faults: list[str] = []
        self._peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self._thread.start()

    def _serve(self, scripts: Sequence[Script]) -> None:
        for script in scripts:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                self.faults.append(f"nobody came to hear {script!r}")
                return
            with peer:
                self._converse(peer, script)

    def _converse(self, peer: socket.socket, script: Script) -> None:
        try:
            for expected, said in script:
                heard = b""
                while len(heard) < len(expected) and (
                    data := peer.recv(len(expected) - len(heard))
                ):
                    heard += data
                if heard != expected:
                    self.faults.append(f"expected {expected!r}, heard {heard!r}")
                    return
                if isinstance(said, bytes):
                    peer.sendall(said)
                else:
                    said(peer)
        except OSError as error:
            self.faults.append(f"{error!r} in {script!r}")
            return
        with contextlib.suppress(ConnectionResetError):  # from a client that has read not all
            if peer.fileno() >= 0 and (more := peer.recv(65536)):
                self.faults.append(f"heard more: {more!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join(0.0 if kind else 5.0)
        self._listener.close()
        if kind is None:
            assert not self._thread.is_alive(), "the client did not close, or did not come"
            assert self.faults == [], self.faults
