"""Where a server is: what people write as an address, and what a socket needs of it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from beanrow.errors import BadTypeError, BadValueError

__all__ = ["DEFAULT_PORT", "Address", "read_address"]

DEFAULT_PORT = 11300
_PLAIN = "beanstalk://"
_TLS = "beanstalks://"
_FORMS = (
    "allowed are host:port, host, :port, [::1]:port, beanstalk://host:port, "
    "beanstalks://host:port?ca=FILE&cert=FILE&key=FILE (TLS), either with ?token=FILE, "
    "unix:/path and embedded:"
)
_TCP = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:/@?#\[\]]*))(?::(?P<port>[0-9]+))?"
)
_TLS_FILES = ("ca", "cert", "key", "token")
_PLAIN_FILES = ("token",)


class Address(NamedTuple):
    """Either ``host`` and ``port``, or the ``path`` of a Unix socket, or ``embedded``.

    ``embedded`` is a server that does not run yet: the client starts one of its own.
    With ``tls`` the connection is encrypted: ``ca`` is a file of the authorities that
    may vouch for the server (empty: those of the system), ``cert`` and ``key`` are files
    of the client's own certificate and its key (``key`` empty: it is in ``cert``).
    ``token`` is a file with the token that the server knows this client by.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    embedded: bool = False
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    token: str = ""

    def __str__(self) -> str:
        if self.embedded:
            return "embedded:"
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_TLS if self.tls else ''}{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address whole, with its files: what ``read_address`` reads back."""
        files = {name: getattr(self, name) for name in _TLS_FILES if getattr(self, name)}
        if not files:
            return str(self)
        from urllib.parse import quote, urlencode

        scheme = "" if self.tls else _PLAIN
        return f"{scheme}{self}?{urlencode(files, quote_via=quote)}"


def read_address(text: str | None = None) -> Address:
    """Read an address as people write it.

    ``host:port``, ``host`` (port 11300), ``:port`` (localhost), ``[::1]:port``, each
    also with ``beanstalk://`` before it, or ``beanstalks://`` for TLS with the files of
    ``Address`` behind a ``?`` (their names as in any URL: a blank is ``%20``), ``token``
    in either form. A token itself is never part of an address: addresses are seen in
    process lists, logs and errors.
    ``unix:/path`` or ``unix:///path``; ``embedded:``. None stands for the environment's
    BEANSTALKD_URL, and without it for ``localhost:11300``. BadValueError for anything else.
    """
    if text is None:
        text = os.environ.get("BEANSTALKD_URL") or "localhost"
    if not isinstance(text, str):
        raise BadTypeError(f"an address is a str, not {type(text).__name__}: {text!r}; {_FORMS}")
    if text == "embedded:":
        return Address(embedded=True)
    if text.startswith("unix:"):
        return _unix_address(text)
    if text.startswith(_TLS):
        return _url_address(text, _TLS, _TLS_FILES)
    if text.startswith(_PLAIN):
        return _url_address(text, _PLAIN, _PLAIN_FILES)
    return _tcp_address(text, text)


def _unix_address(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = path.removeprefix("//")
        if not path.startswith("/"):
            path = ""
    if not path or "\0" in path:
        raise BadValueError(f"address {text!r} has no path of a socket; {_FORMS}")
    return Address(path=path)


def _url_address(text: str, scheme: str, known: tuple[str, ...]) -> Address:
    from urllib.parse import parse_qsl

    place, _, query = text.removeprefix(scheme).partition("?")
    files: dict[str, str] = {}
    try:
        for name, file in parse_qsl(query, strict_parsing=True) if query else ():
            if name not in known or name in files:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}, each once")
            files[name] = file
        if "key" in files and "cert" not in files:
            raise ValueError("key without the cert that it belongs to")
    except ValueError as error:
        raise BadValueError(f"cannot read the address {text!r}: {error}; {_FORMS}") from None
    at = _tcp_address(text, place.removesuffix("/"))
    return Address(at.host, at.port, tls=scheme == _TLS, **files)  # type: ignore[arg-type]  # all str


def _tcp_address(text: str, place: str) -> Address:
    match = _TCP.fullmatch(place)
    if match is None or not place:
        raise BadValueError(f"cannot read the address {text!r}; {_FORMS}")
    port = int(match["port"] or DEFAULT_PORT)
    if not 1 <= port <= 65535:
        raise BadValueError(f"address {text!r}: port {port} is not in 1..65535")
    return Address(host=match["ipv6"] or match["host"] or "localhost", port=port)
