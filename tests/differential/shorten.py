"""The shortest conversation that still shows a difference."""

from __future__ import annotations

import re
import time

from beanrow.engine.engine import Engine
from tests.differential.conversation import NextPhase, Send, Step
from tests.differential.run import Difference, run_steps

_SECONDS = 20.0


def explained(found: Difference, seed: int, steps: int, *, kept: bool = False) -> str:
    """Say what differs, in as few steps as can be found, and how to repeat it.

    One that is timed or with journals is told whole: to try it again and again takes too long.
    """
    timed = kept or any(isinstance(step, NextPhase) for step in found.steps)
    shortest = found if timed else shorten(found, Engine, _SECONDS)
    return (
        f"seed {seed} differs at step {len(found.steps)}. "
        f"{'All' if timed else 'The shortest way to it found,'} {len(shortest.steps)} steps:\n\n"
        f"{shortest}\n\nto repeat it:\n"
        f"    make simulate SEEDS={seed}\n"
        f"    python -m tests.differential --seeds {seed} --steps {steps}"
        + (" --journal" if kept else "")
    )


def shorten(found: Difference, engine_class: type[Engine], seconds: float) -> Difference:
    """Leave out steps, then lines, in ever smaller runs, as long as the same server differs.

    Takes up to so many seconds; gives the shortest difference found by then.
    """
    end = time.monotonic() + seconds
    for whole in (True, False):
        parts = found.steps if whole else _lines(found.steps)
        size = len(parts)
        while size > 1 and time.monotonic() < end:
            size = (size + 1) // 2
            place = len(parts)
            while place > 0 and time.monotonic() < end:
                place = min(place, len(parts)) - size
                fewer = parts[: max(place, 0)] + parts[place + size :]
                shorter = _difference(fewer, found.by_daemon, engine_class)
                if shorter is not None:
                    found, parts = shorter, shorter.steps if whole else fewer
    return found


def _lines(steps: list[Step]) -> list[Step]:
    """The same bytes with a step for each line."""
    parts: list[Step] = []
    for step in steps:
        if isinstance(step, Send):
            lines = re.findall(rb".*?\r\n|.+$", b"".join(step.pieces), re.DOTALL)
            parts += [Send(step.connection, (line,)) for line in lines]
        else:
            parts.append(step)
    return parts


def _difference(
    steps: list[Step], by_daemon: bool, engine_class: type[Engine]
) -> Difference | None:
    try:
        run_steps(steps, engine_class, daemon=by_daemon, ours=not by_daemon)
    except Difference as difference:
        return difference
    return None
