"""Live through random histories, each seed without and with a journal: ``python -m tests.simulation --seeds 0:1000``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential.__main__ import seeds
from tests.simulation.kept import KeptSimulation
from tests.simulation.simulation import HistoryError, Simulation

STEPS = 250


def command(seed: int, steps: int) -> str:
    """The command that repeats a history."""
    return f".venv/bin/python -m tests.simulation --seeds {seed} --steps {steps}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=range(1000), metavar="A:B")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each (default {STEPS})")
    options = parser.parse_args()
    start = time.monotonic()
    for seed in options.seeds:
        try:
            Simulation(seed).run(options.steps)
            KeptSimulation(seed).run(options.steps)
        except HistoryError as error:
            print(f"{error}\nseed {seed} fails; to repeat it:")  # noqa: T201
            print(f"    {command(seed, options.steps)}")  # noqa: T201
            return 1
    count, seconds = 2 * len(options.seeds), time.monotonic() - start
    print(  # noqa: T201
        f"{count} histories, {count * options.steps} steps: nothing found "
        f"({count * options.steps / seconds:.0f} steps/s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
