"""Who waits here for a job, and what happens when one is told to be ready.

Laws:
- A tube that somebody waits for here is one of three: the store has noted this gateway as waiting
  for it, or word of a job is on its way, or somebody here is asking for one. Whoever asks is told
  of what becomes ready meanwhile and asks again.
- Word of a job is used up only by asking for it until there is none. Who has nobody left to ask
  passes it on.
- Waiters are served in the order of their arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from beanrow.cluster.session import Session
from beanrow.cluster.store import Unavailable
from beanrow.errors import StoreError

__all__ = ["Board", "Waiter"]

Attempt = Callable[[Session, bool], Awaitable[bytes | None]]
"""Asks the store for a job for a session, and whether the gateway waits if there is none."""


class Waiter:
    """A reserve that waits. ``answer`` is what it is told when its time is over."""

    __slots__ = ("again", "answer", "asking", "future", "session")

    def __init__(self, session: Session, future: asyncio.Future[bytes]) -> None:
        self.session: Session = session
        self.future: asyncio.Future[bytes] = future
        self.asking: bool = False
        self.again: set[str] = set()  # tubes of which it was told while it asked
        self.answer: bytes | None = None


class Board:
    """All who wait here.

    ``attempt`` asks the store, ``pass_on`` tells another gateway of a tube, ``spawn`` runs a task.
    """

    def __init__(
        self,
        attempt: Attempt,
        pass_on: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._attempt = attempt
        self._pass_on = pass_on
        self._spawn = spawn
        self.by_tube: dict[str, dict[Waiter, None]] = {}

    def enter(self, session: Session) -> Waiter:
        """Begin to wait, and to ask: ``ask`` comes next."""
        waiter = Waiter(session, asyncio.get_running_loop().create_future())
        waiter.asking = True
        for tube in session.watched:
            self.by_tube.setdefault(tube, {})[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; what it was told of goes to the others. A second call does nothing."""
        for tube in waiter.session.watched:
            waiters = self.by_tube.get(tube)
            if waiters is not None and waiter in waiters:
                del waiters[waiter]
                if not waiters:
                    del self.by_tube[tube]
        again, waiter.again = waiter.again, set()
        for tube in again:
            self.wake(tube)

    async def ask(self, waiter: Waiter) -> bytes | None:
        """Ask for a job until there is none."""
        waiter.asking = True
        try:
            while True:
                told, waiter.again = waiter.again, set()
                try:
                    reply = await self._attempt(waiter.session, True)
                except BaseException:
                    waiter.again |= told
                    raise
                if reply is not None:
                    waiter.again |= told  # of these jobs only one has been taken, if any
                if reply is not None or not waiter.again:
                    return reply
        finally:
            waiter.asking = False

    def wake(self, tube: str) -> None:
        """Hear that a job is ready in a tube."""
        for waiter in self.by_tube.get(tube, ()):
            if waiter.asking:
                waiter.again.add(tube)
            else:
                waiter.asking = True
                waiter.again.add(tube)
                self._spawn(self._serve(waiter))
            return
        self._pass_on(tube)

    async def _serve(self, waiter: Waiter) -> None:
        try:
            answer = await self.ask(waiter) or waiter.answer
        except Unavailable:
            answer = waiter.answer  # or it waits on: who looks after lost words has it ask again
        except StoreError as error:
            self.leave(waiter)
            waiter.future.set_exception(error)
            return
        if answer is not None:
            self.leave(waiter)
            waiter.future.set_result(answer)

    def end(self, waiter: Waiter, answer: bytes) -> None:
        """Answer a reserve whose time is over; if it asks just now, a job goes before that."""
        if waiter.asking:
            waiter.answer = answer
        elif not waiter.future.done():
            self.leave(waiter)
            waiter.future.set_result(answer)
