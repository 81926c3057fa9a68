"""Where the store is: ``redis://`` names one node, ``redis-cluster://`` some nodes of a cluster.

``rediss://`` and ``rediss-cluster://`` are the same inside TLS.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from beanrow.errors import BadValueError

__all__ = ["Place", "StoreAddress", "read_store_address"]

_PORT = 6379
_SCHEMES = {
    "redis": (False, False),
    "redis-cluster": (True, False),
    "rediss": (False, True),
    "rediss-cluster": (True, True),
}
"""Whether it is a cluster, and whether it is spoken to inside TLS."""
_FORMS = "redis://HOST[:PORT][?ack=0|1] or redis-cluster://HOST[:PORT],HOST[:PORT]...[?ack=0|1]"


class Place(NamedTuple):
    """A node: its host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class StoreAddress(NamedTuple):
    """``seeds`` are nodes to ask first; ``ack`` is how many replicas have what is acknowledged."""

    seeds: tuple[Place, ...]
    is_cluster: bool
    ack: int
    user: str | None = None
    password: str | None = None
    tls: bool = False

    def __str__(self) -> str:
        """Write it for people: without the password."""
        scheme = ("rediss" if self.tls else "redis") + ("-cluster" if self.is_cluster else "")
        return f"{scheme}://{','.join(map(str, self.seeds))}?ack={self.ack}"


def read_store_address(text: str) -> StoreAddress:
    """Read the address of a store; BadValueError tells what is wrong with it."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise BadValueError(f"store {_shown(text)!r} is not {_FORMS}")
    authority, _, query = rest.partition("?")
    authority = authority.rstrip("/")
    user = password = None
    if "@" in authority:
        names, _, authority = authority.rpartition("@")
        user_part, _, password_part = names.partition(":")
        user, password = unquote(user_part) or None, unquote(password_part)
    try:
        seeds = tuple(_place(one) for one in authority.split(","))
    except ValueError as error:
        raise BadValueError(f"store {_shown(text)!r}: {error}") from None
    is_cluster, tls = _SCHEMES[scheme]
    if not is_cluster and len(seeds) > 1:
        raise BadValueError(f"store {_shown(text)!r}: redis:// is one node; see redis-cluster://")
    return StoreAddress(seeds, is_cluster, _ack(text, query), user, password, tls)


def _place(text: str) -> Place:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError(f"{text!r} is not HOST[:PORT]")
    return Place(parts.hostname, parts.port or _PORT)


def _ack(text: str, query: str) -> int:
    options = parse_qs(query, keep_blank_values=True)
    values = options.pop("ack", ["0"])
    if options:
        raise BadValueError(
            f"store {_shown(text)!r}: unknown option {min(options)!r}; there is ack"
        )
    if values not in (["0"], ["1"]):
        raise BadValueError(f"store {_shown(text)!r}: ack is 0 or 1")
    return int(values[0])


def _shown(text: str) -> str:
    """Hide what stands before an @."""
    scheme, separator, rest = text.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else text
