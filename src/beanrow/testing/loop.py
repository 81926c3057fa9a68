"""The loop of a test server: the server's own, on virtual time, told what to do by other threads.

Laws:
- What is asked of it is done at the end of a turn, after all that clients had said before. So a
  test that puts a job and then moves the clock moves it over that job.
- When a call returns, what it brought about has been said to whom it concerns.
- The clock moves from one due time to the next, so that all things happen in their order.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from heapq import heappop, heappush
from typing import TypeVar

from beanrow.engine.engine import Engine
from beanrow.engine.timers import SECOND
from beanrow.server.link import Link
from beanrow.server.log import Log
from beanrow.server.loop import Loop
from beanrow.testing.clock import VirtualTime
from beanrow.testing.faults import Faults
from beanrow.testing.link import FaultyLink
from beanrow.testing.queue import TestQueue

__all__ = ["TestLoop"]

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds that a call waits for a turn of the loop: only a fault of ours takes so long."""
_LONGEST_WAIT = 3600.0
_MOST_PUT_OFF = 100
"""Turns that a call waits while clients have more to say: one that never pauses must not stop it."""


class TestLoop(Loop):
    """Serves a queue of its own on listening sockets until ``stop``.

    ``max_job_size`` is the largest body in bytes. All but ``call``, ``await_that``, ``end`` and
    ``wake`` is for the thread that runs it.
    """

    __test__: bool = False  # as TestQueue

    def __init__(self, max_job_size: int, log: Log) -> None:
        self.virtual: VirtualTime = VirtualTime()
        self.faults: Faults = Faults()
        self._max_job_size = max_job_size
        self.queue: TestQueue = TestQueue(self.virtual.now(), max_job_size)
        super().__init__(self.queue, self.virtual.now, log=log)
        self._thread = 0
        self._ended = False
        self._put_off = 0  # so many turns by now
        self._calls: deque[Callable[[], None]] = deque()
        self._awaited: list[tuple[Callable[[], bool], Future[None]]] = []
        self._real_alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._link = FaultyLink
        self._listen_to_calls()

    # -- what other threads ask ---------------------------------------------------

    def call(self, action: Callable[[], T]) -> T:
        """Do something at the end of a turn, and give its value or raise its error.

        RuntimeError after ``end``.
        """
        if threading.get_ident() == self._thread:
            return action()
        if self._ended:
            raise RuntimeError("this server has ended; what is asked of it comes too late")
        done: Future[T] = Future()

        def act() -> None:
            try:
                done.set_result(action())
            except BaseException as error:  # noqa: BLE001  # handed to whoever asked
                done.set_exception(error)

        self._calls.append(act)
        self.wake()
        return done.result(_PATIENCE)

    def await_that(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so at the end of a turn; false if it is not after ``seconds``."""
        done: Future[None] = Future()
        self.call(lambda: self._awaited.append((true, done)))
        try:
            done.result(seconds)
        except TimeoutError:
            return not done.cancel()
        return True

    def end(self) -> None:
        """Have ``run`` end, from any thread or signal handler."""
        self._ended = True
        self.stop()
        with suppress(OSError):  # closed, if the loop has come to its end since the line above
            self.wake()

    def wake(self) -> None:
        """Have the loop turn, from any thread or signal handler."""
        self._mouth.send(b"!")

    # -- what is done in its thread -----------------------------------------------

    def run(self) -> None:
        """Serve until ``stop``, then close everything."""
        self._thread = threading.get_ident()
        try:
            super().run()
        finally:
            self._close()

    def _listen_to_calls(self) -> None:
        """Have other threads wake the loop."""
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self.watch(self._ear.fileno(), self._hear_call)

    def _hear_call(self, _events: int) -> None:
        self._ear.recv(4096)

    def _close(self) -> None:
        self._ear.close()
        self._mouth.close()

    def advance(self, seconds: int) -> None:
        """Let so much time pass at once; what is due on the way happens on the way."""
        end = self.virtual.now() + seconds * SECOND
        while (due := self.queue.next_deadline()) is not None and due <= end:
            self._come_to(due)
        self._come_to(end)

    def _come_to(self, when: int) -> None:
        self.virtual.move_to(when)
        self.now: int = self.virtual.now()
        self.queue.tick(self.now)
        while self.queue.outbox:
            self._say_all()

    def disconnect(self) -> int:
        """Close all connections of clients; gives how many there were."""
        links = [peer for peer in self._peers.values() if isinstance(peer, Link)]
        for link in links:
            link.close()
        return len(links)

    def reset(self) -> None:
        """Begin anew: no connection, no job, ids from 1, no fault, and time standing still."""
        self.disconnect()
        self.faults.clear()
        self.virtual.begin_anew()
        self.queue = TestQueue(self.virtual.now(), self._max_job_size)
        self.engine: Engine = self.queue

    def call_at(self, when: int, action: Callable[[], None]) -> None:
        """Call ``action`` when it would be ``when`` if the clock ran: it is for live peers."""
        self.call_after((when - self.now) / SECOND, action)

    def call_after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call ``action`` after so many real seconds, whatever the clock shows."""
        self._serial += 1
        heappush(self._real_alarms, (time.monotonic() + seconds, self._serial, action))

    def _patience(self) -> float:
        """Tell how long to sleep: while the clock stands still, what it shows is no reason to wake."""
        if self.unfinished or self._calls:
            return 0.0
        patience = super()._patience() if self.virtual.runs else _LONGEST_WAIT
        if self._real_alarms:
            patience = min(patience, max(0.0, self._real_alarms[0][0] - time.monotonic()))
        return patience

    def _puts_calls_off(self) -> bool:
        """Tell whether clients have said more that comes first: over a new connection, or much."""
        self._put_off += 1
        if self._put_off <= _MOST_PUT_OFF and (self.unfinished or self.poller.wait(0)):
            return True
        self._put_off = 0
        return False

    def _turn(self) -> None:
        super()._turn()
        now = time.monotonic()
        while self._real_alarms and self._real_alarms[0][0] <= now:
            self._guarded(heappop(self._real_alarms)[2], -1)
        if self._calls and self._puts_calls_off():
            return
        while self._calls:
            self._calls.popleft()()
        while self.engine.outbox:
            self._say_all()
        for true, done in list(self._awaited):
            if done.cancelled() or true():
                self._awaited.remove((true, done))
                if done.set_running_or_notify_cancel():
                    done.set_result(None)
