"""The installed wheel in a test run of others: the fixture is there, without a word about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.installed import Installed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

USES_IT = """
def test_it(beanstalk):
    beanstalk.client().put("x", tube="emails", delay=3600)
    beanstalk.clock.advance(3600)
    beanstalk.assert_jobs("emails", ready=1)
"""
DOES_NOT = """
import sys

def test_it():
    assert [one for one in sys.modules if one.split(".")[0] == "beanrow"] == []
"""


@pytest.fixture
def with_pytest(python: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel and pytest, nothing else."""
    home = Installed.make(tmp_path_factory.mktemp("pytest"), python)
    home.pip("install", str(wheel), "pytest")
    return home


def test_the_fixture_and_the_suite_are_in_the_wheel(with_pytest: Installed) -> None:
    for name, text in (("test_uses.py", USES_IT), ("test_other.py", DOES_NOT)):
        (with_pytest.path / name).write_text(text)
    # Each in a run of its own: who uses it imports it.
    for name in ("test_uses.py", "test_other.py"):
        assert "1 passed" in with_pytest.run("python", "-W", "error", "-m", "pytest", "-q", name)
    told = with_pytest.run("python", "-m", "beanrow.conform", "--list")
    assert told.startswith("101 put stores a job")
