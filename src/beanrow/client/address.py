"""Where a server is: what people write as an address, and what a socket needs of it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from beanrow.errors import BadTypeError, BadValueError

__all__ = ["DEFAULT_PORT", "Address", "read_address"]

DEFAULT_PORT = 11300
_SCHEME = "beanstalk://"
_FORMS = "allowed are host:port, host, :port, [::1]:port, beanstalk://host:port, unix:/path and embedded:"
_TCP = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:/@?#\[\]]*))(?::(?P<port>[0-9]+))?"
)


class Address(NamedTuple):
    """Either ``host`` and ``port``, or the ``path`` of a Unix socket, or ``embedded``.

    ``embedded`` is a server that does not run yet: the client starts one of its own.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    embedded: bool = False

    def __str__(self) -> str:
        if self.embedded:
            return "embedded:"
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(text: str | None = None) -> Address:
    """Read an address as people write it.

    ``host:port``, ``host`` (port 11300), ``:port`` (localhost), ``[::1]:port``, each
    also with ``beanstalk://`` before it; ``unix:/path`` or ``unix:///path``;
    ``embedded:``. None stands for the environment's BEANSTALKD_URL, and without it for
    ``localhost:11300``. BadValueError for anything else.
    """
    if text is None:
        text = os.environ.get("BEANSTALKD_URL") or "localhost"
    if not isinstance(text, str):
        raise BadTypeError(f"an address is a str, not {type(text).__name__}: {text!r}; {_FORMS}")
    if text == "embedded:":
        return Address(embedded=True)
    if text.startswith("unix:"):
        return _unix_address(text)
    return _tcp_address(text)


def _unix_address(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = path.removeprefix("//")
        if not path.startswith("/"):
            path = ""
    if not path or "\0" in path:
        raise BadValueError(f"address {text!r} has no path of a socket; {_FORMS}")
    return Address(path=path)


def _tcp_address(text: str) -> Address:
    rest = text
    if text.startswith(_SCHEME):
        rest = text.removeprefix(_SCHEME).removesuffix("/")
    match = _TCP.fullmatch(rest)
    if match is None or not rest:
        raise BadValueError(f"cannot read the address {text!r}; {_FORMS}")
    port = int(match["port"] or DEFAULT_PORT)
    if not 1 <= port <= 65535:
        raise BadValueError(f"address {text!r}: port {port} is not in 1..65535")
    return Address(host=match["ipv6"] or match["host"] or "localhost", port=port)
