"""A dashboard on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from beanrow import Client
from tests.dashboard.desk import Dash
from tests.servers import Daemon, OurServer, Server

collect_ignore = [] if find_spec("playwright") else ["test_browser.py"]
"""Its driver comes with ``make test-long`` alone, and all tests there are long."""


@pytest.fixture(scope="session", params=["beanrow", "beanstalkd"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for the dashboard alone.

    On the daemon a page of jobs looks through some thousand ids; other tests use up a million.
    """
    with OurServer() if request.param == "beanrow" else Daemon() as running:
        yield running


@pytest.fixture(scope="session")
def dash(server: Server) -> Iterator[Dash]:
    with Dash(server.address) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected
