"""This gateway among the others: its number, its heartbeat, and those that have died.

Laws:
- Leases are held under a gateway's number. A gateway that cannot tell in time that it lives counts
  as dead: its leases are given to others, and it closes its clients and takes another number.
- Whoever is told of a dead one sees to all its leases before it is forgotten; to do so twice does
  no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from beanrow.cluster.store import Store, Unavailable
from beanrow.errors import StoreError

__all__ = ["BEAT_SECONDS", "LIFE_SECONDS", "Membership"]

BEAT_SECONDS = 1.0
LIFE_SECONDS = 3.0
"""As GATEWAY_LIFE in ``library.lua``."""
_PATIENCE_SECONDS = 5.0
_AGAIN_SECONDS = 0.05
_REAPED_AT_ONCE = 32
"""Partitions that are seen to at the same time."""

Event = Literal["draining", "serving", "given-up", "reaped", "unheard", "heard"]


class Membership:
    """Tells the store that this gateway lives. ``number`` once it has joined.

    ``facts`` are what it tells of itself, ``told`` hears of what happens, with a gateway's number.
    """

    def __init__(
        self, store: Store, facts: Callable[[], bytes], told: Callable[[Event, int], None]
    ) -> None:
        self._store = store
        self._facts = facts
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._unheard = False
        self._reaping: set[asyncio.Task[None]] = set()
        self.number: int = 0
        self.draining: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether nobody can have given this gateway up."""
        return self._loop.time() - self._heard < LIFE_SECONDS

    async def be_sure(self) -> None:
        """Wait until nobody can have given this gateway up; Unavailable if that takes too long.

        A lease that is taken under a number that has been given up would be nobody's to end.
        """
        until = self._loop.time() + _PATIENCE_SECONDS
        while not self.is_sure:
            if self._loop.time() > until:
                raise Unavailable("the store does not hear that this gateway lives")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def join(self) -> None:
        """Become a gateway; StoreError if the store does not answer."""
        self.number = await self._store.join()
        await self.beat()

    async def run(self) -> None:
        """Tell that it lives until it is cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.beat()
            except StoreError:
                if not self._unheard:
                    self._unheard = True
                    self._told("unheard", self.number)
            else:
                if self._unheard:
                    self._unheard = False
                    self._told("heard", self.number)

    async def beat(self) -> None:
        """Tell once that it lives, and do what the answer asks for."""
        begun = self._loop.time()
        answer = await self._store.beat(self.number, self._facts())
        if answer is None:
            await self._begin_anew()
            return
        self._heard = begun
        if answer.draining != self.draining:
            self.draining = answer.draining
            self._told("draining" if answer.draining else "serving", self.number)
        for number in answer.to_reap:
            self._begin_to_reap(number)

    def _begin_to_reap(self, number: int) -> None:
        """Reap beside the heartbeat, which must not wait for that."""
        task = self._loop.create_task(self._see_to(number))
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)

    async def _begin_anew(self) -> None:
        """Take another number: the old one has been given up, and so have its leases."""
        before = self.number
        self.number = await self._store.join()
        self._told("given-up", before)
        self._begin_to_reap(before)
        await self.beat()

    async def _see_to(self, number: int) -> None:
        """Reap a dead gateway; if that cannot be done now, somebody is told of it again."""
        try:
            await self.reap(number)
        except StoreError:
            return
        self._told("reaped", number)

    async def reap(self, number: int) -> None:
        """Make ready what a gateway holds, then forget it."""
        prefix = number.to_bytes(4, "big")
        partitions = range(self._store.layout.partitions)
        for first in partitions[::_REAPED_AT_ONCE]:
            share = partitions[first : first + _REAPED_AT_ONCE]
            await asyncio.gather(*(self._store.reap(one, prefix) for one in share))
        await self._store.leave(number)
