"""One server, looked at again and again.

Laws:
- All who watch share one look; a page asks the server nothing that the last look has told.
- A server is looked at often only while somebody watches, and never for more than half of the
  time, however many tubes it has.
- While it does not answer, the last look stays, and it is told since when.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.dashboard.history import History
from beanrow.errors import BeanstalkError
from beanrow.observe.snapshot import Rates, Snapshot, take_snapshot

__all__ = ["Source"]

_AT_ONCE, _OFTEN, _SELDOM = 0.02, 0.5, 5.0
"""Seconds between two looks: for a page that is asked for, while one is watched, and else."""
_SHARE = 2
"""How many times as long as a look takes the next one is away, at least."""
_PATIENCE = 5.0
_MOST_WAIT = 0.5
"""Seconds: for an answer of the server; and for a look that a page waits for, if there is one."""
_FOR_RATES = 3.0
"""Seconds that a rate is taken over: over less, three jobs would be a storm."""


class Source:
    """A server, the ``number`` that pages know it by, and what was last seen of it."""

    def __init__(self, number: int, address: Address) -> None:
        self.number = number
        self.address = address
        self.snapshot: Snapshot | None = None
        self.rates: Rates | None = None
        self.trouble: str = ""
        """Why it does not answer; empty while it does."""
        self.silent_since: float = 0.0
        self.history: History = History()
        self._before: deque[Snapshot] = deque()
        self._client = Client(address.url, timeout=_PATIENCE)
        self._thread = ThreadPoolExecutor(1, f"look-{number}")  # so it has one connection
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._watching = 0
        self._begun = 0.0  # when the look began that was last finished
        self._hurried = False

    @property
    def name(self) -> str:
        """Its address, as people write it."""
        return str(self.address)

    async def keep_looking(self) -> None:
        """Look until this is cancelled."""
        while True:
            begin = time.monotonic()
            await self.look()
            # A server that does not answer is waited for, not looked at: it is asked again soon.
            took = 0.0 if self.trouble else time.monotonic() - begin
            self._wanted.clear()
            self._hurried = False
            with suppress(TimeoutError):
                pause = (_OFTEN if self._watching else _SELDOM) - took
                await asyncio.wait_for(self._wanted.wait(), max(0.0, pause))
            apart = max(_SHARE * took, _AT_ONCE if self._hurried else _OFTEN)
            await asyncio.sleep(max(0.0, begin + apart - time.monotonic()))

    async def look(self) -> None:
        """Look once, and wake those who wait for it."""
        loop, begun = asyncio.get_running_loop(), time.monotonic()
        try:
            await loop.run_in_executor(self._thread, self._look)
            self.trouble = ""
        except (BeanstalkError, AttributeError) as error:  # the second: a figure that it lacks
            if not self.trouble:
                self.silent_since = time.time()
            self.trouble = str(error)
        self._begun = begun
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _look(self) -> None:
        seen = take_snapshot(self._client, times=False)
        while len(self._before) > 1 and self._before[1].at <= seen.at - _FOR_RATES:
            self._before.popleft()
        self.rates = seen.since(self._before[0]) if self._before else None
        if self.rates is None:
            self._before.clear()
        self._before.append(seen)
        self.history.add(seen)
        self.snapshot = seen

    async def first(self) -> None:
        """Wait until it was looked at once, or did not answer."""
        while self.snapshot is None and not self.trouble:
            await self._news.wait()

    async def recent(self) -> None:
        """Wait for a look that has yet to begin; where looks take long, not to its end."""
        await self.first()
        if not self.trouble:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._begun_after(time.monotonic()), _MOST_WAIT)

    async def _begun_after(self, wanted: float) -> None:
        while self._begun < wanted:
            self.hurry()
            await self._news.wait()

    async def next(self, most: float) -> None:
        """Wait for the next look, at most so many seconds. Who waits here watches."""
        self._watching += 1
        self._wanted.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), most)
        finally:
            self._watching -= 1

    def hurry(self) -> None:
        """Look soon: somebody came, or something was changed."""
        self._hurried = True
        self._wanted.set()

    def close(self) -> None:
        """End the connection."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._client.close()
