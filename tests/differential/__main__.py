"""Compare our server with the real daemon: ``python -m tests.differential --seeds 0:50``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential.run import Difference, run_gateway, run_seed
from tests.differential.shorten import explained


def seeds(text: str) -> range:
    """Read ``17`` as that one seed and ``0:50`` as the seeds from 0 to 49."""
    first, colon, end = text.partition(":")
    return range(int(first), int(end) if colon else int(first) + 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=range(50), metavar="A:B")
    parser.add_argument("--steps", type=int, default=2000, help="steps a seed (default 2000)")
    parser.add_argument("--journal", action="store_true", help="both servers keep their jobs")
    parser.add_argument("--gateway", action="store_true", help="a gateway over Redis instead")
    options = parser.parse_args()
    start, steps, replies = time.monotonic(), 0, 0
    for seed in options.seeds:
        try:
            if options.gateway:
                result = run_gateway(seed, options.steps)
            else:
                result = run_seed(seed, options.steps, kept=options.journal)
        except Difference as difference:
            if options.gateway:
                print(f"seed {seed}:\n{difference}")  # noqa: T201
                return 1
            print(explained(difference, seed, options.steps, kept=options.journal))  # noqa: T201
            return 1
        steps += result.steps
        replies += result.replies
    seconds = time.monotonic() - start
    print(  # noqa: T201
        f"{len(options.seeds)} seeds, {steps} steps, {replies} replies: no difference "
        f"({steps / seconds:.0f} steps/s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
