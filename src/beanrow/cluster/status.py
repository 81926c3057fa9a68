"""How a store and its gateways are, for people: nodes, what is promised, who serves, what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from beanrow.cluster.address import StoreAddress
from beanrow.cluster.figures import Facts
from beanrow.cluster.node import Node
from beanrow.cluster.redis import RedisStore
from beanrow.cluster.safety import Finding, find_dangers
from beanrow.errors import BadValueError

__all__ = ["GatewayStatus", "NodeStatus", "Status", "drain", "look", "spread"]

T = TypeVar("T")


class NodeStatus(NamedTuple):
    """A master: its partitions, replicas and the bytes the slowest of them is behind, its memory."""

    address: str
    partitions: int
    replicas: int
    behind: int
    memory: int
    version: str
    libraries: list[str]


class GatewayStatus(NamedTuple):
    """A gateway: its number, name and milliseconds since it was heard of, what it does."""

    number: int
    name: str
    silent: int
    connections: int
    waiting: int
    draining: bool


class Status(NamedTuple):
    """All of it. ``jobs`` by state; ``dangers`` are what a gateway would refuse or warn of."""

    store: str
    library: str
    nodes: list[NodeStatus]
    gateways: list[GatewayStatus]
    jobs: dict[str, int]
    dangers: list[Finding]


def _with_store(address: StoreAddress, ask: Callable[[RedisStore], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        store = RedisStore(address)
        await store.open()
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(run())


def look(address: StoreAddress) -> Status:
    """Look at a store; StoreError if it is not there or belongs to something else."""
    return _with_store(address, _look)


def drain(address: StoreAddress, on: bool) -> None:
    """Have all gateways of a store refuse puts, or take them again; StoreError as ``look``."""
    return _with_store(address, lambda store: store.drain(on))


def spread(address: StoreAddress, tube: str, count: int) -> None:
    """Have all gateways of a store spread a tube over so many partitions; StoreError as ``look``.

    BadValueError if that would leave jobs where nobody looks.
    """
    _with_store(address, lambda store: _spread(store, tube, count))


async def _spread(store: RedisStore, tube: str, count: int) -> None:
    kept = store.layout.spread(tube, count)
    for partition in range(store.layout.partitions):
        if partition not in kept and (await store.stats_tube(partition, tube)).jobs:
            raise BadValueError(
                f"tube {tube} has jobs where none would be looked for when it is spread over {count}: "
                "let them be done first"
            )
    await store.spread(tube, count)


async def _look(store: RedisStore) -> Status:
    shards = store.shards
    masters = shards.masters()
    gateways, _ = await store.gateways()
    jobs = dict.fromkeys(("urgent", "ready", "reserved", "delayed", "buried"), 0)
    for overview in await store.overviews():
        for figures in overview.tubes.values():
            for state, count in zip(jobs, figures, strict=True):
                jobs[state] += count
    return Status(
        str(store.address),
        shards.library.name,
        [await _look_at(node, len(shards.partitions_of(node))) for node in masters],
        [
            GatewayStatus(
                one.number,
                facts.name,
                one.silent,
                facts.gauges["connections"],
                facts.gauges["waiting"],
                facts.draining,
            )
            for one in sorted(gateways)
            for facts in Facts.read([one])
        ],
        jobs,
        await find_dangers(masters, store.address.ack),
    )


async def _look_at(node: Node, partitions: int) -> NodeStatus:
    _, offset, replicas = await node.ask("ROLE")
    info = dict(
        line.split(b":", 1) for line in (await node.ask("INFO")).splitlines() if b":" in line
    )
    version = info.get(b"valkey_version") or info.get(b"redis_version", b"")
    engine = "valkey" if b"valkey_version" in info else "redis"
    libraries = [
        dict(zip(one[::2], one[1::2], strict=True))[b"library_name"].decode()
        for one in await node.ask("FUNCTION", "LIST", "LIBRARYNAME", "beanrow_*")
    ]
    return NodeStatus(
        str(node.place),
        partitions,
        len(replicas),
        max((offset - int(place) for _, _, place in replicas), default=0),
        int(info.get(b"used_memory", 0)),
        f"{engine} {version.decode()}",
        sorted(libraries),
    )
