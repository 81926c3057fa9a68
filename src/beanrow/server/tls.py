"""TLS: a socket that speaks it looks to a link like one that does not.

Laws:
- Plain connections pay nothing: what TLS needs is between its socket and its link.
- A handshake has 10 s, and few begin in one turn of the loop: each costs a millisecond of CPU.
- After ``recv`` nothing decrypted is left behind: no poll would ever tell of it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from beanrow.errors import BadValueError
from beanrow.server.connection import Execute
from beanrow.server.link import IN, OUT
from beanrow.server.loop import Loop

__all__ = ["Tls", "TlsFiles", "make_context"]

_PATIENCE = 10_000_000_000
_BETWEEN_LINES = 1_000_000_000

Certificate = tuple[str, ...]
"""The names in a client's certificate."""


class TlsFiles(NamedTuple):
    """The server's certificate and key, and the authority that clients must come from, if any."""

    cert: Path
    key: Path
    ca: Path | None

    def load(self, context: ssl.SSLContext) -> None:
        """Read the files; BadValueError if they cannot be used."""
        try:
            context.load_cert_chain(self.cert, self.key, _no_password)
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except OSError as error:
            files = ", ".join(str(file) for file in self if file is not None)
            raise BadValueError(f"cannot use the TLS files {files}: {error}") from None


def _no_password() -> str:
    raise BadValueError("the key is encrypted, and nobody is there to type its password")


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the settings; BadValueError if the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if files.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    files.load(context)
    return context


class Tls:
    """Admits connections that speak TLS. ``guard`` makes what stands before the engine."""

    accepts_a_turn = 4

    def __init__(
        self,
        loop: Loop,
        context: ssl.SSLContext,
        guard: Callable[[str, Certificate], Execute] | None,
    ) -> None:
        self.loop = loop
        self.context = context
        self.guard = guard
        self._told_at = 0  # the last time that a failure was told
        self._untold = 0

    def admit(self, sock: socket.socket, address: str) -> None:
        """Begin a handshake with whoever is at the other end."""
        if self.loop.refuses(sock, address, b""):
            return
        self.loop.arriving += 1
        hello = _Handshake(self, sock, address)
        self.loop.meet(hello, hello.ready)
        self.loop.call_at(self.loop.now + _PATIENCE, hello.close)

    def tell_failure(self, address: str, error: OSError) -> None:
        """Tell the log, with one line a second however many there are."""
        now = self.loop.now
        if now - self._told_at < _BETWEEN_LINES:
            self._untold += 1
            return
        reason = getattr(error, "reason", None) or error.strerror or "it ended"
        more = f" ({self._untold} more since the last such line)" if self._untold else ""
        self._told_at, self._untold = now, 0
        self.loop.log.tell(
            "tls-refused",
            f"no TLS with {address}: {reason}{more}",
            level="warning",
            address=address,
        )


class _Handshake:
    """A connection until it is known who speaks there."""

    __slots__ = ("_address", "_socket", "_tls", "fd")

    def __init__(self, tls: Tls, sock: socket.socket, address: str) -> None:
        self._tls = tls
        self._address = address
        self._socket = tls.context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self.fd = self._socket.fileno()

    def ready(self, _events: int) -> None:
        """Go on with the handshake."""
        loop = self._tls.loop
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            loop.poller.modify(self.fd, IN)
        except ssl.SSLWantWriteError:
            loop.poller.modify(self.fd, OUT)
        except OSError as error:
            self._tls.tell_failure(self._address, error)
            self.close()
        else:
            self._begin()

    def _begin(self) -> None:
        """Hand the socket over to a link, which reads at once: bytes may be there already."""
        tls, loop = self._tls, self._tls.loop
        guard = None
        if tls.guard is not None:
            guard = tls.guard(self._address, _names(self._socket))
        loop.forget(self.fd)
        self.fd = -1
        loop.arriving -= 1
        link = loop.link(self._socket, _TlsSocket(self._socket), self._address, guard)
        link.ready(IN)

    def close(self) -> None:
        """Give the connection up, unless it has gone on."""
        if self.fd < 0:
            return
        self._tls.loop.arriving -= 1
        self._tls.loop.forget(self.fd)
        self.fd = -1
        self._socket.close()


def _names(sock: ssl.SSLSocket) -> Certificate:
    """Give the names in the client's certificate: the alternative ones, then the common name."""
    certificate: dict[str, Any] = sock.getpeercert() or {}
    names = [name for _kind, name in certificate.get("subjectAltName", ())]
    for part in certificate.get("subject", ()):
        names += [value for key, value in part if key == "commonName"]
    return tuple(names)


class _TlsSocket:
    """A socket inside TLS as a link wants it: see ``link.Socket``."""

    __slots__ = ("_ended", "_socket")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._socket = sock
        self._ended = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv(self, size: int, /) -> bytes:
        """Give all that is decrypted; somewhat more than ``size`` if a record ends there."""
        if self._ended:
            return b""
        pieces: list[bytes] = []
        left = size
        try:
            while left > 0 or self._socket.pending():
                data = self._socket.recv(max(left, self._socket.pending()))
                if not data:
                    self._end()
                    break
                pieces.append(data)
                left -= len(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not pieces:
                raise BlockingIOError from None
        return b"".join(pieces)

    def _end(self) -> None:
        """Make the end of TLS one of the socket too: no poll tells of one inside TLS."""
        self._ended = True
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RD)  # not that of TLS
        except OSError:
            pass  # it has ended as well

    def send(self, data: bytes | memoryview, /) -> int:
        """Encrypt and send as much as can be; TLS takes a record, 16 KiB, at a time."""
        sent = 0
        view = memoryview(data)
        try:
            while sent < len(view):
                sent += self._socket.send(view[sent:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            if not sent:
                raise BlockingIOError from None
        return sent

    def close(self) -> None:
        """Say farewell, as TLS wants it, without waiting for an answer."""
        try:
            self._socket.unwrap()
        except (OSError, ValueError):
            pass  # the answer would come later; or there is nobody to say farewell to
        self._socket.close()
