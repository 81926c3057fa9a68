"""Many jobs at once: put_many, delete_many, reserve_many and pipelines, beside loops of one by one.

Laws:
- A greenstalk user has only the loop; raw is the floor: requests ready made where they can be, one
  send and as few reads as there may be for a whole batch.
- Jobs that are to be taken are put beforehand, outside the timed part, by the same connection of
  its own for every client.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from bench.callers.caller import HOST, Meter, Order, run

BATCH = 1000
READY = 4 * BATCH
RESERVED_AT_ONCE = 100
PATIENCE = 5.0
"""Preparing may take so many times the seconds that are measured."""
RESERVE = b"reserve-with-timeout 0\r\n"


class Works(NamedTuple):
    """One client, connected. Each takes the ids of the jobs that are ready; gives how many it did."""

    put_many: Callable[[list[int]], int]
    delete_many: Callable[[list[int]], int]
    reserve_many: Callable[[list[int]], int]
    delete_and_reserve: Callable[[list[int]], int]
    close: Callable[[], None]


class Wire:
    """A raw connection: puts what others take, and is itself the floor."""

    def __init__(self, port: int, body: bytes) -> None:
        self._connection = socket.create_connection((HOST, port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._body = body
        self._puts = b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body) * BATCH
        self.close = self._connection.close

    def put_batch(self) -> list[int]:
        self._connection.sendall(self._puts)
        return list(map(int, self._lines(BATCH).split()[1::2]))

    def delete(self, ids: list[int]) -> None:
        self._connection.sendall(b"".join([b"delete %d\r\n" % job_id for job_id in ids]))
        if self._lines(len(ids)) != b"DELETED\r\n" * len(ids):
            raise SystemExit("raw sockets: a job was not deleted")

    def reserve(self, most: int) -> list[tuple[int, bytes]]:
        self._connection.sendall(RESERVE * most)
        return self._jobs(self._lines(2 * most))

    def delete_and_reserve(self, job_id: bytes) -> bytes:
        """Delete a job and reserve the next, in one send; its id, as it was written."""
        self._connection.sendall(b"delete %b\r\nreserve-with-timeout 0\r\n" % job_id)
        reply = self._connection.recv(65536)
        while reply.count(b"\n") < 3:
            reply += self._lines(1)
        return reply[18 : reply.index(b" ", 18)]

    def count(self, state: str) -> int:
        """How many jobs of the default tube are in that state."""
        self._connection.sendall(b"stats-tube default\r\n")
        reply = self._connection.recv(65536)
        return int(reply.partition(b"current-jobs-%b: " % state.encode())[2].split()[0])

    def _lines(self, count: int) -> bytes:
        """Receive so many lines."""
        parts: list[bytes] = []
        while count > 0:
            data = self._connection.recv(65536)
            if not data:
                raise SystemExit("raw sockets: the server closed the connection")
            count -= data.count(b"\n")
            parts.append(data)
        return b"".join(parts)

    def _jobs(self, replies: bytes) -> list[tuple[int, bytes]]:
        lines = replies.split(b"\r\n")
        return [
            (int(head.split()[1]), body)
            for head, body in zip(lines[:-1:2], lines[1::2], strict=True)
        ]


def connect_raw(wire: Wire, _port: int, _body: bytes) -> Works:
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

    return Works(
        lambda _: len(wire.put_batch()), delete_many, reserve_many, delete_and_reserve, wire.close
    )


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
    from beanrow.protocol import commands

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
            with client.pipeline() as pipe:
                deleted = pipe.add(commands.delete(job))
                following = pipe.add(commands.reserve_with_timeout(0))
            deleted.result()
            done += 1
            job = following.result()
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
        self._wire = Wire(order.port, body)
        self._works = CLIENTS[order.client](self._wire, order.port, body)
        self._puts = order.operation == "put_many"
        self._work = {
            "put_many": self._works.put_many,
            "delete_many": self._works.delete_many,
            "reserve_many": self._works.reserve_many,
            "delete_and_reserve": self._works.delete_and_reserve,
        }[order.operation]

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
        return [job_id for _ in range(READY // BATCH) for job_id in self._wire.put_batch()]


if __name__ == "__main__":
    run(Batches)
