"""Producers and workers on gateways, and what they have been told, written down outside of it all.

Law: only what was acknowledged counts. A command whose reply did not come may have been done or not,
and neither is a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Iterable, Sequence

from beanrow.protocol.replies import ReplyStream
from tests.servers import GatewayServer

TUBES = 96
_PATIENCE = 30.0
_QUIET_SECONDS = 6.0
"""Without a job for so long the queue is empty: longer than a dead gateway's leases take."""


class Connection:
    """A connection to one of the gateways; lost ones are replaced by the caller."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = ReplyStream()

    @classmethod
    async def open(cls, gateways: Sequence[GatewayServer]) -> Connection:
        """Connect to any gateway that answers."""
        while True:
            gateway = random.choice(gateways)
            try:
                return cls(*await asyncio.open_connection(gateway.host, gateway.port))
            except OSError:
                await asyncio.sleep(0.05)

    async def ask(self, request: bytes) -> bytes:
        """Say something; ConnectionError if the reply does not come."""
        self._writer.write(request)
        async with asyncio.timeout(_PATIENCE):
            while (reply := self._stream.next()) is None:
                data = await self._reader.read(1 << 16)
                if not data:
                    raise ConnectionResetError
                self._stream.feed(data)
        return reply

    def close(self) -> None:
        self._writer.transport.abort()


class Ledger:
    """What has been acknowledged. Bodies are numbers; ids are the queue's."""

    def __init__(self, gateways: Sequence[GatewayServer], size: int = 100) -> None:
        self.gateways = gateways
        self.size = size
        self.put: dict[int, int] = {}  # id -> number
        self.put_at: dict[int, tuple[float, int]] = {}  # number -> when, in which tube
        self.delivered: set[int] = set()  # numbers
        self.deleted: dict[int, float] = {}  # number -> when it was acknowledged
        self.undone: list[int] = []  # numbers that came again after their delete
        self.reused: list[int] = []  # ids that were given out twice
        self.refused = 0
        self._number = 0
        self._producing = True
        self._heard_at = time.monotonic()

    async def produce(self) -> None:
        """Put jobs until told to stop."""
        connection = await Connection.open(self.gateways)
        while self._producing:
            self._number += 1
            number, tube = self._number, random.randrange(TUBES)
            body = b"%d %d" % (number, tube) + b" " * self.size
            use = b"use ledger-%d\r\n" % tube
            put = b"put %d 0 120 %d\r\n%b\r\n" % (random.randrange(1000), len(body), body)
            try:
                await connection.ask(use)
                reply = await connection.ask(put)
            except (OSError, TimeoutError):
                connection.close()
                connection = await Connection.open(self.gateways)
                continue
            if not reply.startswith(b"INSERTED "):
                self.refused += 1
                await asyncio.sleep(0.05)
                continue
            job_id = int(reply.split()[1])
            if job_id in self.put:
                self.reused.append(job_id)
            self.put[job_id] = number
            self.put_at[number] = time.monotonic(), tube
        connection.close()

    async def work(self, tubes: Iterable[int]) -> None:
        """Reserve and delete jobs of some tubes until the queue has been empty for long."""
        watch = b"".join(b"watch ledger-%d\r\n" % (tube % TUBES) for tube in tubes)
        watch += b"ignore default\r\n"
        connection = None
        while self._producing or time.monotonic() - self._heard_at < _QUIET_SECONDS:
            try:
                if connection is None:
                    connection = await Connection.open(self.gateways)
                    for line in watch.splitlines(keepends=True):
                        await connection.ask(line)
                await self._work_once(connection)
            except (OSError, TimeoutError):
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    async def _work_once(self, connection: Connection) -> None:
        reply = await connection.ask(b"reserve-with-timeout 1\r\n")
        if not reply.startswith(b"RESERVED"):
            await asyncio.sleep(0 if reply.startswith(b"TIMED_OUT") else 0.05)
            return
        self._heard_at = time.monotonic()
        head, _, body = reply.partition(b"\r\n")
        number, job_id = int(body.split()[0]), int(head.split()[1])
        if number in self.deleted:
            self.undone.append(number)
        self.delivered.add(number)
        if (await connection.ask(b"delete %d\r\n" % job_id)) == b"DELETED\r\n":
            self.deleted[number] = time.monotonic()

    @property
    def lost(self) -> set[int]:
        """Numbers that were acknowledged and have never come out again."""
        return set(self.put.values()) - self.delivered

    def longest_silence(self, after: float) -> float:
        """The longest time without an acknowledged put in any eighth of the tubes, from then on."""
        longest = 0.0
        for share in range(8):
            times = sorted(when for when, tube in self.put_at.values() if tube % 8 == share)
            times = [after, *(when for when in times if when > after)]
            gaps = (later - when for when, later in itertools.pairwise(times))
            longest = max(longest, max(gaps, default=0.0))
        return longest

    async def run(
        self,
        acked: int,
        fault: Sequence[tuple[int, object]] = (),
        producers: int = 48,
        workers: int = 24,
    ) -> None:
        """Load the gateways until so many puts are acknowledged, then see that all comes out.

        ``fault`` are functions that are called, beside the load, at so many acknowledged puts.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(producers):
                group.create_task(self.produce())
            share = TUBES // workers
            for number in range(workers):  # every tube has a worker, some have two
                tubes = range(number * share, (number + 1) * share + 1)
                group.create_task(self.work(tubes))
            for at, call in fault:
                await self._reach(at)
                await asyncio.to_thread(call)  # type: ignore[arg-type]
            await self._reach(acked)
            self._producing = False

    async def _reach(self, acked: int) -> None:
        while len(self.put) < acked:  # noqa: ASYNC110  (many write it, in no order)
            await asyncio.sleep(0.02)


async def left_over(gateway: GatewayServer) -> int:
    """Count the jobs that are left in the tubes of the ledger."""
    connection = await Connection.open([gateway])
    with contextlib.closing(connection):
        reply = await connection.ask(b"stats\r\n")
    counts = dict(line.split(": ") for line in reply.decode().splitlines() if ": " in line)
    return int(counts["current-jobs-ready"]) + int(counts["current-jobs-reserved"])
