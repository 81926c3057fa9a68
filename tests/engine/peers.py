"""An engine on a virtual clock, and peers that talk to it in the client's own commands.

    queue = VirtualQueue()
    worker = queue.peer()
    worker(put(b"x"))              # asks, gives the value or raises the error of the reply
    worker.begin(reserve())        # asks for what may have to wait
    queue.pass_time(5)             # seconds; what is due on the way happens on the way
    worker.answer()                # the value of what was begun, WAITING while there is none

What a peer asks goes through the bytes of both halves of the protocol.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.engine.timers import SECOND
from beanrow.protocol.commands import Command, peek, stats, stats_job, stats_tube
from beanrow.protocol.request_stream import RequestStream
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import MAX_JOB_SIZE

T = TypeVar("T")

WAITING: Final = "still waiting"


def tokens() -> Callable[[], str]:
    """Make what draws tokens: t1, t2, and so on."""
    numbers = itertools.count(1)
    return lambda: f"t{next(numbers)}"


class VirtualQueue:
    """An engine and its time, in nanoseconds."""

    def __init__(
        self,
        *,
        start: int = 1_000 * SECOND,
        max_job_size: int = MAX_JOB_SIZE,
        host: Callable[[], HostFacts] = HostFacts,
    ) -> None:
        self.now = start
        self.engine = Engine(start, max_job_size=max_job_size, host=host)
        self.engine.offer_sessions(tokens())

    def peer(self) -> Peer:
        return Peer(self)

    def pass_time(self, seconds: float) -> None:
        """Let time pass as a server does: a tick whenever the engine asks for one."""
        end = self.now + round(seconds * SECOND)
        while (due := self.engine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.engine.tick(self.now)
        self.now = end


class Peer:
    """One connection of a virtual queue."""

    def __init__(self, queue: VirtualQueue) -> None:
        self.queue = queue
        self.session = queue.engine.open()
        self._stream = RequestStream(queue.engine.max_job_size)
        self._begun: Command[Any] | None = None

    def begin(self, command: Command[Any]) -> None:
        assert self._begun is None, f"{self._begun} has not been answered"
        self._begun = command
        self.send(command.request)

    def send(self, data: bytes) -> bytes:
        """Send bytes and give what is answered at once."""
        self._stream.feed(data)
        while not self.session.waiting and (request := self._stream.next()) is not None:
            self.queue.engine.execute(self.session, request, self.queue.now)
        return b"" if self._begun else self.hear()

    def hear(self) -> bytes:
        """What was said to this peer and not yet heard."""
        said = b"".join(self.session.replies)
        self.session.replies.clear()
        if self.session in self.queue.engine.outbox:
            self.queue.engine.outbox.remove(self.session)
        return said

    def answer(self) -> Any:
        """The value of the command that was begun; WAITING while it has none."""
        reply = self.hear()
        if not reply:
            return WAITING
        assert self._begun is not None, f"{reply!r} answers nothing"
        command, self._begun = self._begun, None
        return command.answer(reply)

    def __call__(self, command: Command[T]) -> T:
        self.begin(command)
        value = self.answer()
        assert value is not WAITING, f"{command} waits"
        return value  # type: ignore[no-any-return]  # the command's own T

    def job(self, job_id: int) -> JobStats:
        return self(stats_job(job_id))

    def tube(self, name: str = "default") -> TubeStats:
        return self(stats_tube(name))

    def server(self) -> ServerStats:
        return self(stats())

    def body(self, job_id: int) -> bytes:
        return self(peek(job_id)).body

    def half_close(self) -> None:
        self.queue.engine.half_close(self.session)

    def close(self) -> None:
        self.hear()
        self.queue.engine.close(self.session, self.queue.now)
