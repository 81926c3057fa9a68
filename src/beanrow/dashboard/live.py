"""Pages that go on: what has changed since they were sent, as server-sent events.

An event is JSON: ``parts`` has the new text of an element by its id, ``rows`` that of a table's
rows by their keys, with ``order`` where rows came, went or changed places.

Laws:
- What is sent was written by the templates that wrote the page, and escaped there.
- Nothing is sent twice: an event holds what differs from what this page has.
- A page of somebody whose rights have changed ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from beanrow.errors import BeanstalkError
from beanrow.jobs.search import NothingThereError

if TYPE_CHECKING:
    from beanrow.dashboard.visit import Visit

__all__ = ["Parts", "Rows", "View", "stream"]

Rows = dict[str, Markup]
"""The rows of a table, by keys that no other row has."""
Parts = dict[str, Markup | Rows]
"""What of a page changes, by the ids of its elements."""
View = Callable[["Visit"], Awaitable[Parts]]
"""Writes the parts of a page as they are now."""

_MOST_STREAMS = 200
_HEARTBEAT = 15.0
_TICK = 1.0
_RETRY_MS = 2000


class _Memory:
    """What a page has."""

    def __init__(self) -> None:
        self._parts: dict[str, Markup] = {}
        self._rows: dict[str, Rows] = {}

    def changes(self, parts: Parts) -> dict[str, Any]:
        """Tell what is to be sent, and take note of it."""
        told: dict[str, Any] = {}
        for id, part in parts.items():
            if isinstance(part, Markup):
                if self._parts.get(id) != part:
                    self._parts[id] = part
                    told.setdefault("parts", {})[id] = part
                continue
            before = self._rows.get(id, {})
            changed = {key: row for key, row in part.items() if before.get(key) != row}
            if changed or list(before) != list(part):
                told.setdefault("rows", {})[id] = {"html": changed}
                if list(before) != list(part):
                    told["rows"][id]["order"] = list(part)
                self._rows[id] = part
        return told


async def stream(visit: Visit, view: View) -> StreamingResponse:
    """Answer with events until the page is left, or the dashboard ends."""
    desk = visit.desk
    if desk.streams >= _MOST_STREAMS:
        raise HTTPException(503, f"there are {_MOST_STREAMS} live pages already")
    await view(visit)  # refused here, while there is a status to say so with
    events = _events(visit, view)
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(visit: Visit, view: View) -> AsyncIterator[str]:
    desk, source = visit.desk, visit.source
    desk.streams += 1
    try:
        yield f"retry: {_RETRY_MS}\n\n"
        # What happened between the page and this is not known here: all of it, once.
        memory = _Memory()
        said = time.monotonic()
        while not desk.closing.is_set():
            if desk.access.session(visit.request).principal != visit.session.principal:
                return
            try:
                told = memory.changes(await view(visit))
            except (BeanstalkError, NothingThereError, HTTPException) as error:
                told = {"gone": str(getattr(error, "detail", error))}
            if told:
                yield f"data: {json.dumps(told, ensure_ascii=False)}\n\n"
                said = time.monotonic()
            elif time.monotonic() - said > _HEARTBEAT:
                yield ": still here\n\n"
                said = time.monotonic()
            await _news(desk.closing, source.next(_TICK))
    finally:
        desk.streams -= 1


async def _news(closing: asyncio.Event, news: Awaitable[None]) -> None:
    """Wait for news, or for the end."""
    waiting = [asyncio.ensure_future(one) for one in (closing.wait(), news)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
