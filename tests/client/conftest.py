"""A client of each kind of server in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beanrow import Client
from tests.servers import Server


@pytest.fixture
def client(server: Server, tube: str) -> Iterator[Client]:
    """A client that uses and watches a tube of its own, and no other."""
    with Client(server.address) as client:
        client.use(tube)
        client.watch(tube)
        client.ignore("default")
        yield client


@pytest.fixture
def other(server: Server) -> Iterator[Client]:
    """A second client of the same server, fresh."""
    with Client(server.address) as client:
        yield client
