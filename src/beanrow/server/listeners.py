"""The sockets that a server listens on: those it opens and those that systemd hands over."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from typing import NamedTuple

__all__ = ["Place", "is_loopback", "listen_tcp", "listen_unix", "read_place", "where"]

_BACKLOG = 1024
_PLACE = re.compile(r"(?:(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^\s:\[\]]+)):)?(?P<port>[0-9]{1,5})")


class Place(NamedTuple):
    """Where to listen: a host or an address of this machine, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_place(text: str) -> Place:
    """Read ``PORT`` (on 127.0.0.1), ``HOST:PORT`` or ``[IPV6]:PORT``; ValueError otherwise."""
    match = _PLACE.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not [ADDR:]PORT")
    return Place(match["ipv6"] or match["host"] or "127.0.0.1", int(match["port"]))


def listen_tcp(host: str, port: int) -> socket.socket:
    """Bind a TCP listener; port 0 takes any free one. OSError if it cannot be had."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: str) -> socket.socket:
    """Bind a Unix listener; the file of a server that is gone is replaced.

    OSError if the path is taken by something else, or by a server that answers.
    """
    if not path:  # which would be an address of Linux's own choice
        raise OSError(errno.EINVAL, "the path is empty")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead_socket(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_dead_socket(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def where(listener: socket.socket) -> str:
    """Tell where a socket listens, as people write it."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return str(Place(host, port))


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only this machine can reach it."""
    if listener.family == socket.AF_UNIX:
        return True
    host = str(listener.getsockname()[0])
    return host == "::1" or host.startswith("127.")
