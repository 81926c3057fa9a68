"""The process that is measured in the client's part: one client, one row, one result line.

Laws:
- Run by client.py, one fresh process per run: what the heap and the caches have seen before
  changes a client's cost.
- Imports only the client that it measures.
- The calls are those of an ordinary user; what they answer is checked before the timed part, so
  that the timed part holds nothing but the client.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

HOST = "127.0.0.1"
WARM_UP_SECONDS = 0.15
BATCH = 20
"""Calls between two looks at the clock."""


class Calls(NamedTuple):
    """One client, connected: what one operation of each kind is."""

    put: Callable[[], int]
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

    def cycle() -> bytes:
        put()
        send(b"reserve-with-timeout 0\r\n")
        reply = receive(65536)
        start = reply.index(b"\n") + 1
        while len(reply) < start + size:
            more = receive(65536)
            if not more:
                raise SystemExit("raw sockets: the server closed the connection")
            reply += more
        send(b"delete %b\r\n" % reply[9 : reply.index(b" ", 9)])
        if receive(65536) != b"DELETED\r\n":
            raise SystemExit("raw sockets: the job was not deleted")
        return reply[start:-2]

    return Calls(put, cycle, connection.close)


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

    return Calls(put, cycle, client.close)


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

    return Calls(put, cycle, client.close)


CLIENTS = {"raw": connect_raw, "greenstalk": connect_greenstalk, "beanrow": connect_beanrow}


def check(calls: Calls, body: bytes) -> None:
    """Stop unless the client does what it is measured for."""
    for _ in range(2):
        if calls.cycle() != body:
            raise SystemExit("the body that was reserved is not the one that was put")
    first, second = calls.put(), calls.put()
    if not 0 < first < second:
        raise SystemExit(f"the ids of two puts do not rise: {first}, {second}")


def server_cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, all its threads, to the nanosecond.

    The clock's number is what clock_getcpuclockid(3) makes of a pid; Python does not offer it.
    """
    return time.clock_gettime((~pid << 3) | 2)


def repeat(call: Callable[[], object], most_calls: int, most_seconds: float) -> int:
    """Call until one of the two limits; gives the number of calls."""
    end, calls = time.perf_counter() + most_seconds, 0
    while calls < most_calls and time.perf_counter() < end:
        for _ in itertools.repeat(None, BATCH):
            call()
        calls += BATCH
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.caller")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("operation", choices=["put", "cycle"])
    parser.add_argument("body", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int, help="of the server")
    parser.add_argument("most_calls", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()

    body = b"x" * options.body
    calls = CLIENTS[options.client](options.port, body)
    check(calls, body)
    call = calls.put if options.operation == "put" else calls.cycle
    repeat(call, options.most_calls // 4, WARM_UP_SECONDS)
    server_began = server_cpu(options.pid)
    began, cpu_began = time.perf_counter(), time.process_time()
    ops = repeat(call, options.most_calls, options.seconds)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    server = server_cpu(options.pid) - server_began
    calls.close()
    print(f"ops={ops} seconds={seconds:.6f} cpu={cpu:.6f} server_cpu={server:.6f}")


if __name__ == "__main__":
    main()
