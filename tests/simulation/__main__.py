"""Random histories of the engine on a virtual clock: ``python -m tests.simulation --seeds 0:500``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential.__main__ import seeds
from tests.simulation.simulation import HistoryError, Simulation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=range(500), metavar="A:B")
    parser.add_argument("--steps", type=int, default=200, help="steps a history (default 200)")
    options = parser.parse_args()
    start = time.monotonic()
    for seed in options.seeds:
        try:
            Simulation(seed).run(options.steps)
        except HistoryError as error:
            print(f"{error}\nseed {seed} broke a law; to repeat it:")  # noqa: T201
            print(f"    {parser.prog} --seeds {seed} --steps {options.steps}")  # noqa: T201
            return 1
    seconds, count = time.monotonic() - start, len(options.seeds)
    print(f"{count} histories of {options.steps} steps: no law broken ({seconds:.0f} s)")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
