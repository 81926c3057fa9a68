"""The verb `top` where it prints: what it shows once, as lines and as a document."""

from __future__ import annotations

import sys

import pytest

from beanrow import Client
from tests.cli.inside import refused, told, well
from tests.servers import Daemon, Server

QUICK = ("--interval", "0.1")


def test_once_prints_the_table(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.put_many(["x"] * 3, tube=tube)
        text = well("top", "--once", *QUICK, "--server", server.address, tube)
    lines = text.splitlines()
    assert server.address in lines[0]
    assert lines[3].startswith("v tube ")
    assert len(lines) == 5
    assert lines[4].split()[:2] == [tube, "3"]
    assert max(map(len, lines)) <= 80


def test_as_a_document(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.put_many(["x"] * 3, tube=tube)
        client.watch(tube)
        client.reserve()
        document = told("top", *QUICK, "--server", server.address, tube)
    (row,) = document["tubes"]
    assert (row["name"], row["current-jobs-ready"], row["puts-a-second"]) == (tube, 2, 0)
    assert document["a-second"]["puts"] >= 0
    assert document["stats"]["current-tubes"] >= 1
    if isinstance(server, Daemon):
        assert (document["leases"], document["clients"]) == (None, None)
    else:
        (lease,) = [one for one in document["leases"] if one["tube"] == tube]
        assert lease["time-left"] <= 60
        assert lease["connection"] in {one["connection"] for one in document["clients"]}


def test_without_textual_it_says_what_to_install(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith(("textual", "beanrow.top.app"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setattr("beanrow.cli.top.on_terminal", lambda: True)
    assert "pip install 'beanrow[top]'" in refused(2, "top", "--server", server.address)
