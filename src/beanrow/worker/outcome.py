"""How a run of a job ends, said by the function itself: the protocol's verbs as exceptions.

Returning deletes the job. These say something else; any other exception goes to the task's
retry policy.
"""

from __future__ import annotations

from beanrow.protocol.values import Duration, priority_number, seconds

__all__ = [
    "Bury",
    "LeaseLost",
    "Outcome",
    "Release",
    "TaskFailed",
    "TimeLimitExceeded",
    "UnreadableBody",
]


class Outcome(Exception):
    """What a function raises to choose the protocol's verb for its job."""


class Release(Outcome):
    """Put the job back, ready after ``delay`` seconds; ``priority`` None keeps its own.

    The server counts it as an attempt.
    """

    def __init__(self, delay: Duration = 0, *, priority: int | None = None) -> None:
        self.delay: int = seconds(delay, "delay")
        self.priority: int | None = None if priority is None else priority_number(priority)
        super().__init__(f"release in {self.delay} s")


class Bury(Outcome):
    """Set the job aside until somebody kicks it; ``why`` goes to the log and to the hooks."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        super().__init__(why or "the task asked for it")


class LeaseLost(Exception):
    """The server has given the job to another worker, or will: stop, nothing is acknowledged.

    Raised by ``current_job().check()``. In an ``async def`` task the run is cancelled as well.
    """


class TimeLimitExceeded(Exception):
    """The run took longer than the task's ``time_limit`` or ``hard_time_limit``."""


class UnreadableBody(Exception):
    """The body does not hold the arguments of the task; its cause says what is wrong."""


class TaskFailed(Exception):
    """A submitted job was given up; ``kind`` is the name of what its last attempt raised."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(f"{kind}: {text}" if kind else text)
        self.kind = kind
