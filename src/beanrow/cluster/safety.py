"""Whether an engine is set up so that it keeps what is acknowledged.

Law: an unsafe setting is refused unless it was accepted by its name. A name is for one danger, and
accepting it accepts no other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from hiredis import ReplyError

from beanrow.cluster.node import Node
from beanrow.errors import StoreError

__all__ = ["DANGERS", "Finding", "find_dangers", "refuse_dangers"]

DANGERS = {
    "no-aof": "a node that restarts comes back empty, and its replicas copy that: "
    "set appendonly yes",
    "eviction": "the engine throws jobs away when its memory is full: "
    "set maxmemory-policy noeviction",
    "few-replicas": "there are fewer replicas than an acknowledgement asks for, so there will be "
    "none: add replicas, or ask for ack=0",
    "unknown-settings": "the engine does not tell its settings (CONFIG GET is refused), so nobody "
    "has checked them: see that it has an append-only file and does not evict",
}
"""What can be accepted, and what it means."""
_WANTED_REPLICAS = 2


class Finding(NamedTuple):
    """What is wrong at a node: a name of ``DANGERS``, or "" for what is only worth a warning."""

    danger: str
    node: str
    words: str


async def find_dangers(nodes: Collection[Node], ack: int) -> list[Finding]:
    """Look at the settings of all masters; ``ack`` is how many replicas are to have a write."""
    found: list[Finding] = []
    for node in nodes:
        where = str(node.place)
        try:
            kept = await _setting(node, "appendonly")
            policy = await _setting(node, "maxmemory-policy")
        except ReplyError as error:
            found.append(Finding("unknown-settings", where, f"CONFIG GET: {error}"))
        else:
            if kept != "yes":
                found.append(Finding("no-aof", where, f"appendonly is {kept}"))
            if policy != "noeviction":
                found.append(Finding("eviction", where, f"maxmemory-policy is {policy}"))
        role = await node.ask("ROLE")
        replicas = len(role[2])
        if replicas < ack:
            found.append(Finding("few-replicas", where, f"{replicas} replicas, ack={ack}"))
        elif ack and replicas < _WANTED_REPLICAS:
            words = f"{replicas} replica: after a failover nothing is acknowledged until it is back"
            found.append(Finding("", where, words))
    return found


async def _setting(node: Node, name: str) -> str:
    reply = await node.ask("CONFIG", "GET", name)
    value: bytes = reply[1] if reply else b"unknown"
    return value.decode()


def refuse_dangers(found: Collection[Finding], accepted: Collection[str]) -> None:
    """StoreError, telling all that has not been accepted, if there is any of it."""
    refused = [one for one in found if one.danger and one.danger not in accepted]
    if not refused:
        return
    lines = [f"{one.node}: {one.words} ({one.danger})" for one in refused]
    names = sorted({one.danger for one in refused})
    advice = [f"{name}: {DANGERS[name]}" for name in names]
    flags = " ".join(f"--accept {name}" for name in names)
    raise StoreError(
        "the store is not safe as it is set up:\n  "
        + "\n  ".join([*lines, *advice, f"or start with {flags}, if that is meant"])
    )
