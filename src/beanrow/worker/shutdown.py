"""How a worker stops: the order, for threads, processes and asyncio tasks alike.

1. SIGTERM or SIGINT: no slot takes another job. One that waits has half of its connection
   closed, which the server answers at once; one whose job runs says that job's end, and
   nothing more. A job that arrives in between is given back by closing its connection.
2. For ``grace`` seconds running jobs may end; their leases are kept all the while.
3. Then their connections are closed. The server puts those jobs back, counts no attempt, and
   another worker has them at once; what the functions still do is not acknowledged.
4. A second signal goes to step 3 at once.

At no step does the worker hold the only copy of a job: until its end is acknowledged the
server has it.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["Signals"]


class Signals:
    """SIGTERM and SIGINT, counted, and told through a pipe that a main loop can wait on."""

    def __init__(self) -> None:
        self.count: int = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = {
            one: signal.signal(one, self._take) for one in (signal.SIGTERM, signal.SIGINT)
        }
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """The pipe's end that becomes readable with any signal."""
        return self._read

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def wait(self, timeout: float | None = None) -> None:
        """Wait for any signal, or so many seconds."""
        import select

        if select.select([self._read], [], [], timeout)[0]:
            self.drain()

    def drain(self) -> None:
        """Take what is in the pipe."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)
