"""The verbs that find jobs and put them: list, copy, edit, dump, restore; several servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanrow import Client
from beanrow.jobs import search
from beanrow.protocol.values import MAX_UINT32
from tests.cli.inside import inside, refused, told, well
from tests.servers import Daemon, OurServer, Server


@pytest.fixture
def at(server: Server) -> tuple[str, str]:
    return ("--server", server.address)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as one:
        yield one


def one_of_each(client: Client, tube: str) -> dict[str, int]:
    """A job in each state; the client holds the reserved one."""
    ids = {state: client.put(f"is {state}", tube=tube, priority=7, ttr=50) for state in
           ("buried", "reserved", "ready")}  # fmt: skip
    client.bury(client.reserve_job(ids["buried"]), priority=7)
    client.reserve_job(ids["reserved"])
    ids["delayed"] = client.put("is delayed", tube=tube, delay=1000, priority=7, ttr=50)
    return ids


# -- list ----------------------------------------------------------------------------------------


def test_list_finds_every_state_and_takes_none(
    client: Client, tube: str, at: tuple[str, str]
) -> None:
    ids = one_of_each(client, tube)
    before = client.stats_tube(tube)
    found = told("list", "--tube", tube, *at)
    assert {one["state"]: one["id"] for one in found} == ids
    assert {one["body"] for one in found} == {f"is {state}" for state in ids}
    assert client.stats_tube(tube) == before
    assert client.stats_job(ids["ready"]).reserves == 0
    table = well("list", "--tube", tube, "--state", "buried", *at).splitlines()
    assert table[0].split() == ["id", "tube", "state", "pri", "age", "left", "body"]
    assert [line.split()[:4] for line in table[1:]] == [[str(ids["buried"]), tube, "buried", "7"]]


def test_the_filters_of_list(client: Client, tube: str, at: tuple[str, str]) -> None:
    ids = one_of_each(client, tube)

    def found(*options: str) -> set[int]:
        return {one["id"] for one in told("list", "--tube", f"{tube}*", *options, *at)}

    assert found() == set(ids.values())
    assert found("--state", "ready", "--state", "delayed") == {ids["ready"], ids["delayed"]}
    assert found("--match", "^is r") == {ids["ready"], ids["reserved"]}
    assert found("--older-than", "100") == set()
    assert found("--younger-than", "100") == set(ids.values())
    assert found("--ids", f"{ids['reserved']}:{ids['ready']}") == {ids["ready"], ids["reserved"]}
    assert "no tube" in refused(1, "list", "--tube", f"{tube}-none", *at)
    assert "no regular expression" in refused(2, "list", "--match", "(", *at)


def test_a_body_cannot_steer_the_terminal(client: Client, tube: str, at: tuple[str, str]) -> None:
    client.put(b"\x1b[2J\xff\r\n\xe2\x80\xae" + "é".encode() * 100, tube=tube)
    line = well("list", "--tube", tube, *at).splitlines()[1]
    assert r"\x1b[2J\xff\r\n\u202eé" in line
    assert line.endswith("é...")


@pytest.mark.parametrize("server", ["beanstalkd"], indirect=True)
def test_too_many_ids_are_refused(
    client: Client, tube: str, at: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_many("12345", tube=tube)
    monkeypatch.setattr(search, "MOST_IDS", 3)
    assert "--ids FIRST:LAST" in refused(2, "list", "--tube", tube, *at)
    assert told("list", "--tube", tube, "--ids", "1:2", *at) is not None


@pytest.mark.parametrize("kind", ["beanrow", "beanstalkd"])
def test_ids_beyond_the_count_after_a_new_start(
    kind: str, start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    """A server that was started again counts jobs from 0; its ids go on."""
    for run in range(2):
        with (
            Daemon("-b", str(tmp_path))
            if kind == "beanstalkd"
            else start_ours("-b", str(tmp_path)) as server,
            Client(server.address) as client,
        ):
            if run == 0:
                client.delete_many(client.put_many(["x"] * 1200))
                kept = client.put_many("ab")
            else:
                assert [one["id"] for one in told("list", "--server", server.address)] == kept


# -- copy and edit -------------------------------------------------------------------------------


def test_copy_keeps_what_a_job_is(client: Client, tube: str, at: tuple[str, str]) -> None:
    ids = one_of_each(client, tube)
    some = ("copy", "--tube", tube, "--to", f"{tube}-b", *at)
    assert told(*some, "--dry-run") == {"would-copy": 4}
    copied = told(*some)
    assert {one["from"] for one in copied} == set(ids.values())
    states = {one["id"]: client.stats_job(one["id"]) for one in copied}
    assert sorted(one.state for one in states.values()) == ["buried", "delayed", "ready", "ready"]
    assert {(one.tube, one.pri, one.ttr) for one in states.values()} == {(f"{tube}-b", 7, 50)}
    (buried,) = (one for one in states.values() if one.state == "buried")
    assert buried.delay == MAX_UINT32, "it was never ready in between"
    (line,) = well("copy", str(ids["delayed"]), "--to", f"{tube}-c", *at).splitlines()
    assert line.startswith(f"{ids['delayed']} -> ")
    assert client.stats_tube(f"{tube}-c").current_jobs_delayed == 1
    assert client.stats_job(ids["delayed"]).state == "delayed"


def test_edit_what_keeps_the_id(client: Client, tube: str, at: tuple[str, str]) -> None:
    ids = one_of_each(client, tube)
    mine = [str(ids[state]) for state in ("ready", "delayed", "buried")]
    assert told("edit", *mine, "--priority", "3", *at) == [
        {"from": int(one), "id": int(one)} for one in mine
    ]
    seen = [client.stats_job(int(one)) for one in mine]
    assert [(one.state, one.pri) for one in seen] == [("ready", 3), ("delayed", 3), ("buried", 3)]
    assert seen[1].time_left > 900
    well("edit", mine[0], "--delay", "60", *at)
    well("edit", mine[1], "--delay", "0", *at)
    assert [client.stats_job(int(one)).state for one in mine[:2]] == ["delayed", "ready"]
    assert "another connection" in refused(2, "edit", str(ids["reserved"]), "--delay", "0", *at)


def test_edit_what_makes_a_new_job(
    client: Client, tube: str, at: tuple[str, str], tmp_path: Path
) -> None:
    ids = one_of_each(client, tube)
    undo = tmp_path / "undo"
    some = ("edit", "--tube", tube, "--match", "is", "--body", "new", "--ttr", "9", *at)
    assert told(*some, "--dry-run") == {"would-edit": 3}
    assert "Say --yes" in refused(2, *some)
    edited = told(*some, "--yes", "--undo", str(undo))
    assert {one["from"] for one in edited} == {ids[one] for one in ("ready", "delayed", "buried")}
    seen = [client.stats_job(one["id"]) for one in edited]
    assert sorted((one.state, one.pri, one.ttr) for one in seen) == [
        *(("buried", 7, 9), ("delayed", 7, 9), ("ready", 7, 9))
    ]
    assert {client.peek(one["id"]).text for one in edited} == {"new"}
    assert {json.loads(line)["body"] for line in undo.read_bytes().splitlines()} == {
        *("is ready", "is delayed", "is buried")
    }
    assert "give --priority" in refused(2, "edit", "1", *at)


def test_an_edit_that_fails_leaves_the_job(
    start_ours: Callable[..., OurServer], start_daemon: Callable[..., Daemon]
) -> None:
    for server in (start_ours("-z", "10"), start_daemon("-z", "10")):
        with Client(server.address) as client:
            job_id = client.put("small", delay=100, priority=3)
            place = ("--server", server.address)
            assert "JOB_TOO_BIG" in refused(4, "edit", str(job_id), "--body", "x" * 11, *place)
            seen = client.stats_job(job_id)
            assert (seen.state, seen.pri, seen.time_left > 90) == ("delayed", 3, True)


# -- dump and restore ----------------------------------------------------------------------------


def test_what_is_dumped_is_restored(
    client: Client, tube: str, at: tuple[str, str], tmp_path: Path
) -> None:
    one_of_each(client, tube)
    client.put(b"\xff\x00", tube=tube)
    lines = well("dump", "--tube", tube, *at).encode()
    assert len(lines.splitlines()) == 5
    other = lines.replace(tube.encode(), f"{tube}-b".encode())
    assert told("restore", *at, stdin=other) == {"restored": 5, "from-line": 1}
    copies = told("list", "--tube", f"{tube}-b", *at)
    assert sorted(one["state"] for one in copies) == ["buried", "delayed", *["ready"] * 3]
    assert {(one["pri"], one["ttr"]) for one in copies if "body" in one} == {(7, 50)}
    assert [one["body_base64"] for one in copies if "body" not in one] == ["/wA="]
    assert all(one["time-left"] > 900 for one in copies if one["state"] == "delayed")
    file = tmp_path / "jobs"
    file.write_bytes(lines)
    assert told("restore", "--file", str(file), "--dry-run", *at) == {"would-restore": 5}
    assert well("journal", "restore", str(tmp_path / "journal"), "--file", str(file)) == "5 jobs\n"


def test_restore_refuses_a_file_before_it_puts(
    client: Client, tube: str, at: tuple[str, str], tmp_path: Path
) -> None:
    lines = f'{{"id": 1, "tube": "{tube}", "body": "x"}}\n{{"id": 2}}\n'.encode()
    file = tmp_path / "jobs"
    file.write_bytes(lines)
    assert "line 2: it has neither a body" in refused(6, "restore", "--file", str(file), *at)
    assert tube not in client.list_tubes()
    mark = tmp_path / "mark"
    mark.write_text("no number")
    progress = ("--progress", str(mark))
    assert "--progress has written" in refused(2, "restore", *progress, *at, stdin=lines)


def test_restore_goes_on_where_it_was(
    client: Client, tube: str, at: tuple[str, str], tmp_path: Path
) -> None:
    lines = [f'{{"id": {n}, "tube": "{tube}", "body": "{n}"}}\n'.encode() for n in range(1, 251)]
    mark = tmp_path / "mark"
    go = ("restore", "--progress", str(mark), *at)
    done = inside(*go, stdin=b"".join([*lines[:200], b"broken\n"]))
    assert done.code == 6
    assert "line 201" in done.err
    assert mark.read_text().strip() == "200"
    assert told(*go, stdin=b"".join(lines)) == {"restored": 50, "from-line": 201}
    assert client.stats_tube(tube).current_jobs_ready == 250


# -- several servers -----------------------------------------------------------------------------


def test_several_servers_side_by_side(
    start_ours: Callable[..., OurServer], fresh_daemon: Daemon, tube: str
) -> None:
    addresses = [start_ours().address, fresh_daemon.address]
    for number, address in enumerate(addresses):
        with Client(address) as client:
            client.put_many("x" * (number + 1), tube=tube)
    servers = [word for one in addresses for word in ("--server", one)]
    assert [one["server"] for one in told("list", *servers)] == [addresses[0], *addresses[1:] * 2]
    assert [(one["server"], one["total-jobs"]) for one in told("tubes", tube, *servers)] == list(
        zip(addresses, (1, 2), strict=True)
    )
    assert set(told("stats", *servers)) == set(addresses)
    assert well("stats", "current-jobs-ready", *servers) == "1\n2\n"
    assert well("stats", "total-jobs", "--tube", tube, "--server", addresses[1]) == "2\n"
    assert "no key 'nope'" in refused(1, "stats", "nope", *servers)
    head, *rows = well("stats", *servers).splitlines()
    assert head.split() == addresses
    assert any(row.split() == ["current-jobs-ready", "1", "2"] for row in rows)
    assert well("tubes", tube, *servers).splitlines()[1].split()[:3] == [addresses[0], tube, "1"]


def test_tubes_by_globs(client: Client, tube: str, at: tuple[str, str]) -> None:
    for one in "abc":
        client.put("x", tube=f"{tube}-{one}")
    found = [one["name"] for one in told("tubes", f"{tube}-[ab]", f"*{tube}-c", *at)]
    assert found == [f"{tube}-a", f"{tube}-b", f"{tube}-c"]
    assert told("tubes", f"{tube}-none", *at) == []
