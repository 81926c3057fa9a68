"""Unique jobs: the extension ``put-unique``, asked for before it is used.

The seam for servers that have it. The daemon has no such command, and nothing that a client
alone could do would hold between two producers, so there it is refused and nothing is put.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from beanrow.errors import UnknownCommandError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_put
from beanrow.protocol.stats import read_list
from beanrow.protocol.values import seconds

if TYPE_CHECKING:
    from beanrow.client.sync import Client
    from beanrow.worker.task import Terms

__all__ = ["put_unique"]

_EXISTS = re.compile(rb"EXISTS ([0-9]+)\r\n")


def put_unique(client: Client, body: bytes, terms: Terms, key: str, lifetime: int) -> int:
    """Put a job unless one with this key lives in its tube; gives the id of the one that does."""
    with client.pipeline() as asked:
        # A word without a body: a server that does not know it answers once, and cleanly.
        words = asked.add(Command(b"capabilities put-unique\r\n", _read_words))
    if words.error is not None and not isinstance(words.error, UnknownCommandError):
        raise words.error
    if words.error is not None or "put-unique" not in words.result():
        raise UnknownCommandError(
            "put-unique",
            f"this server keeps no unique jobs, and job {key!r} was not put; "
            "put it without unique=, or use a server that has the extension",
        )
    line = b"put-unique %b %d %d %d %d %d\r\n" % (
        key.encode(), lifetime, terms.priority, seconds(terms.delay, "delay"),
        seconds(terms.ttr, "ttr"), len(body),
    )  # fmt: skip
    with client.pipeline() as said:
        used = said.add(commands.use(terms.tube))
        put = said.add(Command(b"".join((line, body, b"\r\n")), _read_unique))
    used.result()
    return put.result()


def _read_words(request: bytes, reply: bytes) -> list[str]:
    if reply[:3] == b"OK ":
        return read_list(reply.partition(b"\r\n")[2][:-2])
    read_put(request, reply)  # raises what the refusal means
    return []


def _read_unique(request: bytes, reply: bytes) -> int:
    exists = _EXISTS.fullmatch(reply)
    return int(exists[1]) if exists else read_put(request, reply)
