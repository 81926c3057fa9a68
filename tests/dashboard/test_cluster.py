"""Gateways, and the machines behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beanrow import Client
from tests.dashboard.desk import Dash, read
from tests.dashboard.test_access import rights
from tests.engines import Engine
from tests.need import need
from tests.servers import GatewayServer


@pytest.fixture
def engine() -> Iterator[Engine]:
    need("redis")
    with Engine() as running:
        yield running


def test_a_gateway_is_a_server_and_its_machines_are_shown(engine: Engine) -> None:
    with (
        GatewayServer(store=engine.url) as gateway,
        Client(gateway.address) as client,
        Dash(gateway.address, store=engine.url) as dash,
    ):
        job_id = client.put("hello", tube="emails")
        assert "emails" in dash.page("/1/")
        assert "hello" in dash.page(f"/1/job/{job_id}")
        assert dash.do("/1/jobs", name="emails", action="delete", id=[job_id]).startswith("1 job")
        assert dash.do("/1/undo", change=1).startswith("1 job put back")
        assert 'href="/cluster"' in dash.page("/1/")
        words = read(dash.page("/cluster"))
        assert "redis 7." in words
        assert "256 0 0 bytes" in words
        assert "serves" in words
        engine.stop()
        assert dash.desk.machines is not None
        dash.desk.machines._looked = 0
        assert "The store does not answer" in read(dash.page("/cluster"))


def test_without_a_store_there_are_no_machines(dash: Dash) -> None:
    assert dash.get("/cluster").status_code == 404
    assert 'href="/cluster"' not in dash.page("/1/")


def test_the_machines_need_a_right(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("rights") / "rights.toml"
    file.write_text(rights())
    with Dash("127.0.0.1:1", store=engine.url, rights=file) as dash:
        assert dash.get("/cluster").url.path == "/login"
        dash.login("worker")
        assert dash.get("/cluster").status_code == 403
        assert dash.get("/live/cluster").status_code == 403
        dash.login("operator")
        assert dash.get("/cluster").status_code == 200
