"""Who may do what: each command with and without the right, tokens, reloads, and what is logged."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pytest

from beanrow.engine.engine import Engine
from beanrow.errors import BadValueError
from beanrow.protocol import requests
from beanrow.protocol.requests import Request
from beanrow.server.audit import Audit
from beanrow.server.guard import Access
from beanrow.server.log import Log
from beanrow.server.rights import RULES, read_rights
from tests.server.talk import Talk
from tests.server.test_program import one_line, run
from tests.servers import OurServer

Start = Callable[..., OurServer]
TOKENS = {name: f"{name}-token-0123456789" for name in ("producer", "worker", "operator")}


def write(file: Path, **entries: dict[str, list[str]]) -> Path:
    """A file of rights; whoever is in TOKENS has that token."""
    lines = []
    for name, entry in entries.items():
        lines.append(f"[{name}]")
        if name in TOKENS:
            lines.append(f'token-sha256 = "{sha256(TOKENS[name].encode()).hexdigest()}"')
        lines += [f"{key} = {json.dumps(globs)}" for key, globs in entry.items()]
    file.write_text("\n".join(lines))
    return file


USUAL: dict[str, dict[str, list[str]]] = {
    "producer": {"put": ["mail-*"]},
    "worker": {"take": ["mail-*"]},
    "operator": {"admin": ["*"]},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rights.toml", **USUAL)


def auth(talk: Talk, name: str) -> None:
    assert talk.ask(b"auth %b\r\n" % TOKENS[name].encode()) == b"AUTHENTICATED\r\n"


def test_every_request_has_its_rule() -> None:
    assert RULES.keys() == set(get_args(Request))


# Each request, and with which rights on mail-1, where job 1 is ready, it is carried out.
NEEDS: list[tuple[Request, set[str]]] = [
    (requests.Put(0, 0, 60, b"x"), {"put"}),
    (requests.PutTooBig(), {"put"}),
    (requests.PutTooBig("mail-2"), {"put"}),
    (requests.PutUnterminated(), {"put"}),
    (requests.PutInTube("mail-2", 0, 0, 60, b"x"), {"put"}),
    (requests.PutUnique("key", 0, 0, 0, 60, b"x"), {"put"}),
    (requests.ListJobs("mail-1", "ready", 0, 9), {"take", "admin"}),
    (requests.Truncate("mail-1"), {"admin"}),
    (requests.Session(9), {"put", "take", "admin", "none"}),
    (requests.Resume("token"), {"take"}),
    (requests.ListTimes("mail-1"), {"put", "take", "admin"}),
    (requests.ListLeases(0, 9), {"admin"}),
    (requests.ListClients(0, 9), {"admin"}),
    (requests.ListSlow(0), {"admin"}),
    (requests.ClientName("me"), {"put", "take", "admin", "none"}),
    (requests.Capabilities(()), {"put", "take", "admin", "none"}),
    (requests.Use("mail-1"), {"put", "take", "admin"}),
    (requests.Watch("mail-1"), {"take"}),
    (requests.Reserve(), {"take"}),
    (requests.ReserveWithTimeout(0), {"take"}),
    (requests.ReserveJob(1), {"take"}),
    (requests.Release(1, 0, 0), {"take"}),
    (requests.Bury(1, 0), {"take"}),
    (requests.Touch(1), {"take"}),
    (requests.Delete(1), {"take", "admin"}),
    (requests.Peek(1), {"take", "admin"}),
    (requests.PeekReady(), {"take", "admin"}),
    (requests.PeekDelayed(), {"take", "admin"}),
    (requests.PeekBuried(), {"take", "admin"}),
    (requests.Kick(1), {"admin"}),
    (requests.KickJob(1), {"admin"}),
    (requests.PauseTube("mail-1", 0), {"admin"}),
    (requests.StatsJob(1), {"put", "take", "admin"}),
    (requests.StatsTube("mail-1"), {"put", "take", "admin"}),
    (requests.Stats(), {"put", "take", "admin"}),
    (requests.ListTubes(), {"put", "take", "admin"}),
    (requests.Ignore("x"), {"put", "take", "admin", "none"}),
    (requests.ListTubeUsed(), {"put", "take", "admin", "none"}),
    (requests.ListTubesWatched(), {"put", "take", "admin", "none"}),
    (requests.BadFormat(), {"put", "take", "admin", "none"}),
    (requests.UnknownCommand(), {"put", "take", "admin", "none"}),
]


@pytest.mark.parametrize("right", ["put", "take", "admin", "none"])
@pytest.mark.parametrize(("request_", "needs"), NEEDS, ids=lambda one: type(one).__name__)
def test_a_request_needs_its_right(
    tmp_path: Path, request_: Request, needs: set[str], right: str
) -> None:
    globs = {} if right == "none" else {right: ["mail-*"]}
    file = write(tmp_path / "rights.toml", anonymous=globs)
    engine = Engine(0)
    own = engine.open()
    engine.execute(own, requests.Use("mail-1"), 0)
    engine.execute(own, requests.Put(0, 0, 60, b"x"), 0)
    if isinstance(request_, requests.Resume):
        engine.offer_sessions(lambda: "token")
        engine.execute(own, requests.Session(9), 0)
        engine.execute(own, requests.ReserveJob(1), 0)
    access = Access(file, engine, Audit(None, Log()))
    session, guard = engine.open(), access.guard("here")
    session.used = session.watched[0] = engine.tubes["mail-1"]
    reply = guard.execute(session, request_, 0)
    assert (reply != b"FORBIDDEN\r\n") is (right in needs)
    if reply == b"FORBIDDEN\r\n":
        assert session.replies == [reply]
        assert len(engine.jobs) == 1
        assert engine.jobs[1].holder is (own if own.held else None)


def test_the_needs_above_are_of_every_request() -> None:
    said_otherwise = {requests.Auth, requests.Quit}
    assert {type(one) for one, _ in NEEDS} | said_otherwise == set(get_args(Request))


def test_who_has_no_token_can_do_nothing(start_ours: Start, file: Path) -> None:
    with Talk(start_ours("--rights", str(file))) as talk:
        for command in (
            b"put 0 0 60 1\r\na\r\n",
            b"reserve\r\n",
            b"reserve-with-timeout 0\r\n",
            b"watch mail-1\r\n",
            b"stats\r\n",
            b"list-tubes\r\n",
            b"auth guessed\r\n",
            b"auth \r\n",
            b"auth \xff\xfe\r\n",
        ):
            assert talk.ask(command) == b"FORBIDDEN\r\n", command
        assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        assert talk.ask(b"nonsense\r\n") == b"UNKNOWN_COMMAND\r\n"
        auth(talk, "producer")
        assert talk.ask(b"put 0 0 60 1\r\na\r\n") == b"FORBIDDEN\r\n"  # default is not its tube
        assert talk.ask(b"use other\r\n") == b"FORBIDDEN\r\n"
        assert talk.ask(b"use mail-1\r\n") == b"USING mail-1\r\n"
        assert talk.ask(b"put 0 0 60 1\r\na\r\n") == b"INSERTED 1\r\n"  # none was used up
        assert talk.ask(b"peek 1\r\n") == b"FORBIDDEN\r\n"
        assert talk.ask(b"peek 2\r\n") == b"NOT_FOUND\r\n"


def test_a_tube_watched_from_the_start_is_no_way_in(start_ours: Start, file: Path) -> None:
    with Talk(start_ours("--rights", str(file))) as talk:
        auth(talk, "worker")
        talk.ask(b"watch mail-1\r\n")
        assert talk.ask(b"reserve-with-timeout 0\r\n") == b"FORBIDDEN\r\n"
        talk.ask(b"ignore default\r\n")
        assert talk.ask(b"reserve-with-timeout 0\r\n") == b"TIMED_OUT\r\n"


def test_without_rights_auth_is_no_command(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        assert talk.ask(b"auth x\r\n") == b"UNKNOWN_COMMAND\r\n"


def test_extensions_have_their_rights(start_ours: Start, file: Path) -> None:
    with Talk(start_ours("--rights", str(file), "-z", "5")) as talk:
        words = talk.ask(b"capabilities put-in-tube truncate\r\n")  # who may nothing may ask
        assert b"\n- auth\n" in words
        auth(talk, "producer")
        for put in (b"put-in-tube %b 0 0 9 1\r\na\r\n", b"put-in-tube %b 0 0 9 6\r\n123456\r\n"):
            assert talk.ask(put % b"other") == b"FORBIDDEN\r\n"
            assert talk.ask(put % b"mail-1") in (b"INSERTED 1\r\n", b"JOB_TOO_BIG\r\n")
        assert talk.ask(b"truncate mail-1\r\n") == b"FORBIDDEN\r\n"
        auth(talk, "operator")
        assert talk.ask(b"truncate mail-1\r\n") == b"TRUNCATED 1\r\n"


def test_without_rights_there_is_no_auth_to_tell_of(our_server: OurServer) -> None:
    with Talk(our_server) as talk:
        assert b"auth" not in talk.ask(b"capabilities\r\n")


def test_pipelined_behind_auth(start_ours: Start, file: Path) -> None:
    with Talk(start_ours("--rights", str(file))) as talk:
        talk.send(b"auth %b\r\nuse mail-1\r\nput 0 0 9 1\r\na\r\n" % TOKENS["producer"].encode())
        replies = [talk.reply() for _ in range(3)]
        assert replies == [b"AUTHENTICATED\r\n", b"USING mail-1\r\n", b"INSERTED 1\r\n"]


def reload(server: OurServer, count: int) -> None:
    os.kill(server.pid, signal.SIGHUP)
    while len(re.findall("read anew|still as before", server.told())) < count:
        pass


def test_a_reload_changes_who_is_connected(start_ours: Start, file: Path) -> None:
    """Waits and jobs in hand end with the right to them; all others go on."""
    server = start_ours("--rights", str(file), "--log", "json")
    with Talk(server) as waiting, Talk(server) as producer, Talk(server) as holding:
        auth(producer, "producer")
        producer.send(b"use mail-1\r\nput 0 0 60 1\r\na\r\n")
        assert producer.reply() + producer.reply() == b"USING mail-1\r\nINSERTED 1\r\n"
        for worker in (holding, waiting):
            auth(worker, "worker")
            worker.ask(b"capabilities session\r\n")
            assert worker.ask(b"session 1000\r\n").startswith(b"SESSION ")  # which is no way out
            worker.send(b"watch mail-1\r\nignore default\r\nreserve\r\n")
            assert worker.reply() + worker.reply() == b"WATCHING 2\r\nWATCHING 1\r\n"
            if worker is holding:
                assert worker.reply() == b"RESERVED 1 1\r\na\r\n"
        write(file, **{**USUAL, "worker": {"take": ["other"]}})
        reload(server, 1)
        assert waiting.reply() == b""
        assert holding.reply() == b""
        assert producer.ask(b"stats-job 1\r\n").find(b"state: ready") > 0
        file.write_text("[broken")
        reload(server, 2)
        assert "still as before" in server.told()
        assert producer.ask(b"put 0 0 60 1\r\na\r\n") == b"INSERTED 2\r\n"


def test_the_audit_log(start_ours: Start, file: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit"
    server = start_ours("--rights", str(file), "--audit", str(log))
    with Talk(server) as talk:
        talk.ask(b"auth not-the-token\r\n")
        for _ in range(5):
            talk.ask(b"stats\r\n")
        auth(talk, "operator")
        talk.ask(b"pause-tube default 5\r\n")
        talk.ask(b"put 0 0 60 6\r\nsecret\r\n")
    os.rename(log, tmp_path / "old")
    os.kill(server.pid, signal.SIGHUP)
    while not log.exists() or "reloaded" not in log.read_text():
        pass
    text = (tmp_path / "old").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert [(one["event"], one["who"], one.get("command")) for one in told] == [
        ("refused-token", "anonymous", None),
        ("forbidden", "anonymous", "stats"),  # once, however often
        ("authenticated", "operator", None),
        ("admin", "operator", "pause-tube"),
        ("forbidden", "operator", "put"),
    ]
    assert all(one["peer"].startswith("127.0.0.1:") and one["time"].endswith("Z") for one in told)
    assert "token-0" not in text
    assert "not-the" not in text
    assert "secret" not in text
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "rights.toml"),
        ("[a]", "needs token-sha256 or certificate"),
        ('[a]\ntoken-sha256 = "secret"', "64 hexadecimal digits"),
        ('[a]\ncertificate = "a"\nputs = ["*"]', "'puts'"),
        ('[a]\ncertificate = "a"\nput = 5', "put is a string"),
        ('[a]\ncertificate = "a"\n[b]\ncertificate = "a"', "has the certificate of [a]"),
        ('[anonymous]\ncertificate = "a"', "not anonymous"),
        ("a = 1", "no table"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "rights.toml"
    file.write_text(text)
    with pytest.raises(BadValueError) as error:
        read_rights(file)
    assert told in str(error.value)
    assert "secret" not in str(error.value)


def test_several_tokens_for_a_change_of_them(tmp_path: Path) -> None:
    digests = [sha256(token).hexdigest() for token in (b"old", b"new")]
    file = tmp_path / "rights.toml"
    file.write_text(f'[a]\ntoken-sha256 = {json.dumps(digests)}\nput = "x?y"')
    rights = read_rights(file)
    assert {rights.by_token[one].name for one in digests} == {"a"}
    who = rights.by_token[digests[0]]
    assert [who.may(("put",), tube) for tube in ("xay", "xaby", "zxay", "xayz")] == [
        True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--rights", "/no/such/file"], "/no/such/file"),
        (["--audit", "/tmp/x"], "--audit needs --rights"),
        (["--tls", "0"], "--tls needs --tls-cert"),
        (["--tls-ca", "x"], "need --tls"),
        (["--tls", "0", "--tls-cert", "/no/such/cert"], "/no/such/cert"),
        (["-l", "0.0.0.0", "--require-auth"], "--require-auth"),
    ],
)
def test_flags_that_do_not_go_together(flags: list[str], told: str) -> None:
    assert told in one_line(run("-p", "0", *flags))


def test_require_auth_is_content_with_rights_or_loopback(start_ours: Start, file: Path) -> None:
    assert start_ours("--require-auth").told() == ""
    told = start_ours("-l", "0.0.0.0", "--require-auth", "--rights", str(file)).told()
    assert "no access rights" not in told
    assert "unencrypted" in told
