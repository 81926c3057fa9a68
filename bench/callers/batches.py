"""Many jobs at once: put_many, delete_many, reserve_many and pipelines, beside loops of one by one.

Laws:
- A greenstalk user has only the loop; raw is the floor: requests ready made where they can be, one
  send and as few reads as there may be for a whole batch.
- Jobs that are to be taken are put beforehand, outside the timed part, by the same connection of
  its own for every client.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

from bench.callers.caller import HOST, PATIENCE, Meter, Order, run
from bench.callers.wire import BATCH, Wire, put_requests

READY = 4 * BATCH
RESERVED_AT_ONCE = 100


class Works(NamedTuple):
    """One client, connected. Each takes the ids of the jobs that are ready; gives how many it did."""

    put_many: Callable[[list[int]], int]
    delete_many: Callable[[list[int]], int]
    reserve_many: Callable[[list[int]], int]
    delete_and_reserve: Callable[[list[int]], int]
    close: Callable[[], None]


def connect_raw(wire: Wire, _port: int, body: bytes) -> Works:
    puts = put_requests(body)

    def put_many(_: list[int]) -> int:
        return len(wire.put_batch(puts))

    def delete_many(ids: list[int]) -> int:
        for start in range(0, len(ids), BATCH):
            wire.delete(ids[start : start + BATCH])
        return len(ids)

    def reserve_many(ids: list[int]) -> int:
        for _ in range(0, len(ids), RESERVED_AT_ONCE):
            jobs = wire.reserve(RESERVED_AT_ONCE)
            wire.delete([job_id for job_id, _ in jobs])
        return len(ids)

    def delete_and_reserve(ids: list[int]) -> int:
        ((first, _),) = wire.reserve(1)
        job_id = b"%d" % first
        for _ in itertools.repeat(None, len(ids) - 1):
            job_id = wire.delete_and_reserve(job_id)
        wire.delete([int(job_id)])
        return len(ids)

    return Works(put_many, delete_many, reserve_many, delete_and_reserve, wire.close)


def connect_greenstalk(_wire: Wire, port: int, body: bytes) -> Works:
    import greenstalk

    client = greenstalk.Client((HOST, port), encoding=None)

    def put_many(_: list[int]) -> int:
        return len([client.put(body) for _ in itertools.repeat(None, BATCH)])

    def delete_many(ids: list[int]) -> int:
        for job_id in ids:
            client.delete(job_id)
        return len(ids)

    def reserve_and_delete(ids: list[int]) -> int:
        for _ in itertools.repeat(None, len(ids)):
            client.delete(client.reserve(timeout=0))
        return len(ids)

    return Works(put_many, delete_many, reserve_and_delete, reserve_and_delete, client.close)


def connect_beanrow(_wire: Wire, port: int, body: bytes) -> Works:
    from beanrow import Client

    client = Client(f"{HOST}:{port}")

    def delete_many(ids: list[int]) -> int:
        client.delete_many(ids)
        return len(ids)

    def reserve_many(_: list[int]) -> int:
        done = 0
        while jobs := client.reserve_many(RESERVED_AT_ONCE):
            client.delete_many(jobs)
            done += len(jobs)
        return done

    def delete_and_reserve(_: list[int]) -> int:
        job, done = client.reserve(timeout=0), 0
        while job is not None:
            job = client.delete_and_reserve(job, timeout=0)
            done += 1
        return done

    return Works(
        lambda _: len(client.put_many(itertools.repeat(body, BATCH))),
        delete_many,
        reserve_many,
        delete_and_reserve,
        client.close,
    )


CLIENTS = {"raw": connect_raw, "greenstalk": connect_greenstalk, "beanrow": connect_beanrow}


class Batches:
    """A session that does one kind of batch again and again."""

    def __init__(self, order: Order) -> None:
        body = b"x" * order.body
        self._wire = Wire(order.port)
        self._requests = put_requests(body)
        self._works = CLIENTS[order.client](self._wire, order.port, body)
        self._puts = order.operation == "put_many"
        self._work: Callable[[list[int]], int] = getattr(self._works, order.operation)

    def check(self) -> None:
        ready = self._prepared()
        done, left = self._work(ready), self._wire.count("ready")
        if done != (left if self._puts else len(ready)):
            raise SystemExit(f"{done} jobs done, {len(ready)} were ready before and {left} after")
        if self._wire.count("reserved"):
            raise SystemExit("a job that was reserved was not deleted")

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        ops, end = 0, time.perf_counter() + seconds * PATIENCE
        while ops < most_ops and meter.seconds < seconds and time.perf_counter() < end:
            ready = self._prepared()
            with meter:
                ops += self._work(ready)
        return ops

    def close(self) -> None:
        self._works.close()
        self._wire.close()

    def _prepared(self) -> list[int]:
        """Put the jobs that are to be taken; none if the work is to put."""
        if self._puts:
            return []
        batches = [self._wire.put_batch(self._requests) for _ in range(READY // BATCH)]
        return [job_id for ids in batches for job_id in ids]


if __name__ == "__main__":
    run(Batches)
