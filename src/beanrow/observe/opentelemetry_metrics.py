"""Metrics for OpenTelemetry, of a worker and of servers.

    App(middleware=[OpenTelemetryMetrics()])        what becomes of jobs, in a worker
    ServerMetrics(client)                           what a server tells, at each collection

A worker's metrics have the names of the semantic conventions of messaging where those have one:

    messaging.client.sent.messages          jobs that this process put for a task
    messaging.process.duration              how long functions ran, s; error.type if they raised
    beanrow.jobs                            runs, by how they ended (beanrow.outcome)
    beanrow.retries                         failed runs that are followed by another attempt

Those of a server are ``beanrow.server.*`` and ``beanrow.tube.*``; the table below has them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from beanrow.errors import BeanstalkError
from beanrow.observe.snapshot import ALL_TUBES, Snapshot, Tubes, take_snapshot
from beanrow.worker.events import Middleware

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from beanrow.client.sync import Client
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["OpenTelemetryMetrics", "ServerMetrics"]

_SYSTEM = {"messaging.system": "beanstalkd"}
_FRESH = 0.5
"""Seconds for which one snapshot serves: all instruments are asked one after the other."""
_STATES = ("ready", "reserved", "delayed", "buried")

_Observe = Callable[[Snapshot], Iterable[Observation]]


class OpenTelemetryMetrics(Middleware):
    """Counts what becomes of jobs, as ``PrometheusMetrics`` does."""

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = metrics.get_meter("beanrow", meter_provider=meter_provider)
        self._provider = meter_provider
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs put for a task."
        )
        self._seconds = meter.create_histogram(
            "messaging.process.duration", "s", "How long the function ran."
        )
        self._jobs = meter.create_counter("beanrow.jobs", "{job}", "Runs, by how they ended.")
        self._retries = meter.create_counter(
            "beanrow.retries", "{job}", "Failed runs with another attempt to come."
        )

    def on_put(self, task: Task[Any, Any], job_id: int) -> None:
        """Count a put."""
        self._sent.add(1, _of(task.tube))

    def after(self, run: Run) -> None:
        """Count a run that returned."""
        self._seconds.record(run.seconds, _of(run.tube))
        self._ended(run, "done")

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Count a run that raised."""
        self._seconds.record(run.seconds, {**_of(run.tube), "error.type": type(error).__name__})
        self._ended(run, "failed")

    def on_retry(self, run: Run, delay: float) -> None:
        """Count another attempt to come."""
        self._retries.add(1, _of(run.tube))

    def on_release(self, run: Run, delay: float) -> None:
        """Count a job that was put back as its function asked."""
        self._ended(run, "released")

    def on_bury(self, run: Run, why: str) -> None:
        """Count a job that was set aside."""
        self._ended(run, "buried")

    def on_dead_letter(self, run: Run, tube: str) -> None:
        """Count a dead letter."""
        self._ended(run, "dead_letter")

    def on_lease_lost(self, run: Run) -> None:
        """Count a run whose result was not acknowledged."""
        self._ended(run, "lease_lost")

    def on_crash(self, run: Run) -> None:
        """Count a process that ended under its job."""
        self._ended(run, "crashed")

    def _ended(self, run: Run, outcome: str) -> None:
        self._jobs.add(1, {**_of(run.tube), "beanrow.outcome": outcome})


def _of(tube: str) -> dict[str, str]:
    return {**_SYSTEM, "messaging.destination.name": tube}


