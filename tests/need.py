"""What a test needs of the machine, and what happens where that is missing."""

from __future__ import annotations

import os

import pytest

from tests.engines import Kind, find_engine

__all__ = ["need"]


def need(kind: Kind) -> None:
    """Skip the test, or fail it where CI=true, if an engine is not installed."""
    if find_engine(kind) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{kind} is not installed: make install-engines", pytrace=False)
        pytest.skip(f"needs {kind}, which is not installed: make install-engines")
