"""The lines of an async client: one for the commands of all tasks, and one for each reserve.

Laws:
- Lines are opened when they are needed, and kept for the next reserve when their jobs are
  finished. Opening takes no longer than the timeout, and ends with whoever waits for it.
- Beyond a few, a line is kept only as long as it is used: one that rested for a while is
  closed, and one whose job was left to its ttr is told by the server, and used again.
- What breaks is told once: its jobs are lost, the hooks are called, and then whoever
  waits for an answer hears of it.
- A line with a session is not lost with what it held while its grace lasts: whoever needs it
  next goes on with the session over a new line, its heir.
- A forked process refuses: the loop and its sockets are the parent's.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from beanrow.client.address import Address, read_address
from beanrow.client.line import Line
from beanrow.client.offered import ASKED, begin_session
from beanrow.client.state import BROKE, State
from beanrow.client.wire import connect_failed, introduction, tls_context
from beanrow.errors import ClientClosedError, CommandError, ConnectFailedError, NotFoundError
from beanrow.protocol import commands, extensions
from beanrow.protocol.authentication import check_auth
from beanrow.protocol.commands import Command

if TYPE_CHECKING:
    import ssl

    from beanrow.client.child import ChildServer
    from beanrow.protocol.stats import JobStats

__all__ = ["Lines"]

T = TypeVar("T")

_FEW = 32
"""Lines that a client may keep without looking at them again."""
_REVIEW = 10.0
"""Seconds from one look at more lines than these to the next."""
_CLOSED = "was closed"
_FORKED = "belongs to the process that this one was forked from"


Dial: TypeAlias = Callable[[Line, Address, "ssl.SSLContext | None"], Coroutine[Any, Any, None]]


async def _dial(line: Line, address: Address, tls: ssl.SSLContext | None) -> None:
    """Connect a line to the server at this address; OSError or UnicodeError if that fails."""
    loop = asyncio.get_running_loop()
    if address.path:
        await loop.create_unix_connection(lambda: line, address.path)
    else:
        await loop.create_connection(lambda: line, address.host, address.port, ssl=tls)


class Lines:
    """Opens, keeps and ends the lines of one client.

    ``main`` is the line of all that needs no reservation, None while there is none.
    ``outage`` is true while the server that was there is not. ``dial`` connects a line: another
    one than the usual reaches a server without sockets, in a test.
    """

    __slots__ = (
        "__weakref__", "_address", "_end", "_held_long", "_idle", "_left", "_lines", "_lost_jobs",
        "_main_lost", "_on_jobs_lost", "_on_reconnect", "_opening", "_resuming", "_review", "_starting",
        "_state", "_tasks", "_timeout", "_tls", "_trace", "_unused", "dial", "main",
        "outage",
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
        self._unused = 0  # of the idle ones, so many from the first were not used since the review
        self._held_long: set[tuple[Line, int]] = set()  # what was held at the review
        self._review: asyncio.TimerHandle | None = None
        self._lines: set[Line] = set()
        self._lost_jobs: list[int] = []
        self._main_lost = False
        self._left: list[str] = []  # tokens of lines that broke with no job that is known
        self._opening = asyncio.Lock()
        self._resuming = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: asyncio.Task[ChildServer] | None = None
        self._end = ""
        self.dial: Dial = _dial
        self.main: Line | None = None
        self.outage: bool = False
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
        line = self._idle.pop()
        self._unused = min(self._unused, len(self._idle))
        return line

    async def _open_idle(self) -> None:
        self._idle.append(await self._opened_to_reserve())

    async def _opened_to_reserve(self) -> Line:
        """Open a line that begins a session, if the client wants one."""
        line = await self._opened()
        if self._state.grace:
            try:
                words = line.words = await line.submit(ASKED)
                line.token = await line.submit(begin_session(self._state.grace, words, line.peer))
                while self._left:
                    token = self._left.pop()  # nobody else takes it over meanwhile
                    try:
                        await self._taken_over(line, token, ())
                    except BaseException:
                        self._left.append(token)
                        raise
            except BaseException:
                self.end(line)
                raise
        return line

    # -- sessions -----------------------------------------------------------------

    async def resume(self, line: Line) -> None:
        """Go on with the session of a line that broke, over its heir; nothing if it has none.

        What the heir does not hold is lost then, and told.
        """
        while line.heir is not None:
            line = line.heir
        if not line.closed or not line.token:
            return
        async with self._resuming:
            if line.heir is None:
                await self.within(self._timeout, self._resume(line))

    async def resume_all(self) -> None:
        """Go on with the session of every line that broke and held jobs."""
        for line in {one for one in self._state.held.values() if isinstance(one, Line)}:
            await self.resume(line)

    async def _taken_over(self, line: Line, token: str, known: Collection[int]) -> set[int]:
        """Let a line go on with a session; gives the ids of its jobs, none if it is over.

        Those that are not known were on their way in a reply, and are put back.
        """
        own, line.token = line.token, ""  # if it breaks meanwhile, the session is not the line's
        resumed: set[int] = set()
        try:
            job_ids = await line.submit(extensions.resume(token))
        except NotFoundError:
            pass
        else:
            own, resumed = token, set(job_ids)
        for job_id in resumed.difference(known):
            await _put_back(line, job_id)
        line.token = own
        return resumed

    async def _resume(self, line: Line) -> None:
        heir = await self._opened_to_reserve()
        try:
            heir.align(self._state)
            resumed = await self._taken_over(heir, line.token, self._state.held_by(line))
        except BaseException:
            self.end(heir)
            raise
        self._lose(self._state.hand_over(line, heir, resumed))
        line.handed = frozenset(self._state.held_by(heir))
        line.heir = heir
        heir.jobs.update(line.handed)
        if not heir.jobs:
            self.rest(heir)
        if self._on_reconnect is not None:
            self._on_reconnect()

    async def _opened(self) -> Line:
        """Open a line; ConnectFailedError if nobody answers."""
        trace = None
        address = await self._server_address()
        if self._trace:
            from beanrow.client.trace import Trace

            trace = Trace(str(address))
        line = Line(str(address), self._timeout, self, trace)
        try:
            await self.dial(line, address, self._tls)
        except (OSError, UnicodeError) as error:
            raise connect_failed(address, error) from error
        self._lines.add(line)
        if address.token:
            await self._introduce(line, address)
        self.outage = False
        self._review_later()
        return line

    async def _introduce(self, line: Line, address: Address) -> None:
        """Tell the server who this client is, before anything else is said over a line."""
        try:
            await line.submit_request(introduction(address), check_auth)
        except BaseException:
            self.end(line)
            raise

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
        if not line.closed:
            self._idle.append(line)

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

    def _review_later(self) -> None:
        if self._review is None and len(self._lines) > _FEW and not self._end:
            self._unused = len(self._idle)
            self._review = asyncio.get_running_loop().call_later(_REVIEW, self._look_again)

    def _look_again(self) -> None:
        """Close lines that nobody used since the last look, and ask for jobs held since then."""
        self._review = None
        for line in self._idle[: max(0, self._unused - _FEW)]:
            if line.silent:
                self._idle.remove(line)
                self.end(line)
        held = {(line, job_id) for line in self._lines if line.silent for job_id in line.jobs}
        for line, job_id in held & self._held_long:
            if self._state.held.get(job_id) is not line:
                self.let_go(line, job_id)  # it ran out, and another line has it now
            else:
                asked = line.submit(commands.stats_job(job_id))
                asked.add_done_callback(partial(self._heard_of, line, job_id))
        self._held_long = held
        self._review_later()

    def _heard_of(self, line: Line, job_id: int, asked: asyncio.Future[JobStats]) -> None:
        """Let go of a job that is not reserved any more; what cannot be told is asked again."""
        error = asked.exception()
        if isinstance(error, NotFoundError) or (
            error is None and asked.result().state != "reserved"
        ):
            self.let_go(line, job_id)

    def check_open(self) -> None:
        """Raise ClientClosedError if the client was closed, or another process's."""
        if self._end:
            raise ClientClosedError(f"this client of {self._address} {self._end}; make a new one")

    async def close(self, farewell: Command[None] | None) -> None:
        """End all lines, ``farewell`` as the last word of each."""
        self._end = self._end or _CLOSED
        self.main = None
        self._idle.clear()
        if self._review is not None:
            self._review.cancel()
        ending, self._lines = self._lines, set()
        for line in ending:
            line.end(farewell)
        for task in self._tasks:
            task.cancel()
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await asyncio.to_thread(starting.result().close)
        await asyncio.gather(*(line.left() for line in ending))
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
            line.token = ""
        if not line.token:
            self.tell_lost(line)
        elif not self._state.held_by(line):
            self._left.append(line.token)
            line.token = ""

    def tell_lost(self, line: Line) -> None:
        """Note that the jobs of a line that broke are lost, and tell whose they are."""
        self._lose(self._state.lose(line, BROKE))

    def _lose(self, job_ids: list[int]) -> None:
        if job_ids and not self._lost_jobs:
            asyncio.get_running_loop().call_soon(self._tell_lost_jobs)
        self._lost_jobs += job_ids

    def _tell_lost_jobs(self) -> None:
        job_ids, self._lost_jobs = self._lost_jobs, []
        if self._on_jobs_lost is not None:
            self._on_jobs_lost(job_ids)


async def _put_back(line: Line, job_id: int) -> None:
    """Release a job that is held and that nobody here knows: it was on its way as a reply."""
    try:
        priority = (await line.submit(commands.stats_job(job_id))).pri
        await line.submit(commands.release(job_id, priority))
    except CommandError:
        pass  # its ttr has just run out


_all: weakref.WeakSet[Lines] = weakref.WeakSet()


def _after_fork() -> None:
    for lines in list(_all):
        lines.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
