"""Metrics of a worker for Prometheus: ``App(middleware=[PrometheusMetrics()])``.

    beanrow_puts_total{tube}                jobs that this process put for a task
    beanrow_jobs_total{tube, outcome}       runs, by how they ended: done, failed, released,
                                            buried, dead_letter, lease_lost, crashed
    beanrow_retries_total{tube}             failed runs that are followed by another attempt
    beanrow_job_seconds{tube}               how long functions ran that returned or raised

A run that failed counts as ``failed``, and once more as ``buried`` or ``dead_letter`` if it
was the last. Who serves them is the program: ``prometheus_client.start_http_server``. With
``--processes`` the library needs PROMETHEUS_MULTIPROC_DIR and its ``MultiProcessCollector``,
as with any server that forks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from beanrow.worker.events import Middleware

if TYPE_CHECKING:
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["PrometheusMetrics"]


class PrometheusMetrics(Middleware):
    """Counts what becomes of jobs; make one in a program, as each registers its metrics."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        tube = ["tube"]
        self._puts = Counter("beanrow_puts", "Jobs put for a task", tube, registry=registry)
        self._jobs = Counter(
            "beanrow_jobs", "Runs, by how they ended", ["tube", "outcome"], registry=registry
        )
        self._retries = Counter(
            "beanrow_retries", "Failed runs with another attempt to come", tube, registry=registry
        )
        self._seconds = Histogram(
            "beanrow_job_seconds", "How long the function ran", tube, registry=registry
        )

    def on_put(self, task: Task[Any, Any], job_id: int) -> None:
        """Count a put."""
        self._puts.labels(task.tube).inc()

    def after(self, run: Run) -> None:
        """Count a run that returned."""
        self._ended(run, "done")
        self._seconds.labels(run.tube).observe(run.seconds)

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Count a run that raised."""
        self._ended(run, "failed")
        self._seconds.labels(run.tube).observe(run.seconds)

    def on_retry(self, run: Run, delay: float) -> None:
        """Count another attempt to come."""
        self._retries.labels(run.tube).inc()

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
        self._jobs.labels(run.tube, outcome).inc()
