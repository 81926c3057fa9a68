"""Histories with a journal keep what was promised; those with a bug in it are found out."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import STEPS, command
from tests.simulation.kept import KeptSimulation
from tests.simulation.kept_bugs import BUGS
from tests.simulation.simulation import HistoryError


def live(first: int, count: int) -> None:
    for seed in range(first, first + count):
        try:
            KeptSimulation(seed).run(STEPS)
        except HistoryError as error:
            pytest.fail(f"{error}\nto repeat it:\n    {command(seed, STEPS)}", pytrace=False)


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_histories(first: int) -> None:
    live(first, 40)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1000, 3000, 500))
def test_two_thousand_histories(first: int) -> None:
    live(first, 500)


@pytest.mark.long
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    with BUGS[name]():
        for seed in range(600):
            try:
                KeptSimulation(seed).run(STEPS)
            except HistoryError:
                return
    pytest.fail(f"{name} lived through 600 histories unnoticed")


def test_histories_go_far() -> None:
    """Where little happens nothing is found: all ways to end, all policies, many restarts."""
    told = [line.split(" ", 1)[1] for seed in range(100) for line in story(seed)]
    for words, least in (
        ("kill", 30),
        ("power", 60),
        ("    in the middle of an operation", 50),
        ("stop", 30),
        ("begins again", 200),
        ("the journal can be written again", 10),
        ("the journal has room again: puts are taken", 2),
        ("the wall clock is set forward", 10),
    ):
        assert told.count(words) >= least, (words, told.count(words))
    assert sum(line.startswith("no room for the journal") for line in told) >= 4


def story(seed: int) -> list[str]:
    simulation = KeptSimulation(seed)
    simulation.run(STEPS)
    return simulation._story
