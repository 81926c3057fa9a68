"""The features of cl-beanstalk, on each kind of server: fresh, as they count in `default`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beanrow import Client
from tests.servers import Daemon, OurServer


@pytest.fixture(params=["beanrow", "beanstalkd"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a server that has seen nothing yet."""
    with (
        OurServer() if request.param == "beanrow" else Daemon() as server,
        Client(server.address) as client,
    ):
        yield client
