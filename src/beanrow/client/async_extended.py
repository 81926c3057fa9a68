"""The extensions of our server, for the async client. Laws as in ``extended.py``."""
# ruff: noqa: D102  (docstrings are Client's; stated there, once)

from __future__ import annotations

from beanrow.client.async_batch import AsyncBatches, as_client
from beanrow.protocol import extensions
from beanrow.protocol.capabilities import TRUNCATE

__all__ = ["AsyncExtended"]


class AsyncExtended(AsyncBatches):
    """The methods that need our server."""

    __slots__ = ()

    @as_client
    async def capabilities(self) -> frozenset[str]:
        return await self._known_words()

    @as_client
    async def truncate(self, tube: str) -> int:
        return await self._ask(extensions.truncate(tube), word=TRUNCATE)
