"""A dashboard on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beanrow import Client
from tests.dashboard.desk import Dash
from tests.servers import Server


@pytest.fixture(scope="session")
def dash(server: Server) -> Iterator[Dash]:
    with Dash(server.address) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected
