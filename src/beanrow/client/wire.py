"""Connected sockets, plain and TLS, as a conversation needs them: every wait has an end.

Laws:
- A plain socket stays blocking, and the kernel ends its waits (SO_RCVTIMEO, SO_SNDTIMEO).
  Python's own timeout would poll before each call, a tenth of the whole round trip; only
  TLS needs it, where one read may be several of the socket's.
- A wait that ended without anything raises BlockingIOError or TimeoutError.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beanrow.client.address import Address
from beanrow.errors import BadValueError, ConnectFailedError
from beanrow.protocol.authentication import auth_request, check_auth

if TYPE_CHECKING:
    import ssl

__all__ = ["Wire", "connect_failed", "introduction", "open_wire", "prepare", "tls_context"]

_MOST_ANSWER = 64
"""Bytes of an answer to ``auth``; the server says nothing else before it is asked."""
_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
"""How to see what came in without taking it and without waiting."""


class Wire:
    """A plain socket: TCP or Unix."""

    __slots__ = ("_sock", "recv", "send")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.send: Callable[..., int] = sock.send
        self.recv: Callable[..., bytes] = sock.recv

    def wake_after(self, seconds: float) -> None:
        """Have a send or recv that waits end after so many seconds (from 0.001)."""
        timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def is_quiet(self) -> bool:
        """Tell, without waiting, that nothing came in: neither bytes nor an end."""
        try:
            self._sock.recv(1, _LOOK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def fileno(self) -> int:
        """The descriptor, to wait for."""
        return self._sock.fileno()

    def wake_from(self, count: int) -> None:
        """Have a recv that waits end when so many bytes are there, or the end, or its time."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def make_nonblocking(self) -> None:
        """Have no send or recv wait: BlockingIOError instead; for a loop of one's own."""
        self._sock.setblocking(False)

    def half_close(self) -> None:
        """Say that nothing more will be said: a waiting ``reserve`` is then answered at once."""
        try:
            # Not the method of a TLS socket, which would go on without TLS.
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
        except OSError:
            pass  # it has ended already

    def interrupt(self) -> None:
        """End the connection under whoever waits in a send or recv, in another thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def close(self) -> None:
        """Close the socket; other processes' copies of it go on."""
        self._sock.close()


class _TlsWire(Wire):
    """A socket inside TLS."""

    __slots__ = ()

    def wake_after(self, seconds: float) -> None:
        self._sock.settimeout(seconds)

    def wake_from(self, count: int) -> None:
        pass  # bytes of TLS are not those of the conversation

    def is_quiet(self) -> bool:
        before = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            # Whatever comes ends the connection, so that a byte taken away is no loss.
            self._sock.recv(1)
        except OSError as error:
            import ssl

            return isinstance(error, ssl.SSLWantReadError)
        finally:
            self._sock.settimeout(before)
        return False


def open_wire(address: Address, timeout: float, tls: ssl.SSLContext | None) -> Wire:
    """Connect to a server within ``timeout`` seconds; ConnectFailedError if that fails.

    ``tls`` is what ``tls_context`` gives for this address. A server that does not know the
    token of the address raises ForbiddenError.
    """
    end = time.monotonic() + timeout
    try:
        sock = _connected(address, end)
        try:
            if tls is not None:
                sock.settimeout(_left(end))
                sock = tls.wrap_socket(sock, server_hostname=address.host)
            if address.token:
                _introduce(sock, address, end)
            if tls is not None:
                return _TlsWire(sock)
            sock.settimeout(None)
            return Wire(sock)
        except BaseException:
            sock.close()
            raise
    except TimeoutError as error:
        advice = "; does it speak TLS there?" if address.tls else ""
        raise ConnectFailedError(
            f"{address} did not answer within {timeout:g} s{advice}"
        ) from error
    except (OSError, UnicodeError) as error:
        raise connect_failed(address, error) from error


def introduction(address: Address) -> bytes:
    """Write the request that tells who this client is, by the token that is in its file now.

    BadValueError if there is none.
    """
    try:
        with open(address.token, encoding="ascii") as file:
            return auth_request(file.read().strip())
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise BadValueError(f"cannot use the token in {address.token}: {problem}") from None


def _introduce(sock: socket.socket, address: Address, end: float) -> None:
    """Say it, and wait for the answer: nothing else is said before."""
    request = introduction(address)
    sock.settimeout(_left(end))
    sock.sendall(request)
    reply = b""
    while not reply.endswith(b"\n"):
        sock.settimeout(_left(end))
        data = sock.recv(_MOST_ANSWER - len(reply))
        if not data:
            raise ConnectionError("the server ended the connection at the token")
        reply += data
    check_auth(request, reply)


def connect_failed(address: Address, error: Exception) -> ConnectFailedError:
    """Say to a person why a connection could not be made."""
    advice = "is a server running there?"
    if address.tls:
        import ssl

        if isinstance(error, ssl.SSLCertVerificationError):
            advice = "the address may name the authority that vouches for it: ?ca=FILE"
        elif isinstance(error, ssl.SSLError):
            advice = "does it speak TLS there, and does it know this client's certificate?"
    return ConnectFailedError(f"cannot connect to {address}: {error}; {advice}")


def _connected(address: Address, end: float) -> socket.socket:
    """Try each address of the host until one answers; all of them have until ``end``."""
    if address.path:
        return _dial(socket.AF_UNIX, address.path, end)
    problem: OSError | None = None
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, _, _, _, place in found:
        try:
            return _dial(family, place, end)
        except OSError as error:
            problem = problem or error
    raise problem or OSError("the name has no address")


def _dial(family: int, place: Any, end: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(_left(end))
        sock.connect(place)
        prepare(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time left")
    return left


def prepare(sock: socket.socket) -> None:
    """Set what every connection has: no delay of small writes, and a look after dead peers."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def tls_context(address: Address, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Give the TLS settings for this address, made once a client; None if it is a plain one.

    BadValueError if the files of the address cannot be read, or if settings were given
    for an address without TLS or beside its files.
    """
    if not address.tls:
        if given is not None:
            raise BadValueError(f"tls is given, and {address} is not a beanstalks:// address")
        return None
    if given is not None:
        if address.ca or address.cert:
            raise BadValueError(f"tls is given, and so are files in the address of {address}")
        return given
    import ssl

    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        if address.cert:
            context.load_cert_chain(address.cert, address.key or None, _no_password)
    except OSError as error:
        files = ", ".join(filter(None, (address.ca, address.cert, address.key)))
        raise BadValueError(f"cannot use the TLS files {files}: {error}") from error
    return context


def _no_password() -> str:
    raise BadValueError(
        "the key is encrypted: load it into an ssl.SSLContext, and give that as tls"
    )
