"""The keeper: touches the jobs of the slots before their ttr runs out.

Laws:
- A job goes on over the connection that holds it, and only while its function runs: the
  line's turn is free then, and the keeper passes over a line that is in conversation.
- The ttr is the producer's; RESERVED does not tell it. The server is asked once of a job
  that has run for a fifth of a second, the shortest ttr being one second.
- When a touch is refused or the connection is gone, so is the lease, and the run is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from beanrow.errors import BeanstalkError, NotFoundError
from beanrow.protocol import commands
from beanrow.worker.outcome import TimeLimitExceeded

if TYPE_CHECKING:
    from beanrow.worker.line import Line
    from beanrow.worker.run import Run

__all__ = ["TICK", "Keeper", "Kept", "keep"]

TICK = 0.2
"""Seconds between two looks. A look at a slot that needs nothing costs a microsecond."""


class Kept(Protocol):
    """A slot, as its keeper sees it: ``run`` is the job under way."""

    run: Run | None

    def keep(self, run: Run) -> None:
        """Touch this job if it is time to."""


class Keeper(threading.Thread):
    """Keeps the jobs of these slots until it is stopped.

    ``on_limit(run)`` is called once for a run past its soft limit, ``on_hard_limit(slot, run)``
    once past its hard one.
    """

    def __init__(
        self,
        slots: Iterable[Kept],
        on_limit: Callable[[Run], object],
        on_hard_limit: Callable[[Any, Run], object],
    ) -> None:
        super().__init__(name="beanrow-keeper", daemon=True)
        self._slots = slots
        self._on_limit = on_limit
        self._on_hard_limit = on_hard_limit
        self._over = threading.Event()

    def stop(self) -> None:
        """Have the thread end at its next look."""
        self._over.set()

    def run(self) -> None:
        """Look at all slots again and again."""
        while not self._over.wait(TICK):
            for slot in list(self._slots):
                run = slot.run
                if run is not None:
                    self._look(slot, run)

    def _look(self, slot: Kept, run: Run) -> None:
        age, limits = time.monotonic() - run.began, run.task.limits
        if limits.hard is not None and age > limits.hard and not run.abandoned:
            self._on_hard_limit(slot, run)
            return
        if limits.soft is not None and age > limits.soft and not run.limited:
            run.limited = True
            self._on_limit(run)
        if not run.lease_lost and not run.abandoned and age > TICK / 2:
            slot.keep(run)


def keep(
    run: Run, line: Line, still_runs: Callable[[], bool], held: Callable[[], tuple[int, ...]]
) -> None:
    """Touch this job over its line if it is time to, and the others of its batch.

    Note it if the lease is gone; that of another one shows when its end is said.
    """
    if time.monotonic() < run.touch_at or not line.turn.acquire(False):
        return
    try:
        # Looked at under the turn: a run that is over has said its end, or is about to.
        if not still_runs():
            return
        try:
            ids = [run.id, *(one for one in held() if one != run.id)]
            if run.ttr == 0:
                _learn_ttr(run, line, ids)
            told, *_ = line.exchange_now([commands.touch(one) for one in ids])
            if isinstance(told, BeanstalkError):
                raise told
        except NotFoundError:
            run.lose()
        except BeanstalkError:
            if line.closed:
                run.lose()
        else:
            run.touch_at = line.said_at + pause(run.ttr, line.heard_at - line.said_at)
    finally:
        line.turn.release()


def _learn_ttr(run: Run, line: Line, ids: list[int]) -> None:
    """Ask for the ttr of a job, or for the shortest of several."""
    if run.stats is not None and len(ids) == 1:
        run.ttr = run.stats.ttr
        return
    told = line.exchange_now([commands.stats_job(one) for one in ids])
    if isinstance(told[0], BeanstalkError):
        raise told[0]
    run.stats = told[0]
    run.ttr = min(one.ttr for one in told if not isinstance(one, BeanstalkError))


def pause(ttr: int, trip: float) -> float:
    """Tell how long after a touch the next one is sent, all in seconds.

    Half the ttr, less where a round trip takes long.
    """
    return max(min(ttr / 2, ttr - 4 * trip - TICK), 0.05)


def limit_error(run: Run, hard: bool) -> TimeLimitExceeded:
    """Say which limit a run is past."""
    limits = run.task.limits
    return TimeLimitExceeded(f"longer than {limits.hard if hard else limits.soft:g} s")
