"""An application: its tasks by tube, and the client that puts their jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from beanrow.client.address import Address, read_address
from beanrow.client.wire import tls_context
from beanrow.errors import BadValueError
from beanrow.protocol.values import DEFAULT_PRIORITY, DEFAULT_TTR, Duration
from beanrow.worker.codec import Codec
from beanrow.worker.events import Hooks, Middleware
from beanrow.worker.limits import Rate
from beanrow.worker.retry import RetryPolicy
from beanrow.worker.task import Task, Terms

if TYPE_CHECKING:
    import ssl
    from datetime import tzinfo

    from beanrow.client.sync import Client
    from beanrow.worker.replies import Replies, Reply
    from beanrow.worker.schedule import Missed

__all__ = ["App", "Sink"]

P = ParamSpec("P")
R = TypeVar("R")


class Sink(Protocol):
    """Where puts go: to a server, or in a test to the function itself."""

    def put(
        self, task: Task[Any, Any], body: bytes, terms: Terms, unique: tuple[str, int] | None
    ) -> int:
        """Take one job; gives its id."""

    def put_many(self, task: Task[Any, Any], bodies: Iterable[bytes], terms: Terms) -> list[int]:
        """Take many jobs; gives their ids, in order."""

    def submit(self, task: Task[Any, Any], body: bytes, terms: Terms) -> Reply[Any]:
        """Take one job whose result is wanted."""


class App:
    """The tasks of a program.

        app = App("localhost:11300")

        @app.task(tube="emails", retry=Retry(attempts=5, delay=10))
        def send_welcome(user_id: int, *, lang: str = "en") -> None: ...

        send_welcome.put(42, lang="de")

    ``address``, ``timeout`` and ``tls`` are those of ``Client``; nothing is connected before
    the first put. ``middleware`` hears what becomes of each job, in this order.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: Duration = 10.0,
        tls: ssl.SSLContext | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self.address: Address = read_address(address)
        self.timeout = timeout
        self.tls = tls
        self.tasks: dict[str, Task[..., Any]] = {}
        self.middleware: list[Middleware] = list(middleware)
        self.sink: Sink = _Server(self)
        self._client: Client | None = None
        self._replies: Replies | None = None

    # -- tasks --------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        ttr: Duration = DEFAULT_TTR,
        retry: RetryPolicy | None = None,
        dead_letters: str | None = None,
        codec: Codec | None = None,
        weight: int | None = None,
        time_limit: Duration | None = None,
        hard_time_limit: Duration | None = None,
        at_once: int | None = None,
        rate: Rate | None = None,
        batch: int | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, *function: Any, **settings: Any) -> Any:
        """Make a function a task.

        ``tube``: where its jobs go, its own and no other task's; without it the function's
        name. ``priority`` and ``ttr`` (seconds a worker may stay silent over a job) of its
        puts. ``retry``: what follows a failure; without it the job is set aside at the first.
        ``dead_letters``: a tube for jobs that are given up, instead of burying them.
        ``codec``: bodies other than JSON. ``weight``: its share of the turns when several
        tubes have jobs; without any, the server's order over all tubes holds.
        ``time_limit`` seconds: TimeLimitExceeded is raised in the function;
        ``hard_time_limit``: the job is taken from it, and a process is killed.
        ``at_once``: how many may run in one worker; ``rate``: how often it may start there.
        ``batch`` (2 to 64): a slot that serves this task alone takes so many jobs at a time,
        for those of well under a millisecond.
        """
        if function:
            return self._added(Task(self, *function))
        return lambda decorated: self._added(Task(self, decorated, **settings))

    def every(
        self,
        when: str | Duration,
        *,
        tz: str | tzinfo = "UTC",
        missed: Missed = "one",
    ) -> Callable[[Task[P, R]], Task[P, R]]:
        """Put a job of this task, without arguments, at each tick.

            @app.every("*/5 * * * *", tz="Europe/Berlin")
            @app.task
            def report() -> None: ...

        ``when``: cron's five fields, ``@daily`` and the like, or an interval in seconds or as
        a timedelta. ``missed``: what is put for ticks that passed while no worker ran: "one"
        job for all of them, one for each ("all", a thousand at most), or "none". The workers
        of the app see to it, any number of them; see docs/worker.md for what is promised.
        """
        from beanrow.worker.cron import read_when
        from beanrow.worker.schedule import Schedule

        schedule_when = read_when(when, tz)

        def scheduled(task: Task[P, R]) -> Task[P, R]:
            schedule = Schedule(task, schedule_when, missed)
            tokens = Task(self, _token, tube=schedule.tube, at_once=1)
            tokens.schedule = schedule
            self._added(tokens)
            return task

        return scheduled

    def _added(self, task: Task[P, R]) -> Task[P, R]:
        other = self.tasks.get(task.tube)
        if other is not None:
            raise BadValueError(
                f"tube {task.tube!r} is task {other.name}'s: one task per tube, since the tube "
                f"alone tells what to run; give task {task.name} another one"
            )
        self.tasks[task.tube] = task
        return task

    def use_server(self, address: str) -> None:
        """Use another server than the one the app was made with."""
        self.close()
        self.address = read_address(address)

    def tls_context(self) -> ssl.SSLContext | None:
        """Give the TLS settings for a connection; None for a plain address."""
        return tls_context(self.address, self.tls)

    def hooks(self) -> Hooks:
        """Give the hooks of the middleware, as a worker calls them."""
        return Hooks(self.middleware)

    def tell_put(self, task: Task[Any, Any], *job_ids: int) -> None:
        """Tell the middleware of jobs that were put."""
        hooks = Hooks([one for one in self.middleware if type(one).on_put != Middleware.on_put])
        for job_id in job_ids:
            hooks.tell("on_put", task, job_id)

    # -- putting ------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The client that puts this app's jobs; made when it is first needed."""
        if self._client is None:
            from beanrow.client.sync import Client

            self._client = Client(self.address.url, timeout=self.timeout, tls=self.tls)
        return self._client

    def close(self) -> None:
        """Close the client. The next put opens another one."""
        for one in (self._client, self._replies):
            if one is not None:
                one.close()
        self._client = self._replies = None

    @property
    def replies(self) -> Replies:
        """Where this process's replies come in; made when the first is wanted."""
        if self._replies is None or self._replies.owner != os.getpid():
            from beanrow.worker.replies import Replies

            self._replies = Replies(self)
        return self._replies

    @contextmanager
    def inline(self) -> Iterator[None]:
        """Run each job as it is put, here and now: for tests, without server or worker.

        Its arguments go through a body first, as they would. What the function raises
        reaches the caller of ``put``, ``Release`` and ``Bury`` too. Delays are skipped.
        """
        from beanrow.worker.testing import Inline

        before, self.sink = self.sink, Inline()
        try:
            yield
        finally:
            self.sink = before

    def drain(self, *tasks: Task[..., Any]) -> int:
        """Run the jobs of these tasks here and now, to the last: for tests, with a server.

        All tasks of the app without arguments. What becomes of a job is as in a worker:
        retries, burials, dead letters, hooks. Delays are skipped. Gives the number of runs;
        RuntimeError for a job that is put back again and again.
        """
        from beanrow.worker.testing import drain

        return drain(self, tasks)


def _token(body: bytes) -> None:
    """Stand for a token of a schedule, which a slot carries out itself."""


class _Server:
    """Puts go to the server."""

    def __init__(self, app: App) -> None:
        self._app = app

    def put(
        self, task: Task[Any, Any], body: bytes, terms: Terms, unique: tuple[str, int] | None
    ) -> int:
        client = self._app.client
        tube, priority, delay, ttr = terms
        if unique is None:
            return client.put(body, tube=tube, priority=priority, delay=delay, ttr=ttr)
        key, life = unique
        return client.put_unique(
            key, body, tube=tube, lifetime=life, priority=priority, delay=delay, ttr=ttr
        )

    def put_many(self, task: Task[Any, Any], bodies: Iterable[bytes], terms: Terms) -> list[int]:
        return self._app.client.put_many(bodies, **terms._asdict())

    def submit(self, task: Task[Any, Any], body: bytes, terms: Terms) -> Reply[Any]:
        from beanrow.worker.replies import Reply
        from beanrow.worker.submitted import wrap

        replies = self._app.replies
        to, future = replies.expect()
        try:
            job_id = self.put(task, wrap(body, to), terms, None)
        except BaseException:
            replies.forget(to)
            raise
        return Reply(job_id, future, task)
