"""The lines of an async client: one for the commands of all tasks, and one for each reserve.

Laws:
- Lines are opened when they are needed, and kept for the next reserve when their jobs are
  finished. Opening takes no longer than the timeout, and ends with whoever waits for it.
- What breaks is told once: its jobs are lost, the hooks are called, and then whoever
  waits for an answer hears of it.
- A forked process refuses: the loop and its sockets are the parent's.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from beanrow.client.address import Address, read_address
from beanrow.client.line import Line
from beanrow.client.state import BROKE, State
from beanrow.client.wire import connect_failed, tls_context
from beanrow.errors import ClientClosedError, ConnectFailedError
from beanrow.protocol.commands import Command

if TYPE_CHECKING:
    import ssl

    from beanrow.client.child import ChildServer

__all__ = ["Lines"]

T = TypeVar("T")

_MOST_IDLE = 32
"""Lines kept for the next reserves; those of more jobs at once are closed after use."""
_CLOSED = "was closed"
_FORKED = "belongs to the process that this one was forked from"


class Lines:
    """Opens, keeps and ends the lines of one client.

    ``main`` is the line of all that needs no reservation, None while there is none.
    ``outage`` is true while the server that was there is not.
    """

    __slots__ = (
        "__weakref__", "_address", "_end", "_idle", "_lines", "_lost_jobs", "_main_lost",
        "_on_jobs_lost", "_on_reconnect", "_opening", "_starting", "_state", "_tasks", "_timeout",
        "_tls", "_trace", "main", "outage",
    )  # fmt: skip

    def __init__(
        self,
        address: Address,
        state: State,
        timeout: float,
        tls: ssl.SSLContext | None,
        trace: bool,
        on_reconnect: Callable[[], object] | None,
        on_jobs_lost: Callable[[list[int]], object] | None,
    ) -> None:
        self._address = address
        self._state = state
        self._timeout = timeout
        self._tls = tls_context(address, tls)
        self._trace = trace
        self._on_reconnect = on_reconnect
        self._on_jobs_lost = on_jobs_lost
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._lost_jobs: list[int] = []
        self._main_lost = False
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: asyncio.Task[ChildServer] | None = None
        self._end = ""
        self.main: Line | None = None
        self.outage = False
        _all.add(self)

    # -- opening ------------------------------------------------------------------

    async def open_main(self, spent: float = 0.0) -> Line:
        """Give the main line; open it, or wait for whoever is opening it.

        ``spent`` is how much of the time for it in seconds is used up already.
        """
        return await self.within(self._timeout - spent, self._opened_main())

    async def _opened_main(self) -> Line:
        async with self._opening:
            if self.main is not None:
                return self.main
            line = await self._opened()
            line.align(self._state)
            self.main = line
            restored, self._main_lost = self._main_lost, False
        if restored and self._on_reconnect is not None:
            self._on_reconnect()
        return line

    async def take(self) -> Line:
        """Give a line that nobody uses."""
        while not self._idle:
            await self.within(self._timeout, self._open_idle())
        return self._idle.pop()

    async def _open_idle(self) -> None:
        self._idle.append(await self._opened())

    async def _opened(self) -> Line:
        """Open a line; ConnectFailedError if nobody answers."""
        loop, trace = asyncio.get_running_loop(), None
        address = await self._server_address()
        if self._trace:
            from beanrow.client.trace import Trace

            trace = Trace(str(address))
        line = Line(str(address), self._timeout, self, trace)
        try:
            if address.path:
                await loop.create_unix_connection(lambda: line, address.path)
            else:
                await loop.create_connection(
                    lambda: line, address.host, address.port, ssl=self._tls
                )
        except (OSError, UnicodeError) as error:
            raise connect_failed(address, error) from error
        self._lines.add(line)
        self.outage = False
        return line

    async def _server_address(self) -> Address:
        """Tell where the server is; start it if it is to be a child of ours."""
        if not self._address.embedded:
            return self._address
        if self._starting is None:
            from beanrow.client.child import ChildServer

            self._starting = asyncio.create_task(asyncio.to_thread(ChildServer))
        starting = self._starting
        await asyncio.wait({starting})  # which goes on even if we are cancelled: close ends it
        if starting.exception() is not None and self._starting is starting:
            self._starting = None
        return read_address(starting.result().address)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do what takes a while, no longer than this; it ends with its caller and the client."""
        if self._end:
            work.close()
        self.check_open()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            self._tasks.discard(task)
            late = task.cancel()
            if not late and not task.cancelled():
                task.exception()  # looked at, though perhaps not raised
        self.check_open()
        if late:
            raise ConnectFailedError(
                f"{self._address} did not answer within {self._timeout:g} s; nothing was sent"
            )
        return task.result()

    # -- keeping and ending -------------------------------------------------------

    def rest(self, line: Line) -> None:
        """Keep a line for the next reserve."""
        if line.closed:
            return
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(line)
        else:
            self._lines.discard(line)
            line.retire()

    def end(self, line: Line) -> None:
        """Close a line on purpose."""
        self._lines.discard(line)
        line.end()

    def give_back(self, line: Line) -> None:
        """Close a line on purpose with the jobs that it holds: the server puts them back."""
        for job_id in self._state.held_by(line):
            del self._state.held[job_id]
        self.end(line)

    def let_go(self, line: Line, job_id: int) -> None:
        """Note that a line no longer holds the job of this id."""
        if job_id not in line.jobs:
            return
        line.jobs.remove(job_id)
        if self._state.held.get(job_id) is line:
            del self._state.held[job_id]
        if not line.jobs:
            self.rest(line)

    def check_open(self) -> None:
        """Raise ClientClosedError if the client was closed, or another process's."""
        if self._end:
            raise ClientClosedError(f"this client of {self._address} {self._end}; make a new one")

    async def close(self, farewell: Command[None] | None) -> None:
        """End all lines, ``farewell`` as the last word of each."""
        self._end = self._end or _CLOSED
        self.main = None
        self._idle.clear()
        for line in self._lines:
            line.end(farewell)
        self._lines.clear()
        for task in self._tasks:
            task.cancel()
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await asyncio.to_thread(starting.result().close)
        await asyncio.sleep(0)  # for the transports, which close their sockets in the next turn

    def leave_to_parent(self) -> None:
        """Let go, in a process that was just forked, of all that is its parent's."""
        self._end = _FORKED
        self.main = self._starting = None
        self._idle.clear()
        for line in self._lines:
            line.abandon()
        self._lines.clear()

    def lost(self, line: Line) -> None:
        """Forget a line that broke, and tell whose jobs it held."""
        self._lines.discard(line)
        self.outage = True
        if line is self.main:
            self.main, self._main_lost = None, True
        elif line in self._idle:
            self._idle.remove(line)
        job_ids = self._state.lose(line, BROKE)
        if job_ids and not self._lost_jobs:
            asyncio.get_running_loop().call_soon(self._tell_lost_jobs)
        self._lost_jobs += job_ids

    def _tell_lost_jobs(self) -> None:
        job_ids, self._lost_jobs = self._lost_jobs, []
        if self._on_jobs_lost is not None:
            self._on_jobs_lost(job_ids)


_all: weakref.WeakSet[Lines] = weakref.WeakSet()


def _after_fork() -> None:
    for lines in list(_all):
        lines.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
