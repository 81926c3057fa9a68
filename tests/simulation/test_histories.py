"""The engine lives through random histories as the model says; engines with a bug do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from beanrow.engine.engine import Engine
from tests.simulation.__main__ import STEPS, command
from tests.simulation.bugs import BUGS
from tests.simulation.simulation import WEIGHTS, HistoryError, Simulation


def live(first: int, count: int) -> None:
    for seed in range(first, first + count):
        try:
            Simulation(seed).run(STEPS)
        except HistoryError as error:
            pytest.fail(f"{error}\nto repeat it:\n    {command(seed, STEPS)}", pytrace=False)


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_histories(first: int) -> None:
    live(first, 40)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1000, 3000, 500))
def test_two_thousand_histories(first: int) -> None:
    live(first, 500)


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[Engine]) -> None:
    for seed in range(300):
        try:
            Simulation(seed, bug).run(STEPS)
        except HistoryError:
            return
    pytest.fail(f"{bug.__name__} lived through 300 histories unnoticed")


def replies_in(seed: int) -> list[tuple[str, bytes]]:
    """Which command got which word for an answer, in the order of one history."""
    heard: list[tuple[str, bytes]] = []
    Simulation(
        seed,
        heard=lambda request, reply: heard.append((type(request).__name__, reply.split()[0])),
    ).run(STEPS)
    return heard


def test_a_history_follows_from_its_seed() -> None:
    assert replies_in(7) == replies_in(7) != replies_in(8)


def test_histories_go_far() -> None:
    """Where little happens nothing is found: every command, and its rarer replies, many times."""
    seen = [pair for seed in range(40) for pair in replies_in(seed)]
    assert {name for name, _ in seen} == {kind.__name__ for kind in WEIGHTS} - {"Quit"}
    for pair in (
        ("Put", b"DRAINING"),
        ("Reserve", b"DEADLINE_SOON"),
        ("ReserveWithTimeout", b"DEADLINE_SOON"),
        ("ReserveWithTimeout", b"TIMED_OUT"),
        ("ReserveJob", b"RESERVED"),
        ("Release", b"RELEASED"),
        ("Bury", b"BURIED"),
        ("KickJob", b"KICKED"),
        ("Touch", b"TOUCHED"),
        ("Ignore", b"NOT_IGNORED"),
        ("PeekReady", b"FOUND"),
        ("PeekDelayed", b"FOUND"),
        ("PeekBuried", b"FOUND"),
        ("StatsTube", b"NOT_FOUND"),
        ("Resume", b"RESUMED"),
        ("Resume", b"NOT_FOUND"),
    ):
        assert seen.count(pair) >= 10, pair


PROGRAM = """
import sys
from tests.simulation import __main__ as program
from tests.simulation.bugs import UrgentMiscounted
from tests.simulation.simulation import Simulation
program.Simulation = lambda seed: Simulation(seed, UrgentMiscounted)
sys.exit(program.main())
"""


def test_the_program_tells_how_to_repeat_what_it_found() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--seeds", "0:300", "--steps", "200"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    repeat = run.stdout.splitlines()[-1]
    assert "-m tests.simulation --seeds " in repeat
    assert repeat.endswith(" --steps 200")
