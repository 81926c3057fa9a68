"""A server of one's own: a child process that lives as long as its parent keeps it.

A child and not a thread, because a server thread beside a busy program starves. It is
started as any program is, so that this package needs nothing of the server's.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

from beanrow.errors import ConnectFailedError
from beanrow.protocol.values import MAX_UINT32, whole_number

__all__ = ["ChildServer"]

_START_TIME = 20.0
_STOP_TIME = 5.0


class ChildServer:
    """A server on a free port of 127.0.0.1, in a child process, without a journal.

    It runs from construction until ``close()`` or the end of the ``with`` block, and
    ends by itself when this process ends, however it ends. ``max_job_size`` is the
    largest body in bytes that it takes. ConnectFailedError if it does not start.
    """

    __slots__ = ("_owner", "_process", "address")

    def __init__(self, *, max_job_size: int | None = None) -> None:
        self._owner = os.getpid()
        command = [sys.executable, "-m", "beanrow.server", "-l", "127.0.0.1", "-p", "0"]
        command += ["--announce", "--with-parent"]
        if max_job_size is not None:
            command += ["-z", str(whole_number(max_job_size, "max_job_size", MAX_UINT32))]
        # A file and not a pipe: nobody reads it while the server runs.
        with tempfile.TemporaryFile() as complaints:
            # The server ends when its stdin does. In a process group of its own, it is
            # not hit by the Ctrl-C that is meant for the program that uses it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                process_group=0,
            )
            try:
                self.address: str = self._announced()
            except BaseException:
                self.close()
                raise
            if not self.address:
                self.close()
                complaints.seek(0)
                told = complaints.read().decode(errors="replace").strip() or "it said nothing"
                raise ConnectFailedError(
                    f"the embedded server did not start ({' '.join(command)}): {told}"
                )

    def _announced(self) -> str:
        """Wait for the line that tells the address; empty if it does not come."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_TIME)
        return self._process.stdout.readline().decode().strip() if ready else ""

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def close(self) -> None:
        """End the server and wait for it; its jobs are gone. Twice is fine.

        Not in a process forked from the one that started it: there it does nothing.
        """
        if os.getpid() != self._owner:
            return
        process = self._process
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(_STOP_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
