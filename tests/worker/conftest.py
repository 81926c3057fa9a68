"""Workers inside the test process, on each kind of server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from beanrow import App, Client, Middleware, NotFoundError, Run
from beanrow.worker.threads import ThreadWorker
from tests.servers import Server

PATIENCE = 20.0

KINDS = ["--threads", "--processes", "--tasks"]
_QUICK = {("beanrow", "--threads"), ("beanstalkd", "--processes"), ("beanrow", "--tasks")}
each_kind = pytest.mark.parametrize(
    ("server", "kind"),
    [
        pytest.param(server, kind, marks=() if (server, kind) in _QUICK else pytest.mark.long)
        for server in ("beanrow", "beanstalkd")
        for kind in KINDS
    ],
    indirect=["server"],
)
"""Each kind of worker on each kind of server; `make test` runs each kind on one of the two."""
one_server = pytest.mark.parametrize(
    "server", ["beanrow", pytest.param("beanstalkd", marks=pytest.mark.long)], indirect=True
)
"""For what a worker does by itself: `make test` does not repeat it on the other server."""


class Told(Middleware):
    """Remembers what the hooks were told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._new = threading.Condition()

    def _note(self, *event: Any) -> None:
        with self._new:
            self.events.append(event)
            self._new.notify_all()

    def wait_for(self, *event: Any, count: int = 1) -> None:
        """Wait until an event that begins like this was told so often."""
        with self._new:
            if not self._new.wait_for(lambda: self.count(*event) >= count, PATIENCE):
                raise AssertionError(f"{event} was not told {count} times: {self.events}")

    def count(self, *event: Any) -> int:
        return sum(one[: len(event)] == event for one in self.events)

    def on_start(self, app: App) -> None:
        self._note("start")

    def on_stop(self, app: App) -> None:
        self._note("stop")

    def after(self, run: Run) -> None:
        self._note("after", run.id)

    def on_failure(self, run: Run, error: BaseException) -> None:
        self._note("failure", run.id, str(error), run.attempt)

    def on_retry(self, run: Run, delay: float) -> None:
        self._note("retry", run.id, delay)

    def on_release(self, run: Run, delay: float) -> None:
        self._note("release", run.id, delay)

    def on_bury(self, run: Run, why: str) -> None:
        self._note("bury", run.id, why)

    def on_dead_letter(self, run: Run, tube: str) -> None:
        self._note("letter", run.id, tube)

    def on_lease_lost(self, run: Run) -> None:
        self._note("lost", run.id)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def app(server: Server, told: Told) -> Iterator[App]:
    app = App(server.address, middleware=[told])
    yield app
    app.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@contextlib.contextmanager
def working(app: App, threads: int = 3) -> Iterator[ThreadWorker]:
    """Run a worker of threads for the block."""
    worker = ThreadWorker(app, threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        in_time = worker.wait(PATIENCE)
        if not in_time:
            worker.give_back()
        worker.close()
        assert in_time, "the worker did not stop"


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so that only a look can tell."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to be so in time"
        time.sleep(0.01)


def is_gone(client: Client, job_id: int) -> bool:
    try:
        client.stats_job(job_id)
    except NotFoundError:
        return True
    return False
