"""The client's half of ``auth``: it is no command of a program but of a connection's beginning.

Law: a token is in no error, no log and no ``repr``.
"""

from __future__ import annotations

import re

from beanrow.errors import (
    ERROR_WORDS,
    BadReplyError,
    BadValueError,
    CommandError,
    ForbiddenError,
    UnknownCommandError,
)
from beanrow.protocol import replies

__all__ = ["auth_request", "check_auth"]

_TOKEN = re.compile(r"[!-~]{1,200}")
_SHOWN = "auth ..."
_ADVICE: dict[type[CommandError], str] = {
    ForbiddenError: "the server does not know this client's token",
    UnknownCommandError: "this server knows no tokens: take ?token= out of the address, "
    "or start the server with --rights",
}


def auth_request(token: str) -> bytes:
    """Write the request; BadValueError unless it is 1 to 200 visible ASCII characters."""
    if not _TOKEN.fullmatch(token):
        raise BadValueError("a token is 1 to 200 visible ASCII characters, without blanks")
    return b"auth %b\r\n" % token.encode()


def check_auth(_request: bytes, reply: bytes) -> None:
    """Take the whole reply to it; the error of its word if it is a refusal.

    ForbiddenError if the token is not known, UnknownCommandError if the server knows nobody.
    """
    if reply == replies.AUTHENTICATED:
        return
    error = ERROR_WORDS.get(reply.removesuffix(b"\r\n"))
    if error is None:
        raise BadReplyError(_SHOWN, reply)
    raise error(_SHOWN, _ADVICE.get(error, ""))
