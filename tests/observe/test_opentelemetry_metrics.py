"""Metrics for OpenTelemetry, read back with the SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from beanrow import App, Bury, Client, Retry
from beanrow.observe.opentelemetry_metrics import OpenTelemetryMetrics, ServerMetrics
from beanrow.observe.snapshot import Tubes
from beanrow.testing import Beanstalk
from tests.servers import Daemon, OurServer

Read = Callable[[], dict[tuple[str, tuple[tuple[str, Any], ...]], Any]]


@pytest.fixture
def provider_and_read() -> tuple[MeterProvider, Read]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    def read() -> dict[tuple[str, tuple[tuple[str, Any], ...]], Any]:
        found = {}
        data = reader.get_metrics_data()
        assert data is not None
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = {
                            key: value
                            for key, value in (point.attributes or {}).items()
                            if key != "messaging.system"
                        }
                        value = getattr(point, "value", None)
                        if value is None:
                            value = point.count  # type: ignore[union-attr]  # of a histogram
                        found[metric.name, tuple(sorted(labels.items()))] = value
        return found

    return provider, read


def test_a_worker(beanstalk: Beanstalk, provider_and_read: tuple[MeterProvider, Read]) -> None:
    provider, read = provider_and_read
    app = App(beanstalk.address, middleware=[OpenTelemetryMetrics(provider)])

    @app.task(tube="observed", retry=Retry(2, delay=0))
    def choose(how: str) -> None:
        if how == "bury":
            raise Bury("as it asked")
        if how == "fail":
            raise ValueError("no good")

    choose.put_many([("done",), ("bury",), ("fail",)])
    app.drain()
    app.close()
    tube = ("messaging.destination.name", "observed")
    found = read()
    assert found["messaging.client.sent.messages", (tube,)] == 3
    assert found["messaging.process.duration", (tube,)] == 1
    assert found["messaging.process.duration", (("error.type", "ValueError"), tube)] == 2
    assert found["beanrow.retries", (tube,)] == 1
    outcomes = {
        outcome: found["beanrow.jobs", (("beanrow.outcome", outcome), tube)]
        for outcome in ("done", "failed", "buried")
    }
    assert outcomes == {"done": 1, "failed": 2, "buried": 2}


@pytest.mark.parametrize("kind", [OurServer, Daemon])
def test_a_server(
    kind: type[OurServer | Daemon], provider_and_read: tuple[MeterProvider, Read]
) -> None:
    provider, read = provider_and_read
    with kind() as server, Client(server.address, timeout=2) as client:
        ServerMetrics(client, provider, tubes=Tubes(("mail",)))
        client.put_many(["x"] * 3, tube="mail")
        client.put("y", tube="other")
        client.watch("mail")
        client.delete(client.reserve())
        found = read()
        mail = ("messaging.destination.name", "mail")
        assert found["beanrow.server.up", ()] == 1
        assert found["beanrow.server.put", ()] == 4
        assert found["beanrow.server.commands", (("beanrow.command", "put"),)] == 4
        assert found["beanrow.server.jobs", (("beanrow.state", "ready"),)] == 3
        assert found["beanrow.tube.jobs", (("beanrow.state", "ready"), mail)] == 2
        assert (found["beanrow.tube.put", (mail,)], found["beanrow.tube.deleted", (mail,)]) == (
            3,
            1,
        )
        assert (("beanrow.tube.oldest_ready_age", (mail,)) in found) is (kind is OurServer)
        assert not [
            labels for _, labels in found if ("messaging.destination.name", "other") in labels
        ]


def test_a_server_that_does_not_answer(
    our_server: OurServer, provider_and_read: tuple[MeterProvider, Read]
) -> None:
    provider, read = provider_and_read
    with Client(our_server.address, timeout=1) as client:
        our_server.stop()
        ServerMetrics(client, provider)
        assert read() == {("beanrow.server.up", ()): 0}
