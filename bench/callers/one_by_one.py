"""One command at a time: raw sockets, greenstalk, pystalk and ours, each on one connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from bench.callers.caller import HOST, PATIENCE, Meter, Order, repeat, run
from bench.callers.wire import Wire

LARGE = 4096
LARGE_AT_ONCE = 50


class Calls(NamedTuple):
    """One client, connected: what one operation of each kind is."""

    put: Callable[[], int]
    reserve: Callable[[], Any]
    delete: Callable[[Any], object]
    cycle: Callable[[], bytes]
    close: Callable[[], None]


def connect_raw(port: int, body: bytes) -> Calls:
    """The floor: socket calls on requests that are ready made, and the least of reading."""
    connection = socket.create_connection((HOST, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    send, receive = connection.sendall, connection.recv
    put_request = b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body)
    size = len(body) + 2

    def put() -> int:
        send(put_request)
        return int(receive(65536)[9:])

    def reserve() -> tuple[bytes, bytes]:
        send(b"reserve-with-timeout 0\r\n")
        reply = receive(65536)
        start = reply.index(b"\n") + 1
        while len(reply) < start + size:
            more = receive(65536)
            if not more:
                raise SystemExit("raw sockets: the server closed the connection")
            reply += more
        return reply[9 : reply.index(b" ", 9)], reply[start:-2]

    def delete(job: tuple[bytes, bytes]) -> None:
        send(b"delete %b\r\n" % job[0])
        if receive(65536) != b"DELETED\r\n":
            raise SystemExit("raw sockets: the job was not deleted")

    def cycle() -> bytes:
        put()
        job = reserve()
        delete(job)
        return job[1]

    return Calls(put, reserve, delete, cycle, connection.close)


def connect_greenstalk(port: int, body: bytes) -> Calls:
    import greenstalk

    client = greenstalk.Client((HOST, port), encoding=None)

    def put() -> int:
        return client.put(body)

    def cycle() -> bytes:
        client.put(body)
        job = client.reserve(timeout=0)
        client.delete(job)
        read: bytes = job.body
        return read

    return Calls(put, partial(client.reserve, timeout=0), client.delete, cycle, client.close)


def connect_pystalk(port: int, body: bytes) -> Calls:
    import pystalk

    client = pystalk.BeanstalkClient(HOST, port)

    def put() -> int:
        _, job_id = client.put_job(body)
        number: int = job_id
        return number

    def cycle() -> bytes:
        client.put_job(body)
        job = client.reserve_job(timeout=0)
        client.delete_job(job)
        read: bytes = job.job_data
        return read

    reserve = partial(client.reserve_job, timeout=0)
    return Calls(put, reserve, client.delete_job, cycle, client.close)


def connect_beanrow(port: int, body: bytes) -> Calls:
    from beanrow import Client

    client = Client(f"{HOST}:{port}")

    def put() -> int:
        return client.put(body)

    def cycle() -> bytes:
        client.put(body)
        job = client.reserve(timeout=0)
        if job is None:
            raise SystemExit("beanrow: the job that was put is not there")
        client.delete(job)
        return job.body

    return Calls(put, partial(client.reserve, timeout=0), client.delete, cycle, client.close)


CLIENTS = {
    "raw": connect_raw,
    "greenstalk": connect_greenstalk,
    "pystalk": connect_pystalk,
    "beanrow": connect_beanrow,
}


class Loop:
    """A session that calls one of the operations again and again."""

    def __init__(self, order: Order) -> None:
        self._body = b"x" * order.body
        self._calls = CLIENTS[order.client](order.port, self._body)
        self._call = {"put": self._calls.put, "cycle": self._calls.cycle}[order.operation]

    def check(self) -> None:
        for _ in range(2):
            if self._calls.cycle() != self._body:
                raise SystemExit("the body that was reserved is not the one that was put")
        first, second = self._calls.put(), self._calls.put()
        if not 0 < first < second:
            raise SystemExit(f"the ids of two puts do not rise: {first}, {second}")

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        with meter:
            return repeat(self._call, seconds, most_ops)

    def close(self) -> None:
        self._calls.close()


class PutsOfLargeBodies(Loop):
    """Puts some, and deletes them outside the timed part.

    The server's next jobs then take the memory of the last ones. New memory costs it more than
    any client, and how much more is chance.
    """

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._wire = Wire(order.port)

    def check(self) -> None:
        super().check()
        ids = self._put()
        self._calls.put()  # and stays: the freed memory below it does not go back to the system
        self._wire.delete(ids)

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        ops, end = 0, time.perf_counter() + seconds * PATIENCE
        while ops < most_ops and meter.seconds < seconds and time.perf_counter() < end:
            with meter:
                ids = self._put()
            self._wire.delete(ids)
            ops += len(ids)
        return ops

    def close(self) -> None:
        super().close()
        self._wire.close()

    def _put(self) -> list[int]:
        return [self._calls.put() for _ in range(LARGE_AT_ONCE)]


def connect(order: Order) -> Loop:
    if order.operation == "put" and order.body >= LARGE:
        return PutsOfLargeBodies(order)
    return Loop(order)


if __name__ == "__main__":
    run(connect)
