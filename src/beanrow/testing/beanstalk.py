"""A whole beanstalk server inside a test.

Laws:
- It is the real server: its parser, its engine, its connections, over real sockets. Only time
  and what goes wrong are in the test's hands.
- Each one is alone: a free port, a thread, no file. Any number may run beside each other.
- What it gave out it takes back: clients are closed, apps get their own server again.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from beanrow.errors import BadValueError
from beanrow.protocol.values import MAX_JOB_SIZE, MAX_UINT32, tube_name, whole_number
from beanrow.server.listeners import listen_tcp, where
from beanrow.server.log import Log
from beanrow.testing.loop import TestLoop
from beanrow.testing.memory import MemoryLoop, MemoryTransport, MemoryWire
from beanrow.testing.queue import STATES, JobSeen
from beanrow.testing.switches import Clock, FaultSwitches

if TYPE_CHECKING:
    from beanrow.client.address import Address
    from beanrow.client.aio import AsyncClient
    from beanrow.client.line import Line
    from beanrow.client.sync import Client
    from beanrow.worker.app import App

__all__ = ["ANY", "Beanstalk"]

ANY: Final = object()
"""Any body at all."""
_NOWHERE = "unix:in-memory"
"""What errors of a client without sockets name as its server."""
_PATIENCE = 10.0
_MOST_SHOWN = 10


class Beanstalk:
    """A beanstalk server in this process, for a test, until ``close`` or the end of a ``with``.

    ``clock`` moves its time, ``faults`` makes things go wrong. ``max_job_size`` is the largest
    body in bytes. Without ``sockets`` it listens nowhere, and only ``client`` and
    ``async_client`` reach it.
    """

    def __init__(self, *, max_job_size: int = MAX_JOB_SIZE, sockets: bool = True) -> None:
        self._log = io.StringIO()
        size = whole_number(max_job_size, "max_job_size", MAX_UINT32)
        kind = TestLoop if sockets else MemoryLoop
        self._loop = kind(size, Log(out=self._log))
        self._address = ""
        if sockets:
            listener = listen_tcp("127.0.0.1", 0)
            self._address = where(listener)
            self._loop.listen(listener)
        self._thread = threading.Thread(target=self._loop.run, name="beanstalk", daemon=True)
        self._thread.start()
        self._given = ExitStack()
        self.clock: Clock = Clock(self._loop)
        self.faults: FaultSwitches = FaultSwitches(self._loop)

    def __repr__(self) -> str:
        return f"<Beanstalk {f'at {self._address}' if self._address else 'without sockets'}>"

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``: any client, worker or program may come there.

        RuntimeError if it was made without sockets.
        """
        if not self._address:
            raise RuntimeError("this server has no address: it was made without sockets")
        return self._address

    # -- who speaks to it ---------------------------------------------------------

    def client(self, **settings: Any) -> Client:
        """Give a new client of it, which is closed with it. ``settings`` are those of ``Client``."""
        from beanrow.client.sync import Client

        loop = self._loop
        client = Client(self._address or _NOWHERE, **settings)
        if isinstance(loop, MemoryLoop):
            client._connections.dial = (  # noqa: SLF001  # the seam for a server without sockets
                lambda _address, _timeout, _tls: MemoryWire(loop.connect())
            )
        return self._given.enter_context(client)

    def async_client(self, **settings: Any) -> AsyncClient:
        """Give a new client for asyncio; close it in its own loop: ``async with``.

        ``settings`` are those of ``AsyncClient``.
        """
        from beanrow.client.aio import AsyncClient

        loop = self._loop
        client = AsyncClient(self._address or _NOWHERE, **settings)
        if isinstance(loop, MemoryLoop):

            async def dial(line: Line, _address: Address, _tls: object) -> None:
                MemoryTransport(loop.connect(), line)

            client._lines.dial = dial  # noqa: SLF001  # as above
        return client

    def use_for(self, app: App) -> None:
        """Have this app put its jobs here, and take them from here, until this server ends."""
        self._given.callback(app.use_server, app.address.url)
        app.use_server(self.address)

    @contextmanager
    def working(self, app: App, threads: int = 1) -> Iterator[None]:
        """Run a worker of this app on this server for the block, in so many threads.

        At the end of the block it finishes what it has begun. RuntimeError if that takes longer
        than 10 s.
        """
        from beanrow.worker.threads import ThreadWorker

        self.use_for(app)
        worker = ThreadWorker(app, threads)
        worker.start()
        try:
            yield
        finally:
            worker.stop()
            in_time = worker.wait(_PATIENCE)
            if not in_time:
                worker.give_back()
            worker.close()
        if not in_time:
            raise RuntimeError(f"a job of the worker still runs {_PATIENCE:g} s after its end")

    # -- what it has --------------------------------------------------------------

    def jobs(self, tube: str | None = None, state: str | None = None) -> list[JobSeen]:
        """Give the jobs that are there, by id; those of a tube, and in a state, if it is named."""
        _check(tube)
        if state not in (None, *STATES):
            raise BadValueError(f"state {state!r} is none of {', '.join(STATES)}")
        return self._loop.call(lambda: self._loop.queue.seen(tube, state))

    def puts(self, tube: str | None = None) -> list[JobSeen]:
        """Give all jobs that were ever put, in their order, also those that are gone.

        ``priority`` and ``delay`` are those of the put; ``state`` is that of now, ``deleted`` of
        one that is gone.
        """
        _check(tube)
        return self._loop.call(lambda: self._loop.queue.puts(tube))

    def assert_put(
        self,
        tube: str,
        body: Any = ANY,
        *,
        count: int | None = None,
        priority: int | None = None,
        delay: int | None = None,
        ttr: int | None = None,
    ) -> JobSeen:
        """Assert that such a job was put into the tube, and give the last one.

        ``body``: bytes or str are compared with the whole body, anything else with what it is as
        JSON; priority, delay and ttr where they are given. ``count`` is how many such puts there
        must be; without it one is enough. A job that was deleted since counts too.
        """
        if count is not None and not whole_number(count, "count"):
            raise BadValueError("count 0: that is assert_not_put")
        puts = self.puts(tube)
        terms = {"priority": priority, "delay": delay, "ttr": ttr}
        wanted = {name: value for name, value in terms.items() if value is not None}
        found = list(filter(_like(body, wanted), puts))
        if count is None and not found:
            what = "no put"
        elif count is not None and len(found) != count:
            what = f"{len(found)} puts, not {count},"
        else:
            return found[-1]
        raise AssertionError(
            f"{what} into tube {tube!r} of {_told(body, wanted)}\n{self._shown(puts)}"
        )

    def assert_not_put(self, tube: str, body: Any = ANY) -> None:
        """Assert that no job with such a body was put into the tube; ``body`` as above."""
        found = list(filter(_like(body, {}), self.puts(tube)))
        if found:
            raise AssertionError(
                f"a put into tube {tube!r} of {_told(body, {})}\n{self._shown(found)}"
            )

    def assert_jobs(self, tube: str, **states: int) -> None:
        """Assert how many jobs of a tube are ``ready``, ``reserved``, ``delayed`` and ``buried``.

        A state that is not named must have none: ``assert_jobs("emails")`` is an empty tube.
        """
        if unknown := states.keys() - set(STATES):
            raise TypeError(f"{sorted(unknown)} are no states; there are {', '.join(STATES)}")
        there = self.jobs(tube)
        counted = {state: sum(one.state == state for one in there) for state in STATES}
        wanted = {state: states.get(state, 0) for state in STATES}
        if counted != wanted:
            lines = "\n".join(map(_line, there[:_MOST_SHOWN]))
            raise AssertionError(
                f"tube {tube!r} has {_counts(counted)}, not {_counts(wanted)}\n{lines}"
            )

    def wait_for(self, tube: str, timeout: float = _PATIENCE, **figures: int) -> None:
        """Wait until a tube has these figures, brought about by another thread or process.

        They are ``ready``, ``reserved``, ``delayed``, ``buried``, ``waiting`` (clients in a
        reserve) and ``deleted`` (jobs that were put there and are gone). ``timeout`` is in real seconds; AssertionError with the figures as they are after that.
        """
        _check(tube)
        unknown = figures.keys() - {*STATES, "waiting", "deleted"}
        if unknown or not figures:
            raise TypeError(f"{sorted(unknown)} are no figures of a tube")

        def shown() -> dict[str, int]:
            return {name: self._loop.queue.figure(tube, name) for name in figures}

        if not self._loop.await_that(lambda: shown() == figures, timeout):
            raise AssertionError(
                f"after {timeout:g} s tube {tube!r} has {_counts(self._loop.call(shown))}, "
                f"not {_counts(figures)}"
            )

    def _shown(self, puts: list[JobSeen]) -> str:
        if puts:
            hidden = len(puts) - _MOST_SHOWN
            before = [f"  ... and {hidden} before"] if hidden > 0 else []
            return "\n".join([*before, *map(_line, puts[-_MOST_SHOWN:])])
        others = ", ".join(sorted({one.tube for one in self.puts()}))
        return f"there were puts into {others}" if others else "nothing was put anywhere"

    # -- ending -------------------------------------------------------------------

    def reset(self) -> None:
        """Begin anew: connections are closed, all jobs and puts are gone, ids begin at 1 again."""
        self._loop.call(self._loop.reset)

    def close(self) -> None:
        """End it; twice is fine. RuntimeError with what it told if it had a fault of its own."""
        if not self._thread.is_alive():
            return
        try:
            self._given.close()
        finally:
            self._loop.end()
            self._thread.join(_PATIENCE)
        if told := self._log.getvalue():
            raise RuntimeError(f"the server of this test had a fault of its own:\n{told}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check(tube: str | None) -> None:
    if tube is not None:
        tube_name(tube)


def _like(body: Any, terms: dict[str, int]) -> Callable[[JobSeen], bool]:
    """Make the test whether a job is the one that is meant; TypeError for a body that none has."""
    as_json = body is not ANY and not isinstance(body, bytes | str)
    wanted = body.encode() if isinstance(body, str) else body
    if as_json:
        wanted = json.loads(json.dumps(body))  # a tuple is a list there

    def is_like(job: JobSeen) -> bool:
        if any(getattr(job, name) != value for name, value in terms.items()):
            return False
        if not as_json:
            return wanted is ANY or bool(job.body == wanted)
        try:
            return bool(job.json == wanted)
        except ValueError:
            return False

    return is_like


def _told(body: Any, terms: dict[str, int]) -> str:
    what = "any body" if body is ANY else repr(body)
    return ", ".join([what, *(f"{name} {value}" for name, value in terms.items())])


def _line(job: JobSeen) -> str:
    body = job.text if len(job.text) <= 200 else f"{job.text[:200]}..."
    return (
        f"  job {job.id}, {job.state}, priority {job.priority}, delay {job.delay}, "
        f"ttr {job.ttr}: {body}"
    )


def _counts(figures: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in figures.items())
