"""The verbs that look at what happens: tail and watch."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from beanrow import Client
from tests.cli.inside import inside, refused, told, well
from tests.servers import Server, free_port


@pytest.fixture
def at(server: Server) -> tuple[str, str]:
    return ("--server", server.address)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as one:
        yield one


# -- tail ----------------------------------------------------------------------------------------


def test_tail_shows_each_job_once_and_puts_it_back(
    client: Client, tube: str, at: tuple[str, str]
) -> None:
    ids = client.put_many(["a", "\x1b[0m"], tube=tube, priority=3)
    lines = well("tail", "--tube", tube, "--timeout", "0", *at).splitlines()
    assert [line.split() for line in lines] == [
        [str(ids[0]), tube, "3", "a"],
        [str(ids[1]), tube, "3", r"\x1b[0m"],
    ]
    seen = [client.stats_job(one) for one in ids]
    assert {(one.state, one.pri, one.delay) for one in seen} == {("delayed", 3, 10)}


def test_tail_deletes_or_buries(client: Client, tube: str, at: tuple[str, str]) -> None:
    ids = client.put_many("abc", tube=tube)
    out = well("tail", "--tube", tube, "--count", "1", "--delete", "--json", *at)
    assert json.loads(out) == {"id": ids[0], "tube": tube, "pri": 65536, "body": "a"}
    out = well("tail", "--tube", tube, "--timeout", "0", "--bury", "--json", *at)
    assert [json.loads(line)["body"] for line in out.splitlines()] == ["b", "c"]
    assert client.stats_tube(tube).current_jobs_buried == 2
    assert "no job within 0 s" in refused(1, "tail", "--tube", tube, "--timeout", "0", *at)
    assert "for ever" in refused(2, "tail", "--delay", "0", *at)


# -- watch ---------------------------------------------------------------------------------------


def test_watch_tells_by_its_exit_code(client: Client, tube: str, at: tuple[str, str]) -> None:
    client.put_many(["x"] * 5, tube=tube)

    def code(*bounds: str) -> int:
        return inside("watch", tube, *bounds, *at).code

    assert code("--warning", "ready>5", "--critical", "buried>0") == 0
    assert code("--warning", "ready>4") == 1
    assert code("--warning", "ready > 4", "--critical", "watching<1") == 2
    done = inside("watch", f"{tube}*", "--critical", "ready>3", *at)
    assert done.out.decode() == f"CRITICAL - {tube} has ready 5 (ready>3) on {at[1]}\n"
    assert inside("watch", tube, "--warning", "ready>9", *at).out == b"OK - 1 tube within bounds\n"


def test_watch_as_json(client: Client, tube: str, at: tuple[str, str]) -> None:
    client.put("x", tube=tube)
    done = inside("watch", tube, "--warning", "ready>0", "--json", *at)
    (one,) = json.loads(done.out)["tubes"]
    assert (one["level"], one["broken"], one["ready"]) == ("WARNING", ["ready>0"], 1)


def test_watch_where_nothing_is(tube: str, at: tuple[str, str]) -> None:
    assert told("watch", tube, "--warning", "ready>0", *at)["level"] == "OK"
    assert inside("watch", tube, "--critical", "watching<1", *at).code == 2
    assert "the figures are ready" in refused(2, "watch", tube, "--warning", "red>0", *at)
    assert "give --warning" in refused(2, "watch", tube, *at)
    nobody = f"127.0.0.1:{free_port()}"
    refused(3, "watch", tube, "--warning", "ready>0", "--server", nobody)
