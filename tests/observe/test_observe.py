"""What observers make of a worker's hooks: metrics, traces, reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from beanrow import App, Bury, Middleware, Release, Retry
from beanrow.observe.opentelemetry import OpenTelemetryTraces, job_context
from beanrow.observe.prometheus import PrometheusMetrics
from beanrow.observe.sentry import SentryReports
from beanrow.testing import Beanstalk

TUBE = "observed"


@pytest.fixture
def observed(beanstalk: Beanstalk) -> Iterator[App]:
    """One task, and jobs that end in each way."""
    app = App(beanstalk.address)

    @app.task(tube=TUBE, retry=Retry(2, delay=0))
    def choose(how: str, n: int = 0) -> None:
        if how == "bury":
            raise Bury("as it asked")
        if how == "fail":
            raise ValueError("no good")
        if how == "release":
            raise Release(delay=0)

    yield app
    app.close()


def run_all(app: App, observer: Middleware) -> dict[str, int]:
    app.middleware.append(observer)
    task = app.tasks[TUBE]
    ids = dict(zip(("done", "bury"), task.put_many([("done",), ("bury",)]), strict=True))
    ids["fail"] = task.put("fail")
    assert app.drain() == 4
    observer.on_stop(app)
    return ids


def test_metrics(observed: App) -> None:
    registry = CollectorRegistry()
    run_all(observed, PrometheusMetrics(registry))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"beanrow_{name}", {"tube": TUBE, **labels})

    assert value("puts_total") == 3
    assert value("retries_total") == 1
    ended = {one: value("jobs_total", outcome=one) for one in ("done", "failed", "buried")}
    assert ended == {"done": 1, "failed": 2, "buried": 2}
    assert value("job_seconds_count") == 3


def test_traces(observed: App) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = OpenTelemetryTraces("queue", provider)
    seen: list[Any] = []

    class Inner(Middleware):
        def before(self, run: Any) -> None:
            seen.append(trace.get_current_span().get_span_context().trace_id)

    observed.middleware.append(traces)
    ids = run_all(observed, Inner())
    assert not trace.get_current_span().get_span_context().is_valid
    spans = exporter.get_finished_spans()

    def of(kind: str, name: str) -> list[ReadableSpan]:
        return [
            one
            for one in spans
            if one.name == f"{kind} {TUBE}"
            and one.attributes is not None
            and one.attributes["messaging.message.id"] == str(ids[name])
        ]

    for name, outcomes in (("done", ["done"]), ("bury", ["buried"]), ("fail", ["failed"] * 2)):
        of_job = job_context("queue", ids[name])
        (put,) = of("send", name)
        assert [link.context for link in put.links] == [of_job]
        assert put.parent is None
        runs = of("process", name)
        assert [dict(one.attributes or {})["beanrow.outcome"] for one in runs] == outcomes
        for one in runs:
            assert one.context is not None
            assert one.context.trace_id == of_job.trace_id
            assert one.parent == of_job
            assert one.context.trace_id in seen
    assert [event.name for event in of("process", "fail")[0].events] == ["exception"]
    assert traces._open == {}


def test_reports(observed: App) -> None:
    events: list[dict[str, Any]] = []

    def keep(event: Any, _hint: Any) -> None:
        events.append(event)

    sentry_sdk.init("http://key@127.0.0.1:9/1", before_send=keep, default_integrations=False)
    try:
        ids = run_all(observed, SentryReports())
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
    assert [one["level"] for one in events] == ["warning", "error"]
    for attempt, one in enumerate(events, 1):
        assert one["exception"]["values"][-1]["value"] == "no good"
        assert one["tags"] == {
            "beanrow.tube": TUBE, "beanrow.task": "choose",
            "beanrow.job": ids["fail"], "beanrow.attempt": attempt,
        }  # fmt: skip
    assert events[1]["extra"]["outcome"] == "buried: ValueError: no good"
