"""How long each of many commands takes, one at a time: put, reserve, delete, on an empty queue.

Law: every single one is timed, so that one that is slow now and then cannot hide in a mean.
"""

from __future__ import annotations

import sys
import time
from itertools import repeat

from bench.callers.caller import read_order
from bench.callers.one_by_one import CLIENTS, Calls

WARM_UP_CYCLES = 1000
SLOW_MS = 30.0
"""Less than the 40 ms of a delayed acknowledgement, more than a busy machine takes."""


def timed(calls: Calls, cycles: int) -> list[float]:
    """Seconds of each command of so many cycles."""
    clock = time.perf_counter
    took: list[float] = []
    for _ in repeat(None, cycles):
        began = clock()
        calls.put()
        put = clock()
        job = calls.reserve()
        reserved = clock()
        calls.delete(job)
        took += (put - began, reserved - put, clock() - reserved)
    return took


def main() -> None:
    order = read_order(sys.argv[1:])
    body = b"x" * order.body
    calls = CLIENTS[order.client](order.port, body)
    if calls.cycle() != body:
        raise SystemExit("the body that was reserved is not the one that was put")
    timed(calls, WARM_UP_CYCLES)
    took = sorted(timed(calls, order.most_ops // 3))
    calls.close()
    slow = sum(seconds * 1000 > SLOW_MS for seconds in took)
    middle, p999 = took[len(took) // 2], took[len(took) * 999 // 1000]
    print(
        f"ops={len(took)} median_ms={middle * 1000:.4f} p999_ms={p999 * 1000:.4f}"
        f" most_ms={took[-1] * 1000:.4f} slow={slow}"
    )


if __name__ == "__main__":
    main()