class ServerMetrics:
    """Tells what a server tells, each time that the SDK collects; ``tubes`` are those it tells of.

    One snapshot serves a collection. A server that does not answer has ``beanrow.server.up`` 0 and
    nothing else.
    """

    def __init__(
        self,
        client: Client,
        meter_provider: MeterProvider | None = None,
        *,
        tubes: Tubes = ALL_TUBES,
    ) -> None:
        self._client = client
        self._tubes = tubes
        self._lock = threading.Lock()
        self._taken_at = float("-inf")
        self._snapshot: Snapshot | None = None
        meter = metrics.get_meter("beanrow", meter_provider=meter_provider)
        meter.create_observable_gauge(
            "beanrow.server.up", [self._up], "1", "1 if the server answered."
        )
        for name, kind, unit, words, observe in _INSTRUMENTS:
            create = getattr(meter, f"create_observable_{kind}")
            create(name, [self._callback(observe)], unit, words)

    def _up(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(int(self._look() is not None))]

    def _callback(self, observe: _Observe) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def call(_options: CallbackOptions) -> Iterable[Observation]:
            snapshot = self._look()
            return () if snapshot is None else observe(snapshot)

        return call

    def _look(self) -> Snapshot | None:
        with self._lock:
            if time.monotonic() - self._taken_at > _FRESH:
                try:
                    self._snapshot = take_snapshot(self._client, self._tubes)
                except BeanstalkError:
                    self._snapshot = None  # beanrow.server.up tells it
                self._taken_at = time.monotonic()
            return self._snapshot


def _server(key: str) -> _Observe:
    def observe(snapshot: Snapshot) -> Iterable[Observation]:
        value = snapshot.stats.as_dict().get(key)
        return () if value is None else [Observation(value)]

    return observe


def _server_states(snapshot: Snapshot) -> Iterable[Observation]:
    told = snapshot.stats.as_dict()
    return [Observation(told[f"current-jobs-{one}"], {"beanrow.state": one}) for one in _STATES]


def _commands(snapshot: Snapshot) -> Iterable[Observation]:
    told = snapshot.stats.as_dict().items()
    return [
        Observation(value, {"beanrow.command": key.removeprefix("cmd-")})
        for key, value in told
        if key.startswith("cmd-")
    ]


def _tube(key: str) -> _Observe:
    def observe(snapshot: Snapshot) -> Iterable[Observation]:
        return [
            Observation(value, _of(name))
            for name, stats in snapshot.tubes.items()
            if (value := stats.as_dict().get(key)) is not None
        ]

    return observe


def _tube_states(snapshot: Snapshot) -> Iterable[Observation]:
    return [
        Observation(told[f"current-jobs-{one}"], {**_of(name), "beanrow.state": one})
        for name, stats in snapshot.tubes.items()
        for told in [stats.as_dict()]
        for one in _STATES
    ]


_INSTRUMENTS: tuple[tuple[str, str, str, str, _Observe], ...] = (
    ("beanrow.server.jobs", "gauge", "{job}", "Jobs by state.", _server_states),
    ("beanrow.server.put", "counter", "{job}", "Jobs put.", _server("total-jobs")),
    ("beanrow.server.commands", "counter", "{command}", "Commands by name.", _commands),
    (
        "beanrow.server.timeouts",
        "counter",
        "{job}",
        "Jobs whose ttr ended.",
        _server("job-timeouts"),
    ),
    (
        *("beanrow.server.connections", "gauge", "{connection}", "Open connections."),
        _server("current-connections"),
    ),
    (
        *("beanrow.server.workers", "gauge", "{connection}", "Those that have reserved."),
        _server("current-workers"),
    ),
    (
        *("beanrow.server.waiting", "gauge", "{connection}", "Those that wait for a job."),
        _server("current-waiting"),
    ),
    ("beanrow.tube.jobs", "gauge", "{job}", "Jobs of a tube by state.", _tube_states),
    ("beanrow.tube.put", "counter", "{job}", "Jobs put into a tube.", _tube("total-jobs")),
    ("beanrow.tube.deleted", "counter", "{job}", "Jobs deleted from a tube.", _tube("cmd-delete")),
    (
        *("beanrow.tube.watching", "gauge", "{connection}", "Connections that watch a tube."),
        _tube("current-watching"),
    ),
    (
        *("beanrow.tube.waiting", "gauge", "{connection}", "Those that wait for a job of a tube."),
        _tube("current-waiting"),
    ),
    (
        *("beanrow.tube.oldest_ready_age", "gauge", "s", "Age of the oldest ready job of a tube."),
        _tube("oldest-ready-age"),
    ),
)
