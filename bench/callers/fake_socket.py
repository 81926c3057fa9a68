"""A client's own Python cost: put, reserve and delete over a socket that has no kernel behind it.

Laws:
- The fake answers a send with a ready-made reply at the next read, through whatever way of
  reading the client chose: recv, recv_into, or a file made by makefile (which goes through the
  standard library's SocketIO, as with a real socket).
- It gives the whole reply at once, however little is asked for. That flatters pystalk, which would
  need two reads for a job, and costs nobody a comparison.
- The lowest of many short runs is the figure, and of CPU time, not of the clock on the wall:
  nothing but noise makes Python code slower.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import socket
import time
import unittest.mock
from collections.abc import Callable, Iterator
from typing import Any

from bench.callers.one_by_one import CLIENTS

BODY = b"x" * 64
CALLS = 200
RUNS = 300
STATS = b"---\nmax-job-size: 65535\n"  # asked once, before the first put
REPLIES = {
    b"pu": b"INSERTED 1\r\n",
    b"re": b"RESERVED 1 64\r\n" + BODY + b"\r\n",
    b"de": b"DELETED\r\n",
    b"st": b"OK %d\r\n%b\r\n" % (len(STATS), STATS),
}


class FakeSocket:
    """As much of a connected socket as a client needs; takes any option and any timeout."""

    family = socket.AF_INET

    def __init__(self, *_args: object, **_options: object) -> None:
        self._reply = b""

    def connect(self, _place: object) -> None:
        """There is nothing to connect to."""

    def sendall(self, data: bytes) -> None:
        self._reply = REPLIES[data[:2]]

    def send(self, data: bytes) -> int:
        self._reply = REPLIES[data[:2]]
        return len(data)

    def recv(self, _most: int, flags: int = 0) -> bytes:
        if flags:
            raise BlockingIOError  # a look whether anything came unasked
        return self._reply

    def recv_into(self, buffer: memoryview) -> int:
        reply = self._reply
        buffer[: len(reply)] = reply
        return len(reply)

    def makefile(self, _mode: str) -> io.BufferedReader:
        reader: Any = socket.SocketIO(self, "r")  # type: ignore[arg-type]
        return io.BufferedReader(reader)

    def _decref_socketios(self) -> None:
        """Called by SocketIO when it is closed."""

    def setsockopt(self, *_option: object) -> None:
        """Every option is fine."""

    def settimeout(self, _seconds: float | None) -> None:
        """Nothing here ever waits."""

    def close(self) -> None:
        """There is nothing to close."""


@contextlib.contextmanager
def without_kernel(kind: type[FakeSocket] = FakeSocket) -> Iterator[None]:
    """Have every socket that is opened be a fake one."""
    with unittest.mock.patch.object(socket, "socket", kind):
        yield


def fake_socket_cost(client: str) -> float:
    """Microseconds of put + reserve + delete of that client, the fake's own cost included."""
    with without_kernel():
        calls = CLIENTS[client](1, BODY)
        if calls.put() != 1 or calls.cycle() != BODY:
            raise SystemExit(
                f"{client}: the fake socket and the client do not understand each other"
            )
        cost = lowest_us(calls.cycle)
        calls.close()
    return cost


def own_cost() -> float:
    """Microseconds that the fake itself takes of a cycle: three sends and three reads."""
    fake = FakeSocket()

    def cycle() -> None:
        fake.send(b"put")
        fake.recv(65536)
        fake.send(b"reserve")
        fake.recv(65536)
        fake.send(b"delete")
        fake.recv(65536)

    return lowest_us(cycle)


def lowest_us(call: Callable[[], object]) -> float:
    lowest = float("inf")
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in itertools.repeat(None, CALLS):
            call()
        lowest = min(lowest, time.thread_time() - began)
    return lowest / CALLS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.callers.fake_socket")
    parser.add_argument("client", choices=CLIENTS)
    options = parser.parse_args()
    print(f"cost_us={fake_socket_cost(options.client):.4f} fake_us={own_cost():.4f}")


if __name__ == "__main__":
    main()
