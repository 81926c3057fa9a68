"""Several servers as one, awaited: the methods of ``Pool``.

Laws: those of ``pool.py``. A reserve that is cancelled, or comes second, closes its
connection, and so its job goes back.
"""
# ruff: noqa: ASYNC109, D102, SLF001  (parameters and docstrings are Pool's; a pool owns its clients)

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from beanrow.client.aio import AsyncClient
from beanrow.client.group import Group, PoolId
from beanrow.client.line import Line
from beanrow.client.pool import Pool
from beanrow.client.speaker import RESERVES, ROUND, timeout_seconds
from beanrow.errors import BeanstalkError, BuriedJob, ConnectionLostError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command, read_reserve
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import (
    DEFAULT_ENCODING,
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_TIMEOUT,
    Duration,
    Job,
    seconds,
)

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncPool"]

Method = TypeVar("Method", bound=Callable[..., Any])


def as_pool(method: Method) -> Method:
    """Give a method the docstring of Pool's method of the same name."""
    method.__doc__ = getattr(Pool, method.__name__).__doc__
    return method


class AsyncPool(Group[AsyncClient]):
    """Several servers as one, for all tasks of a loop.

    Settings, hooks and methods are those of ``Pool``; the hooks are called in the loop.
    """

    __slots__ = ("_back", "_looking", "_timeout")

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: Duration = 10.0,
        encoding: str = DEFAULT_ENCODING,
        tls: ssl.SSLContext | None = None,
        trace: bool = False,
        on_buried_job: Callable[[BuriedJob], object] | None = None,
        on_jobs_lost: Callable[[list[PoolId]], object] | None = None,
        on_server_away: Callable[[str, BeanstalkError], object] | None = None,
        on_server_back: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(
            addresses,
            AsyncClient,
            {"timeout": timeout, "encoding": encoding, "tls": tls, "trace": trace},
            on_buried_job,
            on_jobs_lost,
            on_server_away,
            on_server_back,
        )
        self._timeout = timeout_seconds(timeout)
        self._back = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @as_pool
    async def close(self) -> None:
        self._end = self._end or "was closed"
        if self._looking is not None:
            self._looking.cancel()
        for client in self.clients.values():
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- putting ------------------------------------------------------------------

    @as_pool
    async def put(
        self,
        body: bytes | str,
        *,
        tube: str | None = None,
        key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> PoolId:
        last: BeanstalkError = self._none_left()
        for name in self._ranked(tube, key):
            try:
                number = await self.clients[name].put(
                    body, tube=tube, priority=priority, delay=delay, ttr=ttr
                )
            except BeanstalkError as error:
                if not self._passed_on(name, error):
                    raise
                last = error
            else:
                return PoolId(number, name)
        raise last

    # -- reserving ----------------------------------------------------------------

    @overload
    async def reserve(self, timeout: None = None) -> Job: ...
    @overload
    async def reserve(self, timeout: Duration) -> Job | None: ...
    @as_pool
    async def reserve(self, timeout: Duration | None = None) -> Job | None:
        clock = asyncio.get_running_loop().time
        left = None if timeout is None else seconds(timeout, "timeout", MAX_TIMEOUT)
        end = 0.0 if left is None else clock() + left
        while True:
            job = await self._ready_one()
            if job is None and left != 0:
                job = await self._wait(ROUND if left is None else min(left, ROUND))
            if job is not None:
                return job
            if not self._servers.present():
                raise self._none_left()
            if left is not None and (left := max(0, ceil(end - clock()))) == 0:
                return None

    async def _ready_one(self) -> Job | None:
        """Reserve a job that is ready, on one server after the other."""
        for name in self._present():
            try:
                job = await self._reserve_on(name, 0)
            except ConnectionLostError as error:
                self._lose(name, error)
                continue
            if job is not None:
                return job
        return None

    async def _reserve_on(self, name: str, wait: int) -> Job | None:
        """Reserve on one server; a connection that is lost is not replaced here."""
        jobs = await self.clients[name]._reserve(Command(RESERVES[wait], read_reserve), wait)
        return self._owned(jobs[0], name) if jobs else None

    async def _wait(self, wait: int) -> Job | None:
        """Wait on all servers at once, for so many seconds at most."""
        clock = asyncio.get_running_loop().time
        end = clock() + wait
        waits: dict[asyncio.Task[Job | None], str] = {}
        jobs: list[Job] = []
        try:
            while not jobs:
                self._back.clear()
                for name in self._present():
                    if name not in waits.values():
                        left = max(0, ceil(end - clock()))
                        waits[asyncio.create_task(self._reserve_on(name, left))] = name
                if not await self._any_done(waits):
                    return None
                for task in [task for task in waits if task.done()]:
                    jobs += self._outcome(task, waits.pop(task))
                if not waits and self._servers.present():
                    break  # each of them said that it has none
            return jobs.pop(0) if jobs else None
        finally:
            jobs += await self._ended(waits)
            for job in jobs:
                self._give_back(job)

    async def _any_done(self, waits: dict[asyncio.Task[Job | None], str]) -> bool:
        """Wait until a server says something or one comes back; False if that takes too long."""
        back = asyncio.create_task(self._back.wait())
        try:
            done, _ = await asyncio.wait(
                {*waits, back},
                timeout=None if waits else self._timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            back.cancel()
        return bool(done)

    def _outcome(self, task: asyncio.Task[Job | None], name: str) -> list[Job]:
        try:
            job = task.result()
        except ConnectionLostError as error:
            self._lose(name, error)
            return []
        return [] if job is None else [job]

    async def _ended(self, waits: dict[asyncio.Task[Job | None], str]) -> list[Job]:
        """End the waits that are left; gives the jobs that came all the same."""
        for task in waits:
            task.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        return [one for one in outcomes if isinstance(one, Job)]

    def _give_back(self, job: Job) -> None:
        """Close the connection of a job that nobody took; the server puts it back."""
        assert isinstance(job.holder, Line)
        self._client_of(job)._lines.give_back(job.holder)

    # -- finishing ----------------------------------------------------------------

    @as_pool
    async def delete(self, job: Job | PoolId) -> None:
        await self._client_of(job).delete(job)

    @as_pool
    async def release(
        self, job: Job | PoolId, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        return await self._client_of(job).release(job, priority=priority, delay=delay)

    @as_pool
    async def bury(self, job: Job | PoolId, *, priority: int = DEFAULT_PRIORITY) -> None:
        await self._client_of(job).bury(job, priority=priority)

    @as_pool
    async def touch(self, job: Job | PoolId) -> None:
        await self._client_of(job).touch(job)

    # -- looking ------------------------------------------------------------------

    @as_pool
    async def peek(self, job: Job | PoolId) -> Job:
        return self._owned(await self._client_of(job).peek(job), self._name_of(job))

    @as_pool
    async def kick_job(self, job: Job | PoolId) -> None:
        await self._client_of(job).kick_job(job)

    @as_pool
    async def stats_job(self, job: Job | PoolId) -> JobStats:
        return await self._client_of(job).stats_job(job)

    # -- servers that are away ----------------------------------------------------

    def _look_after(self) -> None:
        if self._looking is None and not self._end:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Try servers that are away until none is."""
        while (due := self._servers.due()) is not None:
            when, name = due
            await asyncio.sleep(max(0.0, when - time.monotonic()))
            try:
                await self.clients[name]._say(commands.list_tube_used())
            except BeanstalkError:
                self._servers.lose(name, time.monotonic())
            else:
                self._find(name)
                self._back.set()
        self._looking = None
