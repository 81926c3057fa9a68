"""The process that puts: so many jobs one by one or in bulk, or a few at random moments.

One line of `name=value` words: how many jobs, and in how many seconds.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time

GAPS = (0.05, 0.15)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("way", choices=["loop", "nap", "bulk", "light"])
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    peer = importlib.import_module(options.module)
    peer.put(-1, time.monotonic_ns())  # connected, and warm
    calls = [(id, time.monotonic_ns()) for id in range(options.count)]
    began = time.perf_counter()
    if options.way == "bulk":
        peer.bulk(calls)
    elif options.way == "loop" and hasattr(peer, "loop"):
        peer.loop(calls)
    elif options.way == "light":
        for id, _ in calls:
            time.sleep(random.uniform(*GAPS))
            peer.put(id, time.monotonic_ns())
    else:
        put = peer.put_nap if options.way == "nap" else peer.put
        for call in calls:
            put(*call)
    print(f"jobs={options.count} seconds={time.perf_counter() - began:.6f}")


if __name__ == "__main__":
    main()
