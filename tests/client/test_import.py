"""What a program pays that imports the client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import beanrow

SOURCE = Path(beanrow.__file__).parent.parent
EXPENSIVE = {"asyncio", "dataclasses", "json", "logging", "ssl", "subprocess", "tempfile", "urllib"}


def test_importing_beanrow_loads_nothing_expensive() -> None:
    """Each of these costs milliseconds; a client of one server needs none of them."""
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import beanrow; print(*sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True
    )
    loaded = set(told.stdout.decode().split())
    assert "beanrow.client.sync" in loaded
    assert loaded & EXPENSIVE == set()


def test_every_public_name_is_there() -> None:
    assert [name for name in beanrow.__all__ if not hasattr(beanrow, name)] == []
    assert set(beanrow.__all__) <= set(dir(beanrow))
    assert beanrow.__version__[0].isdigit()


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Beanstalk'"):
        beanrow.Beanstalk  # noqa: B018


def test_all_errors_of_the_package_are_public() -> None:
    from beanrow import errors

    exceptions = {
        name
        for name in errors.__all__
        if isinstance(one := getattr(errors, name), type) and issubclass(one, Exception)
    }
    assert exceptions <= set(beanrow.__all__)


def test_a_duration_is_a_type_at_run_time() -> None:
    """Programs write ``Duration | None`` in annotations that Python evaluates."""
    assert isinstance(1.5, beanrow.Duration)
    assert not isinstance("1", beanrow.Duration | None)
