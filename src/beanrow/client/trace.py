"""The wire trace: each request and each reply as a line of the log, bodies cut short.

Imported only by a client that was asked to trace: ``logging`` costs a program that
does not use it 8 ms of its start.
"""

from __future__ import annotations

import logging

__all__ = ["LOGGER", "Trace"]

LOGGER = logging.getLogger("beanrow.wire")
_MOST_BODY = 60


class Trace:
    """Writes what one connection says and hears to the logger ``beanrow.wire``, at DEBUG."""

    __slots__ = ("_peer",)

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def said(self, request: bytes) -> None:
        """Log a request."""
        LOGGER.debug("%s > %s", self._peer, _shown(request))

    def heard(self, reply: bytes) -> None:
        """Log a reply."""
        LOGGER.debug("%s < %s", self._peer, _shown(reply))


def _shown(message: bytes) -> str:
    for word in ("auth", "resume", "SESSION"):
        if message.startswith(word.encode() + b" "):
            return f"{word} ..."  # a token is a secret
    end = message.find(b"\r\n")
    line = message[:end].decode("ascii", "backslashreplace")
    size = len(message) - end - 4
    if size < 0:
        return line
    body = message[end + 2 : end + 2 + min(size, _MOST_BODY)]
    return f"{line} {body!r}" + (f"... ({size} bytes)" if size > _MOST_BODY else "")
