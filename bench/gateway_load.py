"""The load of the gateways' benchmark: connections that put, reserve and delete, each in a tube.

One process, asyncio, one command in flight on each connection. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

PORTS = [int(port) for port in sys.argv[1].split(",")]
CONNECTIONS, TUBES = int(sys.argv[2]), int(sys.argv[3])
WARM_UP, SECONDS = 1.0, float(sys.argv[4])
PUT = b"put 1024 0 120 100\r\n" + b"x" * 100 + b"\r\n"
RESERVE = b"reserve-with-timeout 5\r\n"


class Load(asyncio.Protocol):
    """One connection; counts what is answered, and how long puts take."""

    def __init__(self, number: int) -> None:
        self.tube = number % TUBES
        self.done = 0
        self.left_to_set_up = 3
        self.waits: list[float] = []
        self.buffer = b""
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        tube = b"bench-%d" % self.tube
        transport.write(b"use %b\r\nwatch %b\r\nignore default\r\n" % (tube, tube))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.left_to_set_up:
            self.left_to_set_up -= self.buffer.count(b"\r\n")
            self.buffer = b""
            if not self.left_to_set_up:
                self.put()
            return
        if self.buffer.startswith(b"RESERVED"):
            if self.buffer.count(b"\r\n") < 2:
                return
            self.transport.write(b"delete %b\r\n" % self.buffer.split(b" ", 2)[1])
        elif self.buffer.startswith(b"INSERTED"):
            self.waits.append(time.perf_counter() - self.sent)
            self.transport.write(RESERVE)
        elif self.buffer == b"DELETED\r\n":
            self.put()
        else:
            sys.exit(f"unexpected reply: {self.buffer!r}")
        self.buffer = b""
        self.done += 1

    def put(self) -> None:
        if self.stopping:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(PUT)


async def main() -> None:
    loop = asyncio.get_running_loop()
    loads = [Load(number) for number in range(CONNECTIONS)]
    for number, load in enumerate(loads):
        port = PORTS[number % len(PORTS)]
        await loop.create_connection(lambda load=load: load, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(WARM_UP)
    print("begin", flush=True)
    for load in loads:
        load.done = 0
        load.waits.clear()
    begun = time.perf_counter()
    await asyncio.sleep(SECONDS)
    seconds = time.perf_counter() - begun
    waits = sorted(wait for load in loads for wait in load.waits)
    result = {
        "ops": sum(load.done for load in loads),
        "seconds": seconds,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[len(waits) * 99 // 100] * 1e3,
    }
    print(json.dumps(result), flush=True)
    for load in loads:
        load.stopping = True
    await asyncio.sleep(1.0)


asyncio.run(main())
