"""The store on Redis 7 or Valkey: each method is one function of ``library.lua``.

Law: what a reply to a client promises is ``durable``: it waits for as many replicas as ``ack``
says. A reserve and a touch promise nothing that a second delivery would not heal, and do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from beanrow.cluster.address import StoreAddress
from beanrow.cluster.lane import Word, pack
from beanrow.cluster.layout import (
    LAYOUT,
    Given,
    Layout,
    Record,
    head_size,
    read_given,
    read_record,
)
from beanrow.cluster.shards import Shards
from beanrow.cluster.store import Beat, Gateway, Head, Nothing, Overview, TubeFigures
from beanrow.errors import StoreError
from beanrow.protocol.requests import Put, PutUnique

__all__ = ["RedisStore"]

_MOST_LISTED = 5000
"""Ids that are asked for at once: some 2 ms of the engine."""


def _id(job_id: int) -> bytes:
    return job_id.to_bytes(8, "big")


def _number(job_id: bytes) -> int:
    return int.from_bytes(job_id, "big")


class RedisStore:
    """Jobs in Redis or Valkey. ``open`` it before anything else; as ``store.Store``."""

    def __init__(self, address: StoreAddress, layout: Layout = LAYOUT) -> None:
        self.address = address
        self.layout = layout
        self.shards: Shards = Shards(address, layout, self._hear)
        self._call = self.shards.call
        self._wake: Callable[[str], object] = str  # does nothing, until somebody listens

    async def open(self) -> None:
        """Connect, and see that the store has the layout; StoreError tells what is wrong."""
        await self.shards.open()
        words = await self._call(0, "layout", [self.layout.words], repeatable=True)
        if words.decode() != self.layout.words:
            await self.close()
            raise StoreError(
                f"store {self.address} was begun with the layout '{words.decode()}' and this "
                f"version has '{self.layout.words}': use the version that began it"
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.shards.close()

    # -- jobs ---------------------------------------------------------------------

    async def put(self, tube: str, jobs: Sequence[Put]) -> list[int]:
        """Add jobs to a tube, all or none; their ids in order."""
        partition = self.layout.of_tube(tube)
        arguments: list[Word] = [partition, tube]
        for priority, delay, ttr, body in jobs:
            arguments += (priority, delay, ttr or 1, body)
        ids = await self._call(partition, "put", arguments, durable=True)
        return [_number(one) for one in ids]

    async def put_unique(self, tube: str, job: PutUnique) -> tuple[int, bool]:
        """Add a job unless its key is taken; the id of that key's job, and whether it is new."""
        partition = self.layout.of_tube(tube)
        key, lifetime, priority, delay, ttr, body = job
        arguments: list[Word] = [partition, tube, key, lifetime, priority, delay, ttr or 1, body]
        job_id, is_new = await self._call(partition, "put_unique", arguments, durable=True)
        return _number(job_id), bool(is_new)

    async def find_unique(self, tube: str, key: str) -> int | None:
        """Give the id of the job that was put under a key that is taken."""
        job_id = await self._of_tube(tube, "find_unique", [key], repeatable=True)
        return None if job_id is None else _number(job_id)

    async def reserve(
        self, partition: int, owner: bytes, tubes: Sequence[str], gateway: int | None
    ) -> Given | Nothing:
        """Reserve the best job of tubes of one partition; if there is none the gateway waits."""
        waiting = "" if gateway is None else gateway
        reply = await self._call(partition, "reserve", [owner, waiting, *tubes])
        if len(reply) == 1:
            return Nothing(_patience(reply[0]))
        return read_given(*reply)

    async def heads(
        self, partition: int, tubes: Sequence[str], gateway: int | None
    ) -> tuple[int | None, list[Head]]:
        """Give the patience of a partition and the first jobs of tubes; it waits for the others."""
        waiting = "" if gateway is None else gateway
        reply = await self._call(partition, "heads", [waiting, *tubes], repeatable=True)
        found = [
            Head(priority, _number(job_id), tube)
            for tube, priority, job_id in zip(tubes, reply[1::2], reply[2::2], strict=True)
            if job_id
        ]
        return _patience(reply[0]), found

    async def reserve_job(self, job_id: int, owner: bytes) -> Given | None:
        """Reserve this job unless it is reserved."""
        raw = await self._of_job(job_id, "reserve_job", owner)
        return None if raw is None else read_given(_id(job_id), raw)

    async def delete(self, job_id: int, owner: bytes) -> bool | str:
        """Delete a job; the name of its tube instead of True if that has no job now."""
        reply = await self._of_job(job_id, "delete", owner, durable=True)
        return bool(reply) if reply.__class__ is int else reply.decode()

    async def release(self, job_id: int, owner: bytes, priority: int, delay: int) -> bool:
        """Put back a job that the owner holds."""
        return bool(await self._of_job(job_id, "release", owner, priority, delay, durable=True))

    async def bury(self, job_id: int, owner: bytes, priority: int) -> bool:
        """Set aside a job that the owner holds."""
        return bool(await self._of_job(job_id, "bury", owner, priority, durable=True))

    async def touch(self, job_id: int, owner: bytes) -> int:
        """Start the ttr of a job that the owner holds anew; that ttr, 0 if it does not hold it."""
        ttr: int = await self._of_job(job_id, "touch", owner, repeatable=True)
        return ttr

    async def let_go(self, partition: int, owner: bytes, jobs: Sequence[int]) -> None:
        """Make ready again what of these the owner holds, as if it had never had them."""
        await self._call(partition, "let_go", [owner, *map(_id, jobs)], repeatable=True)

    async def kick(self, tube: str, bound: int, kind: str) -> tuple[int, str]:
        """Kick a share of the jobs of one kind; "" finds out which. How many, and which kind."""
        count, kicked = await self._of_tube(tube, "kick", [bound, kind], durable=True)
        return count, kicked.decode()

    async def kick_job(self, job_id: int) -> bool:
        """Kick a buried or delayed job."""
        return bool(await self._of_job(job_id, "kick_job", durable=True))

    async def truncate(self, tube: str) -> int:
        """Delete a share of the jobs that nobody holds; 0 when there is none left."""
        count: int = await self._of_tube(tube, "truncate", [], durable=True)
        return count

    # -- looking ------------------------------------------------------------------

    async def peek(self, job_id: int) -> Given | None:
        """Give a job."""
        partition = self.layout.of_job(job_id)
        get = pack(b"GET", self.layout.bases[partition] + b"j:" + _id(job_id))
        raw = await self.shards.send(partition, get, repeatable=True)
        return None if raw is None else read_given(_id(job_id), raw)

    async def peek_first(self, tube: str, kind: str) -> Given | None:
        """Give the first job of a kind: "r", "d" or "b"."""
        partition = self.layout.of_tube(tube)
        found = await self._call(partition, "peek", [kind, tube], repeatable=True)
        return None if found is None else read_given(*found)

    async def look(self, job_id: int) -> tuple[Record, int] | None:
        """Give a job without its body, and the engine's time."""
        found = await self._of_job(job_id, "stats_job", repeatable=True)
        return None if found is None else (read_record(found[0]), found[1])

    async def ids(self, tube: str, state: str) -> list[int]:
        """Give the ids of the jobs in a state, sorted; of reserved ones also those of other tubes."""
        partition = self.layout.of_tube(tube)
        kind = "" if state == "reserved" else state[0]
        found: set[int] = set()  # what moves meanwhile may be told of twice
        place, more = 0, 1
        while more:
            arguments: list[Word] = [kind, tube, place, _MOST_LISTED]
            ids, more = await self._call(partition, "ids", arguments, repeatable=True)
            found.update(map(_number, ids))
            place += _MOST_LISTED
        return sorted(found)

    async def look_at(self, jobs: Sequence[int]) -> tuple[list[tuple[Record, int] | None], int]:
        """Give jobs of one partition, None for what is gone, with their size, and the engine's time."""
        partition = self.layout.of_job(jobs[0])
        now, *found = await self._call(partition, "list", list(map(_id, jobs)), repeatable=True)
        return [
            (read_record(raw), size - head_size(raw)) if raw else None
            for raw, size in _pairs(found)
        ], now

    async def stats_tube(self, tube: str) -> TubeFigures:
        """Count a tube."""
        return TubeFigures(*await self._of_tube(tube, "stats_tube", [], repeatable=True))

    async def overviews(self) -> list[Overview]:
        """Count all tubes of each partition."""
        asked = [
            self._call(partition, "overview", [], repeatable=True)
            for partition in range(self.layout.partitions)
        ]
        # Not one task for each of them, and none is left behind unheard if another one fails.
        found = await asyncio.gather(*asked)
        return [_read_overview(reply) for reply in found]

    async def pause(self, tube: str, seconds: int, referenced: bool) -> bool:
        """Pause a tube; False if it has no jobs and nobody refers to it."""
        arguments = [seconds, int(referenced)]
        return bool(await self._of_tube(tube, "pause", arguments, durable=True))

    async def prune(self, tube: str) -> None:
        """Forget a tube to which nobody refers, if it has no jobs."""
        await self._of_tube(tube, "prune", [], repeatable=True)

    # -- who waits, and gateways --------------------------------------------------

    def listen(self, gateway: int, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with the tube whenever a job is ready there for this gateway."""
        self._wake = wake
        self.shards.listen(b"g:%d" % gateway)

    def _hear(self, _channel: bytes, tube: bytes) -> None:
        self._wake(tube.decode())

    async def pass_on(self, tube: str) -> None:
        """Wake another gateway if a job is ready: this one has nobody who waits."""
        await self._of_tube(tube, "pass_on", [], repeatable=True)

    async def tick(self, partition: int) -> int | None:
        """Let pass what is due; the patience of the partition."""
        return _patience((await self._call(partition, "tick", [], repeatable=True))[0])

    async def join(self) -> int:
        """Give a number that no gateway has had."""
        gateway: int = await self._call(0, "join", [], durable=True, repeatable=True)
        return gateway

    async def beat(self, gateway: int, facts: bytes) -> Beat | None:
        """Tell that a gateway lives; None if it has been given up."""
        reply = await self._call(0, "beat", [gateway, facts], repeatable=True)
        return None if reply is None else Beat(bool(reply[0]), reply[1:])

    async def reap(self, partition: int, prefix: bytes) -> None:
        """Make ready again all that owners that begin so hold in a partition."""
        found = 1
        while found:  # what moves meanwhile may slip through a pass, not through one without finds
            found = place = 0
            while place >= 0:
                arguments: list[Word] = [prefix, place]
                place, count = await self._call(partition, "reap", arguments, repeatable=True)
                found += count

    async def leave(self, gateway: int) -> None:
        """Forget a gateway that holds nothing, all but its counts."""
        await self._call(0, "leave", [gateway], repeatable=True)

    async def gateways(self) -> tuple[list[Gateway], dict[str, int]]:
        """Give the gateways that live, and the sums of what the others had counted."""
        living, sums, _drain = await self._call(0, "gateways", [], repeatable=True)
        return (
            [Gateway(*living[place : place + 3]) for place in range(0, len(living), 3)],
            {name.decode(): int(count) for name, count in _pairs(sums)},
        )

    async def drain(self, on: bool) -> None:
        """Have all gateways refuse puts, or take them again."""
        await self._call(0, "drain", [int(on)], durable=True, repeatable=True)

    # -- calls --------------------------------------------------------------------

    def _of_tube(
        self,
        tube: str,
        name: str,
        arguments: Sequence[Word],
        *,
        durable: bool = False,
        repeatable: bool = False,
    ) -> Any:
        partition = self.layout.of_tube(tube)
        return self._call(
            partition, name, [tube, *arguments], durable=durable, repeatable=repeatable
        )

    def _of_job(
        self,
        job_id: int,
        name: str,
        *arguments: bytes | int,
        durable: bool = False,
        repeatable: bool = False,
    ) -> Any:
        partition = self.layout.of_job(job_id)
        return self._call(
            partition, name, [_id(job_id), *arguments], durable=durable, repeatable=repeatable
        )


def _read_overview(reply: list[Any]) -> Overview:
    timeouts, *rest = reply
    rows = [rest[place : place + 6] for place in range(0, len(rest), 6)]
    return Overview(timeouts, {row[0].decode(): tuple(row[1:]) for row in rows})


def _patience(milliseconds: int) -> int | None:
    return None if milliseconds < 0 else milliseconds


def _pairs(flat: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
