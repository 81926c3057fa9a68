"""The client's half of ``auth``: it is no command of a program but of a connection's beginning.

Law: a token is in no error, no log and no ``repr``.
"""

from __future__ import annotations

import re

from beanrow.errors import BadReplyError, BadValueError, ForbiddenError, UnknownCommandError
from beanrow.protocol import replies

__all__ = ["auth_request", "check_auth"]

_TOKEN = re.compile(r"[!-~]{1,200}")
_SHOWN = "auth ..."


def auth_request(token: str) -> bytes:
    """Write the request; BadValueError unless it is 1 to 200 visible ASCII characters."""
    if not _TOKEN.fullmatch(token):
        raise BadValueError("a token is 1 to 200 visible ASCII characters, without blanks")
    return b"auth %b\r\n" % token.encode()


def check_auth(reply: bytes) -> None:
    """Take the server's reply; ForbiddenError or UnknownCommandError if it is a refusal."""
    if reply == replies.AUTHENTICATED:
        return
    if reply == replies.FORBIDDEN:
        raise ForbiddenError(_SHOWN, "the server does not know this client's token")
    if reply == replies.UNKNOWN_COMMAND:
        raise UnknownCommandError(
            _SHOWN, "the server has no rights, so the address of this client must have no token"
        )
    raise BadReplyError(_SHOWN, reply)
