"""The client for asyncio: the methods of ``Client``, awaited.

Laws:
- All commands of all tasks share one main line and are on their way at once; the used
  tube is chosen in front of a command that depends on it, with no await in between.
- A waiting reserve has a line of its own, since a server hears nothing else on it. Its
  job keeps that line until it is deleted, released, buried or gone; what needs the
  reservation goes over it.
- A caller who gives up, by cancellation or ``asyncio.timeout``, leaves the client as
  usable as before. Only a reserve closes its line then: its job would reach nobody.
- After a lost connection a command is sent again only where doing it twice is doing it
  once; whoever sent another one is told what is known of it. A job whose line is gone
  is lost, and every command that needs the reservation says so.
"""
# ruff: noqa: ASYNC109, D102  (parameters and docstrings are Client's; these stated there, once)

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, overload

from beanrow.client.async_batch import as_client
from beanrow.client.async_extended import AsyncExtended
from beanrow.client.offered import offers
from beanrow.errors import NotOfferedError, OutOfMemoryError
from beanrow.protocol import commands
from beanrow.protocol.capabilities import PUT_IN_TUBE
from beanrow.protocol.commands import BuriedId, Command, put_request, read_put
from beanrow.protocol.extensions import put_in_tube_request
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    Job,
    body_bytes,
    job_id,
    tube_name,
)

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient(AsyncExtended):
    """A client of one Beanstalk server, for asyncio; one for all tasks of a loop.

    ``address``, ``timeout``, ``encoding``, ``session``, ``tls`` and ``trace`` are those of
    ``Client``, and so are the methods. Many tasks may call them at once: their commands are
    pipelined on one connection. Each waiting ``reserve`` has a connection of its own, so
    that DeadlineSoon never comes; watching or ignoring a tube holds for the reserves that
    begin after it.

    The hooks of ``Client`` but ``on_deadline_soon``, called in the loop;
    ``on_out_of_memory`` may give an awaitable.

    After a lost connection commands fare as with ``Client``. In a forked process the
    client refuses: its loop is the parent's.
    """

    __slots__ = ()

    # -- opening and closing ------------------------------------------------------

    @as_client
    async def connect(self) -> None:
        await self._lines.open_main()

    @as_client
    async def close(self) -> None:
        await self._lines.close(None)

    @as_client
    async def quit(self) -> None:
        await self._lines.close(commands.quit())

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- putting ------------------------------------------------------------------

    @as_client
    async def put(
        self,
        body: bytes | str,
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> int:
        if body.__class__ is not bytes:
            body = body_bytes(body, self._encoding)
        request = put_request(body, priority, delay, ttr)
        line = self._lines.main
        if tube is None:
            tube = self._state.used
        if line is not None and tube == line.used and len(body) <= line.most_body:
            try:
                number = await line.submit_request(request, read_put)
            except OutOfMemoryError as error:
                if not await self._has_memory_again(error):
                    raise
                number = await self._say(Command(request, read_put), tube)
        else:
            tube_name(tube)  # refused before anything is sent
            command = Command(request, read_put)
            await self._check_size(command, len(body))
            number = await self._put_elsewhere(command, tube)
        if number.__class__ is BuriedId:
            self._buried(number)
        return number

    async def _put_elsewhere(self, command: Command[int], tube: str) -> int:
        line = self._lines.main
        if line is not None and tube != line.used and offers(line.words):
            try:
                request = put_in_tube_request(tube, command.request)
                return await self._say(Command(request, read_put), word=PUT_IN_TUBE)
            except NotOfferedError:
                pass  # another server has taken the place of the one that was asked
        return await self._say(command, tube)

    @as_client
    async def use(self, tube: str) -> str:
        name = await self._ask(commands.use(tube), tube)
        self._state.used = tube
        return name

    # -- reserving ----------------------------------------------------------------

    @overload
    async def reserve(self, timeout: None = None) -> Job: ...
    @overload
    async def reserve(self, timeout: Duration) -> Job | None: ...
    @as_client
    async def reserve(self, timeout: Duration | None = None) -> Job | None:
        jobs = await self._reserve_in_rounds(timeout)
        return jobs[0] if jobs else None

    @overload
    async def delete_and_reserve(self, job: Job | int, timeout: None = None) -> Job: ...
    @overload
    async def delete_and_reserve(self, job: Job | int, timeout: Duration) -> Job | None: ...
    @as_client
    async def delete_and_reserve(
        self, job: Job | int, timeout: Duration | None = None
    ) -> Job | None:
        return await self._delete_then_reserve(job, timeout)

    @as_client
    async def reserve_job(self, job: Job | int) -> Job:
        return (await self._reserve(commands.reserve_job(job)))[0]

    # -- finishing ----------------------------------------------------------------

    @as_client
    async def delete(self, job: Job | int) -> None:
        await self._ask_of(job, commands.delete(job))

    @as_client
    async def release(
        self, job: Job | int, *, priority: int = DEFAULT_PRIORITY, delay: Duration = 0
    ) -> bool:
        released = await self._ask_of(job, commands.release(job, priority, delay))
        if not released:
            self._buried(job_id(job))
        return released

    @as_client
    async def bury(self, job: Job | int, *, priority: int = DEFAULT_PRIORITY) -> None:
        await self._ask_of(job, commands.bury(job, priority))

    @as_client
    async def touch(self, job: Job | int) -> None:
        await self._ask_of(job, commands.touch(job), keeps=True)

    # -- watching -----------------------------------------------------------------

    @as_client
    async def watch(self, tube: str) -> int:
        return await self._ask(_followed(commands.watch(tube), lambda: self._state.watch(tube)))

    @as_client
    async def ignore(self, tube: str) -> int:
        return await self._ask(_followed(commands.ignore(tube), lambda: self._state.ignore(tube)))

    # -- looking ------------------------------------------------------------------

    @as_client
    async def peek(self, job: Job | int) -> Job:
        return self._seen(await self._ask(commands.peek(job)))

    @as_client
    async def peek_ready(self) -> Job | None:
        return await self._seen_in_used(commands.peek_ready())

    @as_client
    async def peek_delayed(self) -> Job | None:
        return await self._seen_in_used(commands.peek_delayed())

    @as_client
    async def peek_buried(self) -> Job | None:
        return await self._seen_in_used(commands.peek_buried())

    # -- kicking and pausing ------------------------------------------------------

    @as_client
    async def kick(self, bound: int) -> int:
        return await self._ask(commands.kick(bound), self._state.used)

    @as_client
    async def kick_job(self, job: Job | int) -> None:
        await self._ask(commands.kick_job(job))

    @as_client
    async def pause_tube(self, tube: str, delay: Duration) -> None:
        await self._ask(commands.pause_tube(tube, delay))

    # -- counting -----------------------------------------------------------------

    @as_client
    async def stats(self) -> ServerStats:
        return await self._ask(commands.stats())

    @as_client
    async def stats_job(self, job: Job | int) -> JobStats:
        return await self._ask(commands.stats_job(job))

    @as_client
    async def stats_tube(self, tube: str) -> TubeStats:
        return await self._ask(commands.stats_tube(tube))

    @as_client
    async def list_tubes(self) -> list[str]:
        return await self._ask(commands.list_tubes())

    @as_client
    async def list_tube_used(self) -> str:
        return await self._ask(commands.list_tube_used(), self._state.used)

    @as_client
    async def list_tubes_watched(self) -> list[str]:
        return await self._ask(commands.list_tubes_watched())

    async def _seen_in_used(self, command: Command[Job | None]) -> Job | None:
        job = await self._ask(command, self._state.used)
        return None if job is None else self._seen(job)


def _followed(command: Command[T], act: Callable[[], object]) -> Command[T]:
    """Make a command do something as soon as its reply is read, by a caller who waits or not."""

    def read(request: bytes, reply: bytes) -> T:
        value = command.read(request, reply)
        act()
        return value

    return Command(command.request, read)
