"""Ten threads that put at the same time, one connection each.

Law: the threads live from the check to the end and begin together, so that none of them opens its
connection in the timed part.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from bench.callers.caller import Meter, Order, repeat, run
from bench.callers.one_by_one import CLIENTS

THREADS = 10
SHARED = frozenset({"beanrow"})
"""Clients of which all threads use one object, as it gives each thread a connection."""


class Threads:
    """A session whose work is done by all threads together."""

    def __init__(self, order: Order) -> None:
        body = b"x" * order.body
        clients = 1 if order.client in SHARED else THREADS
        self._calls = [CLIENTS[order.client](order.port, body) for _ in range(clients)]
        self._puts = [calls.put for calls in self._calls] * (THREADS // clients)
        self._begin = threading.Barrier(THREADS + 1)
        self._pool = ThreadPoolExecutor(THREADS)

    def check(self) -> None:
        """Stop unless each thread puts a job of its own."""
        begin = threading.Barrier(THREADS)  # none ends before all have begun: each has its thread

        def put_some(number: int) -> list[int]:
            begin.wait()
            return [self._puts[number]() for _ in range(10)]

        ids = [job_id for some in self._pool.map(put_some, range(THREADS)) for job_id in some]
        if len(set(ids)) != 10 * THREADS:
            raise SystemExit("two puts have one id: a reply went to the wrong thread")

    def work(self, seconds: float, most_ops: int, meter: Meter) -> int:
        def put_on(number: int) -> int:
            self._begin.wait()
            return repeat(self._puts[number], seconds, most_ops // THREADS)

        done = [self._pool.submit(put_on, number) for number in range(THREADS)]
        with meter:
            self._begin.wait()
            return sum(one.result() for one in done)

    def close(self) -> None:
        self._pool.shutdown()
        for calls in self._calls:
            calls.close()


if __name__ == "__main__":
    run(Threads)
