"""Traces for OpenTelemetry: ``App(middleware=[OpenTelemetryTraces()])``.

A body carries nothing of ours, so a run cannot hold the context of its put. What both know is
the server and the id of the job: the trace of a job is computed from those. Its runs are spans
of that trace, all attempts together, whoever put the job; a put is a span of its caller's
trace and links to that one.

Law: a span ends where its run does, once, and what follows (a retry, a burial) is no part of
it. Nothing of a body is an attribute.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from beanrow.worker.events import Middleware

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

    from beanrow.worker.app import App
    from beanrow.worker.run import Run
    from beanrow.worker.task import Task

__all__ = ["OpenTelemetryTraces", "job_context"]


def job_context(server: str, job_id: int) -> SpanContext:
    """Give the context that all spans of a job belong or link to."""
    digest = hashlib.blake2b(f"{server} {job_id}".encode(), digest_size=24).digest()
    trace_id, span_id = int.from_bytes(digest[:16]), int.from_bytes(digest[16:])
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))


class OpenTelemetryTraces(Middleware):
    """Makes a span of each put and of each run.

    ``server`` names the server, the same for those who put and those who work; without it
    that is the app's address.
    """

    def __init__(
        self, server: str | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        self._server = server
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("beanrow", tracer_provider=tracer_provider)
        self._open: dict[Run, tuple[Span, Token[Context]]] = {}

    def on_put(self, task: Task[Any, Any], job_id: int) -> None:
        """Make the span of a put, and link it to the job's trace."""
        with self._tracer.start_as_current_span(
            f"send {task.tube}",
            kind=SpanKind.PRODUCER,
            attributes=self._attributes(task, job_id),
            links=[Link(job_context(self._name(task), job_id))],
        ):
            pass

    def before(self, run: Run) -> None:
        """Begin the span of a run; what the function does are its children."""
        from opentelemetry import context

        of_job = NonRecordingSpan(job_context(self._name(run.task), run.id))
        span = self._tracer.start_span(
            f"process {run.tube}",
            trace.set_span_in_context(of_job),
            SpanKind.CONSUMER,
            self._attributes(run.task, run.id),
        )
        self._open[run] = span, context.attach(trace.set_span_in_context(span))

    def after(self, run: Run) -> None:
        """End the span of a run that returned."""
        self._end(run, "done")

    def on_failure(self, run: Run, error: BaseException) -> None:
        """End the span of a run that raised."""
        self._end(run, "failed", error)

    def on_release(self, run: Run, delay: float) -> None:
        """End the span of a run that put its job back."""
        self._end(run, "released")

    def on_bury(self, run: Run, why: str) -> None:
        """End the span of a run that buried its job; that of a failed one has ended."""
        self._end(run, "buried")

    def on_lease_lost(self, run: Run) -> None:
        """End the span of a run whose result was not acknowledged."""
        self._end(run, "lease_lost")

    def on_stop(self, app: App) -> None:
        """Send the spans that are still to be sent."""
        provider: Any = self._provider or trace.get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush()

    def _end(self, run: Run, outcome: str, error: BaseException | None = None) -> None:
        from opentelemetry import context

        span, token = self._open.pop(run, (None, None))
        if span is None or token is None:
            return
        if run.attempt is not None:
            span.set_attribute("beanrow.attempt", run.attempt)
        span.set_attribute("beanrow.outcome", outcome)
        if error is not None:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end()
        if trace.get_current_span() is span:  # not where the keeper took the job away
            context.detach(token)

    def _name(self, task: Task[Any, Any]) -> str:
        return self._server or str(task.app.address)

    def _attributes(self, task: Task[Any, Any], job_id: int) -> dict[str, AttributeValue]:
        return {
            "messaging.system": "beanstalkd",
            "messaging.destination.name": task.tube,
            "messaging.message.id": str(job_id),
            "server.address": self._name(task),
            "beanrow.task": task.name,
        }
