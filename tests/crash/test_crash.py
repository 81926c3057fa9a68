"""kill -9 under load, again and again: nothing acknowledged is lost, nothing deleted returns."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.crash.ledger import Ledger, Load, check
from tests.servers import OurServer

FRAGILE = "tests.crash.fragile"


def crash_loop(
    directory: Path, rounds: int, *flags: str, module: str = "beanrow.server", **environment: str
) -> tuple[Ledger, str]:
    """Load a server, kill it, begin again and compare, so many times; what it told at last."""
    seed = random.randrange(1 << 32)
    chance, ledger, told = random.Random(seed), Ledger(), ""
    variables = {**os.environ, **environment}
    for number in range(rounds + 1):
        with OurServer(
            "-b", str(directory), *flags, environment=variables, module=module
        ) as server:
            faults = check(server, ledger, whole=number == rounds)
            assert not faults, f"round {number}, seed {seed}: {faults[:10]}\n{server.told()}"
            if number < rounds:
                load = Load(server, ledger, chance.randrange(1 << 32))
                time.sleep(chance.uniform(0.05, 0.4))  # of load
                os.kill(server.pid, signal.SIGKILL)
                load.join()
            told += server.told()
    assert len(ledger.puts) > 30 * rounds, f"only {len(ledger.puts)} puts: too little was tried"
    assert len(ledger.deleted) > 5 * rounds
    return ledger, told


def test_a_few_crashes(tmp_path: Path) -> None:
    crash_loop(tmp_path, 3)


def test_a_few_power_cuts(tmp_path: Path) -> None:
    crash_loop(tmp_path, 3, module=FRAGILE)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("policy", ["always", "50", "never"])
def test_fifty_crashes(tmp_path: Path, policy: str) -> None:
    crash_loop(tmp_path, 50, "--fsync", policy)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_power_cuts(tmp_path: Path) -> None:
    crash_loop(tmp_path, 50, module=FRAGILE)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_power_cuts_with_small_files(tmp_path: Path) -> None:
    """Segments come and go, and compaction works, all the time."""
    crash_loop(tmp_path, 50, "-s", "400000", module=FRAGILE)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_power_cuts_of_a_disk_that_fails(tmp_path: Path) -> None:
    _, told = crash_loop(tmp_path, 50, "-s", "400000", module=FRAGILE, FAIL_ONE_IN="40")
    assert "the journal can be written again" in told


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_power_cuts_of_a_full_disk(tmp_path: Path) -> None:
    _, told = crash_loop(tmp_path, 50, "-s", "400000", module=FRAGILE, CAPACITY="900000")
    assert "puts are answered OUT_OF_MEMORY" in told
