"""`beanrow peek`, `stats` and `tubes`: nothing is taken by looking."""

from __future__ import annotations

import os

import pytest

from beanrow import Client
from tests.cli.command import complaint, document, environment, good, read_terminal, run
from tests.cli.scripted import Scripted
from tests.servers import Server

BINARY = b"\x00\xff\n"


def test_peek_in_each_state(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        buried = client.put(b"buried", tube=tube)
        client.watch(tube)
        client.ignore("default")
        client.bury(client.reserve(5) or 0)
        ready = client.put(BINARY, tube=tube)
        delayed = client.put(b"delayed", tube=tube, delay=100)
    look = ("peek", "--server", server.address, "--tube", tube)
    assert good(*look) == BINARY
    assert good(*look, "--state", "ready") == BINARY
    assert good(*look, "--state", "delayed") == b"delayed"
    assert good(*look, "--state", "buried") == b"buried"
    assert document(*look) == {"id": ready, "tube": tube, "body_base64": "AP8K"}
    assert document(*look, "--state", "buried")["id"] == buried
    assert document("peek", str(delayed), "--server", server.address) == {
        "id": delayed,
        "tube": tube,
        "body": "delayed",
    }
    assert good("peek", str(ready), "--server", server.address) == BINARY


@pytest.mark.parametrize("state", ["ready", "delayed", "buried"])
def test_peek_where_nothing_is(server: Server, tube: str, state: str) -> None:
    done = run("peek", "--server", server.address, "--tube", tube, "--state", state, "--json")
    assert f"no {state} job in tube {tube};" in complaint(done, 1)
    assert done.stdout == b""


def test_a_job_that_is_not_there(server: Server) -> None:
    for arguments in (("peek", "999999999"), ("stats", "--job", "999999999")):
        told = complaint(run("--server", server.address, *arguments), 1)
        assert told.startswith("beanrow: no job 999999999: ")


def test_a_tube_that_is_not_there(server: Server, tube: str) -> None:
    told = complaint(run("stats", "--server", server.address, "--tube", tube), 1)
    assert told.startswith(f"beanrow: no tube {tube}; 'beanrow tubes'")


def test_stats_of_the_server(server: Server) -> None:
    told = document("stats", "--server", server.address)
    assert told["pid"] == server.pid
    assert isinstance(told["version"], str)
    table = good("stats", "--server", server.address).decode()
    assert ["pid", str(server.pid)] in [line.split() for line in table.splitlines()]
    assert [line.split()[0] for line in table.splitlines()] == list(told)


def test_stats_of_a_tube_and_of_a_job(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        job_id = client.put(b"x", tube=tube, priority=3)
    told = document("stats", "--server", server.address, "--tube", tube)
    assert (told["name"], told["current-jobs-ready"], told["total-jobs"]) == (tube, 1, 1)
    told = document("stats", "--server", server.address, "--job", str(job_id))
    assert (told["id"], told["tube"], told["state"], told["pri"]) == (job_id, tube, "ready", 3)
    table = good("stats", "--server", server.address, "--job", str(job_id)).decode()
    assert ["tube", tube] in [line.split() for line in table.splitlines()]


@pytest.mark.parametrize("name", ["12145", "1.5", "null", "my-tube"])
def test_a_tube_name_stays_a_string(server: Server, name: str) -> None:
    with Client(server.address) as client:
        job_id = client.put(b"x", tube=name)
        tubes = document("tubes", "--server", server.address)
        assert name in [one["name"] for one in tubes]
        assert document("stats", "--server", server.address, "--tube", name)["name"] == name
        client.delete(job_id)


def test_tubes_as_json(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.put(b"x", tube=tube)
        client.put(b"x", tube=tube, delay=100)
        expected = client.stats_tube(tube).as_dict()
        told = document("tubes", "--server", server.address)
    assert isinstance(told, list)
    assert [one for one in told if one["name"] == tube] == [expected]
    assert expected["current-jobs-delayed"] == 1


def test_tubes_as_a_table(server: Server, tube: str) -> None:
    long = f"{tube}-".ljust(200, "x")
    with Client(server.address) as client:
        client.put(b"x", tube=long)
        client.put(b"x", tube=long, delay=100)
    head, *rows = [
        line.split() for line in good("tubes", "--server", server.address).decode().splitlines()
    ]
    assert head[:5] == ["tube", "ready", "reserved", "delayed", "buried"]
    (row,) = [row for row in rows if row[0] == long]  # whole, however long: no terminal here
    assert row[1:5] == ["1", "0", "1", "0"]


def test_tubes_on_a_terminal_of_80_columns(server: Server, tube: str) -> None:
    long = f"{tube}-".ljust(200, "x")
    with Client(server.address) as client:
        client.put(b"x", tube=long)
    ours, theirs = os.openpty()
    env = environment(COLUMNS="80", TERM="dumb")  # no colours
    # A few KiB: the terminal holds them until they are read.
    assert run("tubes", "--server", server.address, stdout=theirs, env=env).returncode == 0
    shown = read_terminal(ours, theirs).decode()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.count("x") >= 200 - len(tube) - 1


def test_a_tube_that_vanishes_while_they_are_listed_is_left_out() -> None:
    names = b"---\n- default\n- gone\n"
    stats = b"---\nname: default\ncurrent-jobs-ready: 0\n"
    answers = {
        "list-tubes": [b"OK %d\r\n%b\r\n" % (len(names), names)],
        "stats-tube default": [b"OK %d\r\n%b\r\n" % (len(stats), stats)],
        "stats-tube gone": [b"NOT_FOUND\r\n"],
    }
    with Scripted(answers) as server:
        assert document("tubes", "--server", server.address) == [
            {"name": "default", "current-jobs-ready": 0}
        ]
