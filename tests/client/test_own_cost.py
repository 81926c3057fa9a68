"""What a client's own Python takes of put + reserve + delete: shown, never judged.

The figure is in pytest's summary, so that CI's log keeps it: the kernel and the server are left
out, and what remains hardly depends on how busy the machine is. A time that fails a test would
fail on a slower machine too, so only what was said is judged.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.callers.fake_socket import BODY, FakeSocket, fake_socket_cost, without_kernel
from bench.callers.one_by_one import CLIENTS

MEASURED = ("beanrow", "greenstalk", "pystalk")


@pytest.mark.parametrize("client", MEASURED)
def test_put_reserve_and_delete_are_said_and_understood(client: str) -> None:
    heard: list[bytes] = []

    class ListeningSocket(FakeSocket):
        def send(self, data: bytes) -> int:
            heard.append(data)
            return super().send(data)

        def sendall(self, data: bytes) -> None:
            heard.append(data)
            super().sendall(data)

    with without_kernel(ListeningSocket):
        calls = CLIENTS[client](1, BODY)
        assert calls.put() == 1
        heard.clear()  # of what is said once a connection
        assert calls.cycle() == BODY
        calls.close()
    words = [request.split()[0] for request in heard]
    assert words == [b"put", b"reserve-with-timeout", b"delete"]


def test_own_cost_is_measured(record_property: Callable[[str, object], None]) -> None:
    costs = {client: fake_socket_cost(client) for client in MEASURED}
    assert min(costs.values()) > 0
    figures = ", ".join(f"{client} {cost:.2f} µs" for client, cost in costs.items())
    share = costs["beanrow"] / costs["greenstalk"]
    record_property(
        "own cost of put + reserve + delete on a fake socket",
        f"{figures}; {share:.2f} of greenstalk's",
    )
