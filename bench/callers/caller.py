"""The process that is measured: one client, one kind of work, one result line.

Laws:
- One fresh process per run: what the heap and the caches have seen before changes a client's
  cost. aiostalk shows it most: in a fresh process each of its replies costs an mmap, and one more
  import can end that by chance.
- So nothing is imported but what the run needs, and arguments are read without argparse.
- The calls are those of an ordinary user; what they answer is checked before the timed part, so
  that the timed part holds nothing but the client.
- Bounded by seconds and by operations, the warm-up too.
"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

HOST = "127.0.0.1"
WARM_UP_SECONDS = 0.15
BATCH = 20
"""Calls between two looks at the clock."""
PATIENCE = 5.0
"""What is prepared between timed parts may make a run so many times longer."""


class Order(NamedTuple):
    """What the parent asks for. ``begin`` is a time of time.perf_counter; 0: at once."""

    client: str
    operation: str
    body: int
    port: int
    server_pid: int
    most_ops: int
    seconds: float
    begin: float


class Meter:
    """What the timed parts took, added up: by the clock on the wall, and of CPU."""

    def __init__(self, server_pid: int) -> None:
        # The number that clock_getcpuclockid(3) makes of a pid; Python does not offer it. It
        # counts all threads, to the nanosecond.
        self._server_clock = (~server_pid << 3) | 2
        self.seconds = self.cpu = self.server_cpu = 0.0
        self.faults = 0

    def __enter__(self) -> None:
        self._add(-1)

    def __exit__(self, *_error: object) -> None:
        self._add(1)

    def _add(self, sign: int) -> None:
        self.server_cpu += sign * time.clock_gettime(self._server_clock)
        self.faults += sign * resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.cpu += sign * time.process_time()
        self.seconds += sign * time.perf_counter()


class Session(Protocol):
    """One client, connected, and its work."""

    def check(self) -> None:
        """Stop unless the client does what it is measured for."""

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        """Work until one of the two limits, metered; gives the number of operations."""

    def close(self) -> None:
        """Close what is open."""


def repeat(call: Callable[[], object], seconds: float, most_ops: int) -> int:
    """Call until one of the two limits; gives the number of calls."""
    end, calls = time.perf_counter() + seconds, 0
    while calls < most_ops and time.perf_counter() < end:
        for _ in itertools.repeat(None, BATCH):
            call()
        calls += BATCH
    return calls


def read_order(words: list[str]) -> Order:
    client, operation, body, port, server_pid, most_ops, seconds, begin = words
    numbers = (int(body), int(port), int(server_pid), int(most_ops))
    return Order(client, operation, *numbers, float(seconds), float(begin))


def run(connect: Callable[[Order], Session]) -> None:
    """Carry out the order on the command line, and print what it took."""
    order = read_order(sys.argv[1:])
    session, meter = connect(order), Meter(order.server_pid)
    session.check()
    session.work(WARM_UP_SECONDS, order.most_ops // 4, Meter(order.server_pid))
    if order.begin:
        _wait_until(order.begin)
    ops = session.work(order.seconds, order.most_ops, meter)
    session.close()
    print(
        f"ops={ops} seconds={meter.seconds:.6f} cpu={meter.cpu:.6f}"
        f" server_cpu={meter.server_cpu:.6f} faults={meter.faults}"
    )


def _wait_until(begin: float) -> None:
    """Wait for the moment at which several processes begin together."""
    left = begin - time.perf_counter()
    if left < 0:
        raise SystemExit(f"{-left:.2f} s too late to begin with the others; is the machine busy?")
    time.sleep(left)
