"""The audit log: who came, who was refused, who did what an operator does. JSON lines.

Laws:
- A line is written at once and whole, by one write to the end of the file.
- No token and no body is ever in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from beanrow.errors import BadValueError
from beanrow.server.log import Log, json_line

__all__ = ["Audit"]


class Audit:
    """Appends to the file ``path``; without one it does nothing.

    BadValueError if the file cannot be opened. ``reopen`` after somebody has moved it.
    """

    def __init__(self, path: Path | None, log: Log) -> None:
        self._path = path
        self._log = log
        self._fd = -1
        self._failing = False
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew; BadValueError, and the old one is kept, if it cannot be."""
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise BadValueError(f"cannot write {self._path}: {error.strerror}") from None
        self.close()
        self._fd = fd

    def tell(self, event: str, **fields: str | int | None) -> None:
        """Write one line."""
        if self._fd < 0:
            return
        try:
            os.write(self._fd, json_line(event=event, **fields).encode())
            self._failing = False
        except OSError as error:
            if not self._failing:  # once: a full disk would fill the other log with it
                self._failing = True
                self._log.tell(
                    "audit-failed", f"cannot write {self._path}: {error.strerror}", level="error"
                )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
