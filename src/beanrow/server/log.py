"""What a running server tells of itself, on stderr: for people, or as JSON for machines.

Laws:
- A line is one event, whole, and never holds a token or the body of a job.
- Telling must not end the server: a log that cannot be written to is given up for that line.
"""

from __future__ import annotations

import json
import sys
import traceback
from datetime import UTC, datetime
from typing import Literal, TextIO

__all__ = ["Level", "Log"]

Level = Literal["info", "warning", "error"]


class Log:
    """Writes lines ``beanrow: message``, or with ``as_json`` one object a line.

    The keys of such an object are ``time`` (UTC), ``level``, ``event`` (a fixed word for
    each kind), ``message`` (what a person reads) and those of the event.
    """

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self._as_json = as_json
        self._out = out

    def tell(
        self, event: str, message: str, *, level: Level = "info", **fields: str | int | None
    ) -> None:
        """Write one line; ``fields`` are for machines and only in JSON."""
        if self._as_json:
            line = json_line(level=level, event=event, message=message, **fields)
        else:
            line = f"beanrow: {message}\n"
        try:
            out = self._out or sys.stderr  # looked up late: who replaces it means what comes next
            out.write(line)
            out.flush()
        except (OSError, ValueError):
            pass  # the law above: there is nowhere left to tell it

    def tell_fault(self, message: str) -> None:
        """Write of an exception that is being handled, with where it came from."""
        trace = traceback.format_exc()
        if self._as_json:
            self.tell("fault", message, level="error", traceback=trace)
        else:
            self.tell("fault", f"{message}:\n{trace.rstrip()}")


def json_line(**fields: str | int | None) -> str:
    """Write one object with the time of now, as a line."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, **fields}, ensure_ascii=False) + "\n"
