"""Engines and gateways. The engine is one for a test process: use tubes of your own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.engines import Engine
from tests.need import need
from tests.servers import GatewayServer


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    need("redis")
    with Engine() as running:
        yield running


@pytest.fixture
def fresh_engine() -> Iterator[Engine]:
    need("redis")
    with Engine() as running:
        yield running


@pytest.fixture(scope="module")
def two_gateways(engine: Engine) -> Iterator[tuple[GatewayServer, GatewayServer]]:
    with GatewayServer(store=engine.url) as one, GatewayServer(store=engine.url) as other:
        yield one, other


@pytest.fixture
def start_gateway() -> Iterator[Callable[..., GatewayServer]]:
    """Start gateways: `start_gateway(store=engine.url)`. The test's end stops them all."""
    with contextlib.ExitStack() as running:

        def start(*flags: str, store: str | None = None) -> GatewayServer:
            return running.enter_context(GatewayServer(*flags, store=store))

        yield start
