"""The log of slow commands: what is noted, to whom it is told, and that no body is."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

from beanrow.protocol.extensions import list_slow
from tests.server.talk import Talk
from tests.servers import OurServer

Start = Callable[..., OurServer]


def test_a_slow_command_is_told(start_ours: Start) -> None:
    """Each of them takes longer than no time at all."""
    server = start_ours("--slow-log", "0", "--log", "json")
    with Talk(server) as talk:
        talk.ask(b"capabilities list-slow client-name\r\n")
        talk.ask(b"client-name shop/1\r\n")
        talk.ask(b"put 5 0 60 10\r\ntop secret\r\n")
        page = list_slow().answer(talk.ask(b"list-slow 2\r\n"))
    assert [one.command for one in page.rows][-1] == "put 5 0 60"
    last = page.rows[-1]
    assert last.client == "shop/1"
    assert last.peer.startswith("127.0.0.1:")
    assert last.took > 0
    assert last.connection == 1
    assert [one.number for one in page.rows] == list(range(3, 3 + len(page.rows)))
    told = [json.loads(line) for line in server.told().splitlines()]
    slow = [one["command"] for one in told if one["event"] == "slow-command"]
    assert "capabilities list-slow client-name" in slow
    assert "secret" not in server.told() + repr(page)


def test_a_slow_disk_is_told(start_ours: Start, tmp_path: Path) -> None:
    server = start_ours("--slow-log", "0", "--data", str(tmp_path), "--http", "0", "-V")
    with Talk(server) as talk:
        talk.ask(b"capabilities list-slow\r\n")
        assert talk.ask(b"put 5 0 60 1\r\nx\r\n") == b"INSERTED 1\r\n"
        page = list_slow().answer(talk.ask(b"list-slow 0\r\n"))
    kept = [one for one in page.rows if one.command == "journal"]
    assert {(one.connection, one.peer) for one in kept} == {(0, "")}
    assert " ms for 'journal'\n" in server.told()
    url = re.search(r"HTTP on (\S+)", server.told())
    assert url is not None
    with urllib.request.urlopen(f"http://{url[1]}/metrics", timeout=20) as answer:
        (slow,) = re.findall(rb"^beanrow_slow_commands_total (\d+)$", answer.read(), re.MULTILINE)
    assert int(slow) >= len(page.rows)


def test_what_is_fast_is_not_told(start_ours: Start) -> None:
    server = start_ours("--slow-log", "60000")
    with Talk(server) as talk:
        talk.ask(b"capabilities list-slow\r\n")
        assert list_slow().answer(talk.ask(b"list-slow 0\r\n")).rows == []
    assert "ms for" not in server.told()


def test_it_stands_behind_the_rights(start_ours: Start, tmp_path: Path) -> None:
    rights = tmp_path / "rights.toml"
    rights.write_text('[anonymous]\nadmin = "*"\n')
    server = start_ours("--slow-log", "0", "--rights", str(rights))
    with Talk(server) as talk:
        talk.ask(b"capabilities list-slow\r\n")
        assert talk.ask(b"put 5 0 60 1\r\nx\r\n") == b"FORBIDDEN\r\n"  # never carried out
        page = list_slow().answer(talk.ask(b"list-slow 0\r\n"))
    assert {one.command.split()[0] for one in page.rows} <= {"capabilities", "stats"}


def test_looking_does_not_fill_the_audit_log(start_ours: Start, tmp_path: Path) -> None:
    rights, audit = tmp_path / "rights.toml", tmp_path / "audit.log"
    rights.write_text('[anonymous]\nadmin = "*"\n')
    server = start_ours("--rights", str(rights), "--audit", str(audit))
    with Talk(server) as talk:
        talk.ask(b"capabilities list-leases list-clients list-slow truncate\r\n")
        assert talk.ask(b"list-leases 0 9\r\n") == b"OK 0\r\n\r\n"
        assert talk.ask(b"list-clients 0 9\r\n").startswith(b"OK ")
        assert talk.ask(b"truncate default\r\n") == b"TRUNCATED 0\r\n"
    told = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [one["command"] for one in told if one["event"] == "admin"] == ["truncate"]
