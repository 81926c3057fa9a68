"""The extensions of our server, for the async client. Laws as in ``extended.py``."""
# ruff: noqa: D102  (docstrings are Client's; stated there, once)

from __future__ import annotations

from beanrow.client.async_batch import AsyncBatches, as_client
from beanrow.client.offered import unique_put
from beanrow.protocol import extensions
from beanrow.protocol.capabilities import (
    LIST_CLIENTS,
    LIST_JOBS,
    LIST_LEASES,
    LIST_SLOW,
    LIST_TIMES,
    PUT_UNIQUE,
    TRUNCATE,
)
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.holders import Connected, Lease, SlowCommand
from beanrow.protocol.listing import MAX_LISTED, ListedJob
from beanrow.protocol.times import TubeTimes
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    body_bytes,
    tube_name,
)

__all__ = ["AsyncExtended"]


class AsyncExtended(AsyncBatches):
    """The methods that need our server."""

    __slots__ = ()

    @as_client
    async def capabilities(self) -> frozenset[str]:
        return await self._known_words()

    @as_client
    async def put_unique(
        self,
        key: str,
        body: bytes | str,
        *,
        tube: str | None = None,
        lifetime: Duration = 0,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> int:
        data = body_bytes(body, self._encoding)
        put = extensions.put_unique(key, data, lifetime, priority, delay, ttr)
        used = self._state.used if tube is None else tube
        tube_name(used)  # refused before anything is sent
        await self._check_size(put, len(data))
        number = await self._ask(unique_put(put, lifetime, self._timeout), used, word=PUT_UNIQUE)
        if isinstance(number, BuriedId):
            self._buried(number)
        return number

    @as_client
    async def list_jobs(
        self, tube: str, state: str, *, after: int = 0, limit: int = MAX_LISTED
    ) -> list[ListedJob]:
        jobs: list[ListedJob] = []
        command = extensions.list_jobs(tube, state, after, limit)
        while True:
            page = await self._ask(command, word=LIST_JOBS)
            jobs += page.jobs
            if page.after is None or len(jobs) >= limit:
                return jobs
            command = extensions.list_jobs(tube, state, page.after, limit - len(jobs))

    @as_client
    async def truncate(self, tube: str) -> int:
        return await self._ask(extensions.truncate(tube), word=TRUNCATE)

    @as_client
    async def list_leases(self) -> list[Lease]:
        page = await self._ask(extensions.list_leases(), word=LIST_LEASES)
        leases = page.rows
        while page.after is not None:
            page = await self._ask(extensions.list_leases(page.after), word=LIST_LEASES)
            leases += page.rows
        return leases

    @as_client
    async def list_clients(self) -> list[Connected]:
        page = await self._ask(extensions.list_clients(), word=LIST_CLIENTS)
        clients = page.rows
        while page.after is not None:
            page = await self._ask(extensions.list_clients(page.after), word=LIST_CLIENTS)
            clients += page.rows
        return clients

    @as_client
    async def list_slow(self, after: int = 0) -> list[SlowCommand]:
        return (await self._ask(extensions.list_slow(after), word=LIST_SLOW)).rows

    @as_client
    async def list_times(self, tube: str) -> TubeTimes:
        return await self._ask(extensions.list_times(tube), word=LIST_TIMES)
