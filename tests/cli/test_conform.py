"""The verb `conform`; what it plays is in tests/conform."""

from __future__ import annotations

import pytest

from beanrow.testing import Beanstalk
from tests.cli.inside import inside, refused, told, well
from tests.conform.planted import PLANTED


def test_the_server_as_an_argument_and_as_an_option(beanstalk: Beanstalk) -> None:
    for where in ((beanstalk.address,), ("--server", beanstalk.address)):
        assert well("conform", *where, "--case", "101").endswith(
            "1 agree, 0 differ as known, 0 differ\n"
        )
    document = told("conform", beanstalk.address, "--case", "724")
    assert document["known-differences"][0]["name"] == "capabilities-is-known"


def test_a_difference_ends_with_1(beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["quit_says_goodbye"][0](monkeypatch)
    beanstalk.reset()
    done = inside("conform", beanstalk.address, "--case", "714")
    assert (done.code, done.err) == (1, "")
    assert b"heard: GOODBYE" in done.out


def test_list() -> None:
    assert "\n302 the smallest priority value comes first\n" in well("conform", "--list")


def test_what_cannot_be_done() -> None:
    assert "no case 999" in refused(2, "conform", "localhost:1", "--case", "999")
    assert "without TLS" in refused(2, "conform", "beanstalks://localhost:1")
    assert "cannot connect to 127.0.0.1:1" in refused(3, "conform", "127.0.0.1:1")
