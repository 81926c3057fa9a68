"""The machines behind gateways: the store, looked at as ``beanrow cluster status`` does.

Law: all who watch share one look, and there is none more often than every ``_APART`` seconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from beanrow.errors import BeanstalkError

if TYPE_CHECKING:
    from beanrow.cluster.address import StoreAddress
    from beanrow.cluster.status import Status

__all__ = ["Machines"]

_APART = 2.0


class Machines:
    """A store, what was last seen of it, and why it could not be looked at, if so."""

    def __init__(self, store: StoreAddress) -> None:
        self.store = store
        self.status: Status | None = None
        self.trouble: str = ""
        self._lock = asyncio.Lock()
        self._looked = float("-inf")

    async def look(self) -> None:
        """Look, unless that was just done."""
        from beanrow.cluster.status import look  # with the extra that only this needs

        async with self._lock:
            if time.monotonic() < self._looked + _APART:
                return
            try:
                self.status = await asyncio.to_thread(look, self.store)
                self.trouble = ""
            except (BeanstalkError, OSError) as error:
                self.trouble = str(error)
            self._looked = time.monotonic()
