"""What a connection of a worker tells the server of itself, where the server shows it to people.

Law: a server that does not know the word is asked for it once, in a line of its own without a body,
and told nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

from beanrow.protocol.capabilities import CLIENT_NAME
from beanrow.protocol.commands import Command
from beanrow.protocol.extensions import capabilities, client_name

__all__ = ["introduction"]

_MOST_HOST = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9+/;.$_()-]|^-")


def introduction() -> Generator[list[Command[Any]], list[Any], None]:
    """Tell the name ``host/pid``, which all connections of a process share."""
    (words,) = yield [capabilities(CLIENT_NAME)]
    if isinstance(words, frozenset) and CLIENT_NAME in words:
        yield [client_name(_own_name())]


def _own_name() -> str:
    host = _NOT_IN_NAMES.sub("_", os.uname().nodename[:_MOST_HOST])
    return f"{host}/{os.getpid()}"
