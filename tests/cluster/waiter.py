"""To know when a reserve waits at a gateway."""

from __future__ import annotations

import time

from tests.server.talk import Talk
from tests.servers import GatewayServer


def await_waiter(gateway: GatewayServer, tube: str) -> None:
    """Wait until somebody waits for the tube there."""
    with Talk(gateway) as talk:
        while b"current-waiting: 0\n" in talk.ask(b"stats-tube %b\r\n" % tube.encode()):
            time.sleep(0.01)
