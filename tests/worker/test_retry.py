"""Retry policies: pure decisions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from beanrow import BadTypeError, BadValueError, Retry
from beanrow.worker.retry import NEVER, checked_policy, decide, spread_of

ERROR = ValueError("x")


def pauses(policy: Retry, spread: float = 0.0) -> list[float | None]:
    return [decide(policy, attempt, ERROR, spread) for attempt in range(1, 7)]


def test_fixed_pauses_until_the_attempts_are_used_up() -> None:
    assert pauses(Retry(3, delay=timedelta(seconds=10))) == [10, 10, None, None, None, None]
    assert decide(NEVER, 1, ERROR, 0.0) is None


def test_exponential_pauses_with_half_left_to_chance() -> None:
    assert pauses(Retry.exponential(6, first=1, most=6)) == [1, 2, 4, 6, 6, None]
    assert pauses(Retry.exponential(6, first=1, most=6), 1.0) == [0.5, 1, 2, 3, 3, None]
    assert decide(Retry.exponential(10_000), 5_000, ERROR, 0.0) == 3600


def test_each_exception_may_have_its_own() -> None:
    policy = checked_policy([Retry(9, delay=1, on=OSError), Retry(2, delay=5, on=ValueError)])
    assert decide(policy, 3, TimeoutError(), 0.0) == 1
    assert decide(policy, 1, ERROR, 0.0) == 5
    assert decide(policy, 2, ERROR, 0.0) is None
    assert decide(policy, 1, KeyError(), 0.0) is None
    assert Retry(5, on=OSError).pause(1, ERROR) is None


def test_a_function_of_ones_own() -> None:
    def policy(attempt: int, error: BaseException) -> timedelta | None:
        return timedelta(minutes=attempt) if attempt < 3 else None

    assert decide(policy, 2, ERROR, 0.5) == 120
    assert decide(policy, 3, ERROR, 0.5) is None
    with pytest.raises(BadValueError, match="the delay of a retry policy"):
        decide(lambda attempt, error: -1, 1, ERROR, 0.0)


def test_the_spread_of_many_jobs_is_even() -> None:
    spreads = sorted(spread_of(job_id, 1) for job_id in range(1000))
    assert spreads[0] >= 0
    assert spreads[-1] <= 1
    assert all(abs(spread - place / 1000) < 0.05 for place, spread in enumerate(spreads))
    assert spread_of(7, 2) == spread_of(7, 2) != spread_of(7, 3)


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"factor": 0.5}, {"jitter": 2}])
def test_a_policy_that_makes_no_sense_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(BadValueError):
        Retry(**settings)  # type: ignore[arg-type]
    with pytest.raises(BadTypeError):
        checked_policy([])
