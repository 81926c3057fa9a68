"""asyncio: many tasks on one connection or on one each, and one task alone.

Laws:
- The standard loop of asyncio; a task puts, or puts, reserves and deletes, one after the other.
- aiostalk's connection cannot be shared without a lock: two tasks would read each other's replies.
- Streams read 256 KiB at a time. In a fresh process that takes an mmap for each reply (two page
  faults), and half of the rate; one more import, or one large object made and freed, ends it by
  chance. So the chance is taken out: each state of the heap is brought about, and measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from bench.callers.caller import HOST, Meter, Order, run

MANY = 100
READ_SIZE = 256 * 1024
BALLAST = 64

Operation = Callable[[], Awaitable[Any]]


class Calls(NamedTuple):
    """A connected client: what one operation of each kind is for one task."""

    put: Operation
    cycle: Callable[[], Awaitable[bytes]]
    close: Callable[[], Coroutine[Any, Any, None]]


async def connect_aiostalk(port: int, body: bytes) -> Calls:
    import aiostalk

    client = aiostalk.Client((HOST, port), encoding=None)
    await client.connect()

    async def cycle() -> bytes:
        await client.put(body)
        job = await client.reserve(timeout=0)
        await client.delete(job)
        read: bytes = job.body
        return read

    return Calls(lambda: client.put(body), cycle, client.close)


async def connect_aiostalk_locked(port: int, body: bytes) -> Calls:
    import aiostalk

    client, lock = aiostalk.Client((HOST, port), encoding=None), asyncio.Lock()
    await client.connect()

    async def put() -> int:
        async with lock:
            job_id: int = await client.put(body)
        return job_id

    async def cycle() -> bytes:
        async with lock:
            await client.put(body)
        async with lock:
            job = await client.reserve(timeout=0)
        async with lock:
            await client.delete(job)
        read: bytes = job.body
        return read

    return Calls(put, cycle, client.close)


async def connect_beanrow(port: int, body: bytes) -> Calls:
    from beanrow import AsyncClient

    client = AsyncClient(f"{HOST}:{port}")
    await client.connect()

    async def cycle() -> bytes:
        await client.put(body)
        job = await client.reserve(timeout=0)
        if job is None:
            raise SystemExit("beanrow: the job that was put is not there")
        await client.delete(job)
        return job.body

    return Calls(lambda: client.put(body), cycle, client.close)


def crowd_the_heap() -> object:
    """Take all free room that a read fits into; it has to be kept for as long as that is to hold."""
    return [bytearray(READ_SIZE) for _ in range(BALLAST)]


def widen_the_heap() -> object:
    """Free a large object: from then on glibc keeps room for all that are not larger."""
    return bytearray(4 * READ_SIZE)[:0]


class Way(NamedTuple):
    """How a client is used: so many connected clients, each shared by so many tasks."""

    connect: Callable[[int, bytes], Coroutine[Any, Any, Calls]]
    clients: int
    tasks: int
    prepare: Callable[[], object]


WAYS = {
    "aiostalk": Way(connect_aiostalk, 1, 1, crowd_the_heap),
    "aiostalk-wide": Way(connect_aiostalk, 1, 1, widen_the_heap),
    "aiostalk-locked": Way(connect_aiostalk_locked, 1, MANY, widen_the_heap),
    "aiostalk-many": Way(connect_aiostalk, MANY, 1, crowd_the_heap),
    "aiostalk-many-wide": Way(connect_aiostalk, MANY, 1, widen_the_heap),
    "beanrow": Way(connect_beanrow, 1, 1, crowd_the_heap),
    "beanrow-shared": Way(connect_beanrow, 1, MANY, crowd_the_heap),
}


class Tasks:
    """A session in an event loop of its own, which rests between the calls."""

    def __init__(self, order: Order) -> None:
        self._body = b"x" * order.body
        self._way = WAYS[order.client]
        self._runner = asyncio.Runner()
        self._calls = [
            self._runner.run(self._way.connect(order.port, self._body))
            for _ in range(self._way.clients)
        ]
        self._ballast = self._way.prepare()
        self._operations: list[Operation] = [
            calls.put if order.operation == "put" else calls.cycle
            for calls in self._calls
            for _ in range(self._way.tasks)
        ]

    def check(self) -> None:
        self._runner.run(self._checked())

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        with meter:
            return self._runner.run(self._worked(seconds, most_ops // len(self._operations)))

    def close(self) -> None:
        for calls in self._calls:
            self._runner.run(calls.close())
        self._runner.close()

    async def _checked(self) -> None:
        for calls in self._calls:
            if await calls.cycle() != self._body:
                raise SystemExit("the body that was reserved is not the one that was put")
        shared = [calls.put for calls in self._calls for _ in range(self._way.tasks)]
        ids = await asyncio.gather(*(put() for put in shared))
        if len(set(ids)) != len(ids):
            raise SystemExit("two puts have one id: a reply went to the wrong task")

    async def _worked(self, seconds: float, most_ops_each: int) -> int:
        loop = asyncio.get_running_loop()
        on = True

        def stop() -> None:
            nonlocal on
            on = False

        async def repeat(operation: Operation) -> int:
            ops = 0
            while on and ops < most_ops_each:
                await operation()
                ops += 1
            return ops

        loop.call_later(seconds, stop)
        return sum(await asyncio.gather(*map(repeat, self._operations)))


if __name__ == "__main__":
    run(Tasks)
