"""When a failed job is tried again: a pure decision from the attempt and the error.

Law: no clock, no state, no random source. The spread that jitter needs is handed in; the
worker takes it from the job's id and its attempt, so that the same failure decides the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

from beanrow.errors import BadTypeError, BadValueError
from beanrow.protocol.values import MAX_UINT32, Duration, seconds, whole_number

__all__ = ["NEVER", "Decision", "Retry", "RetryPolicy", "checked_policy", "decide", "spread_of"]

Decision: TypeAlias = Callable[[int, BaseException], "Duration | None"]
"""Own policy: from the attempt that failed (1 is the first) and its error to the delay of the
next in seconds, or None for no next one."""


def _plain(duration: Duration) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


class Retry:
    """So many attempts in all, with a pause before each but the first.

    ``delay`` is the first pause in seconds, ``factor`` what each next one is multiplied by,
    up to ``most``; ``jitter`` (0 to 1) is the share of a pause that is left to chance, so
    that jobs that failed together do not come back together. ``on``: only for these
    exceptions, others are not tried again. Pauses are rounded up to whole seconds.
    """

    __slots__ = ("attempts", "delay", "factor", "jitter", "most", "on")

    def __init__(
        self,
        attempts: int = 5,
        *,
        delay: Duration = 10,
        factor: float = 1.0,
        most: Duration = 3600,
        jitter: float = 0.0,
        on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> None:
        if not whole_number(attempts, "attempts"):
            raise BadValueError("attempts 0: the first run is an attempt too; give 1 or more")
        if not factor >= 1:
            raise BadValueError(f"factor {factor} is less than 1: pauses would shrink")
        if not 0 <= jitter <= 1:
            raise BadValueError(f"jitter {jitter} is not in 0..1")
        seconds(delay, "delay")
        self.attempts: int = attempts
        self.delay: float = _plain(delay)
        self.factor: float = factor
        self.most: float = float(seconds(most, "most"))
        self.jitter: float = jitter
        self.on: type[BaseException] | tuple[type[BaseException], ...] = on

    @classmethod
    def exponential(
        cls,
        attempts: int = 8,
        *,
        first: Duration = 1,
        most: Duration = 3600,
        on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> Retry:
        """Double the pause each time, half of it left to chance."""
        return cls(attempts, delay=first, factor=2.0, most=most, jitter=0.5, on=on)

    def pause(self, attempt: int, error: BaseException, spread: float = 0.0) -> float | None:
        """Give the pause after this failed attempt, or None if it was the last one.

        ``spread`` from 0 to 1 places it within what is left to chance.
        """
        if attempt >= self.attempts or not isinstance(error, self.on):
            return None
        # In the exponent's place, 2.0**2000 would be an OverflowError.
        pause = self.delay * self.factor ** min(attempt - 1, 200)
        return min(pause, self.most) * (1 - self.jitter * spread)

    def __repr__(self) -> str:
        return f"Retry({self.attempts}, delay={self.delay:g}, factor={self.factor:g})"


RetryPolicy: TypeAlias = Retry | Decision | Sequence["Retry"]
"""A policy, a function of one's own, or several policies of which the first whose ``on`` fits
the error decides."""

NEVER = Retry(1)
"""What a task has that asked for nothing: a job that failed is set aside and not run again."""


def decide(policy: RetryPolicy, attempt: int, error: BaseException, spread: float) -> float | None:
    """Give the pause before the next attempt in seconds, or None for no next one."""
    if isinstance(policy, Retry):
        return policy.pause(attempt, error, spread)
    if callable(policy):
        told = policy(attempt, error)
        return None if told is None else float(seconds(told, "the delay of a retry policy"))
    for one in policy:
        if isinstance(error, one.on):
            return one.pause(attempt, error, spread)
    return None


def checked_policy(policy: RetryPolicy | None) -> RetryPolicy:
    """Check what was given as a task's retry policy."""
    if policy is None:
        return NEVER
    if isinstance(policy, Retry) or callable(policy):
        return policy
    if isinstance(policy, Sequence) and policy and all(isinstance(one, Retry) for one in policy):
        return tuple(policy)
    raise BadTypeError(
        f"retry is a Retry, a function of attempt and error, or several Retry: {policy!r}"
    )


def spread_of(job_id: int, attempt: int) -> float:
    """Give a number from 0 to 1 that looks like chance and is the same for the same attempt."""
    return (job_id * 0x9E3779B1 + attempt * 0x85EBCA77) % (MAX_UINT32 + 1) / MAX_UINT32
