"""Health and metrics over HTTP, answered by the server's own loop.

Laws:
- Health only reads: GET of a few paths, and nothing of a request is carried out.
- The queue goes first: an answer is made and sent a share at a time, between the turns of
  the loop, so ten thousand tubes make no pause; a few scrapers are served at once, not more.
- Whoever has not asked and taken the answer within 10 s is closed.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator

from beanrow.server.link import IN, OUT
from beanrow.server.loop import Loop

__all__ = ["JSON", "Health", "Http", "whole"]

_MOST_PEERS = 16
_MOST_HEAD = 8192
"""Bytes of a request; those of a probe have a few hundred."""
_PATIENCE = 10_000_000_000
_REQUEST_LINE = re.compile(rb"([A-Z]+) ([^ ?]*)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")
_TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Http:
    """Speaks HTTP on a listener of ``loop``.

    ``answer`` takes the head of a request, its lines and the empty one, and gives the answer in
    shares.
    """

    def __init__(self, loop: Loop, answer: Callable[[bytes], Iterator[bytes]]) -> None:
        self.loop = loop
        self.answer: Callable[[bytes], Iterator[bytes]] = answer
        self.peers: int = 0

    def admit(self, sock: socket.socket, _address: str) -> None:
        """Begin to listen to whoever is at the other end."""
        if self.peers >= _MOST_PEERS:
            sock.close()
            return
        peer = _Peer(self, sock)
        self.peers += 1
        self.loop.meet(peer, peer.ready)
        self.loop.call_at(self.loop.now + _PATIENCE, peer.close)


class Health:
    """Answers how the server of ``loop`` is; ``metrics`` gives the text for Prometheus in shares."""

    def __init__(self, loop: Loop, metrics: Callable[[], Iterator[bytes]]) -> None:
        self._loop = loop
        self._metrics = metrics

    def answer(self, head: bytes) -> Iterator[bytes]:
        """Give the answer to a request in shares."""
        match = _REQUEST_LINE.match(head)
        if match is None:
            return whole(400, "Bad Request", "this is no HTTP request")
        if match[1] != b"GET":
            return whole(405, "Method Not Allowed", "only GET")
        draining = self._loop.engine.draining
        match match[2]:
            case b"/live":
                return whole(200, "OK", "live")
            case b"/ready" if draining:
                return whole(503, "Service Unavailable", "draining")
            case b"/ready":
                return whole(200, "OK", "ready")
            case b"/health":
                state = {"live": True, "ready": not draining, "draining": draining}
                return whole(200, "OK", json.dumps(state), JSON)
            case b"/metrics":
                return self._stream_metrics()
        return whole(404, "Not Found", "there are /live, /ready, /health and /metrics")

    def _stream_metrics(self) -> Iterator[bytes]:
        yield _head(200, "OK", _METRICS)
        yield from self._metrics()


def _head(status: int, reason: str, kind: str) -> bytes:
    """Write a head; the answer ends with the connection, so no length is told."""
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode()


def whole(status: int, reason: str, text: str, kind: str = _TEXT) -> Iterator[bytes]:
    """Give an answer that is one share."""
    yield _head(status, reason, kind) + text.encode() + b"\n"


class _Peer:
    """One request and its answer."""

    __slots__ = ("_answer", "_ended", "_head", "_http", "_socket", "_unsent", "fd")

    def __init__(self, http: Http, sock: socket.socket) -> None:
        self._http = http
        self._socket = sock
        self.fd = sock.fileno()
        self._head = b""
        self._answer: Iterator[bytes] | None = None
        self._unsent = b""
        self._ended = False  # whether all has been said: what still comes is thrown away

    def ready(self, events: int) -> None:
        """Read on until the request is whole, or send on."""
        if self._answer is not None:
            self.advance()
            return
        try:
            data = self._socket.recv(_MOST_HEAD)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._ended:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _MOST_HEAD:
            self._answer = self._http.answer(self._head)
            self._http.loop.poller.modify(self.fd, OUT)  # and the rest of what it says unread

    def advance(self) -> None:
        """Send one share of the answer; the next when the socket takes more."""
        if self.fd < 0 or self._answer is None:
            return
        data = self._unsent or next(self._answer, b"")
        if not data:
            self._end()
            return
        try:
            self._unsent = data[self._socket.send(data) :]
        except (BlockingIOError, InterruptedError):
            self._unsent = data
        except OSError:
            self.close()

    def _end(self) -> None:
        """Say that this was all, and wait for the other side: a close might discard what it reads."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._answer = None
        self._ended = True
        self._http.loop.poller.modify(self.fd, IN)

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self.fd < 0:
            return
        self._http.loop.forget(self.fd)
        self._http.peers -= 1
        self.fd = -1
        self._socket.close()
