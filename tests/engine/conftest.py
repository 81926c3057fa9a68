"""Fixtures for tests of the engine on a virtual clock."""

from __future__ import annotations

import pytest

from tests.engine.peers import Peer, VirtualQueue


@pytest.fixture
def queue() -> VirtualQueue:
    return VirtualQueue()


@pytest.fixture
def peer(queue: VirtualQueue) -> Peer:
    return queue.peer()


@pytest.fixture
def other(queue: VirtualQueue) -> Peer:
    return queue.peer()
