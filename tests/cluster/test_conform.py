"""All cases of the protocol, played to a gateway over each engine."""

from __future__ import annotations

import pytest

from beanrow import Client
from beanrow.conform.case import read_cases
from beanrow.conform.suite import play_all
from beanrow.conform.talk import Place
from tests.engines import Engine
from tests.need import need
from tests.servers import GatewayServer

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "kind",
    ["redis", "valkey8", "valkey9"],
)
def test_a_gateway_conforms(kind: str) -> None:
    need(kind)
    with Engine(kind=kind) as engine, GatewayServer(store=engine.url) as gateway:
        report = play_all(Place(gateway.host, gateway.port), read_cases())
        complaints = [
            "\n".join([f"{one.case.number} {one.case.title}", *one.transcript, one.heard])
            for one in report.outcomes
            if one.result == "differs"
        ]
        assert complaints == []
        assert report.differences == ["capabilities-is-known", "http-closes"]
        assert len(report.outcomes) > 150
        with Client(gateway.address) as client:
            assert client.list_tubes() == ["default"]
            stats = client.stats()
        assert stats.total_jobs > 100
        assert stats.current_jobs_ready == stats.current_jobs_delayed == 0
        assert "internal error" not in gateway.told()
