"""Login, rights, forged forms, read-only mode, the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from beanrow import Client
from tests.dashboard.desk import Dash, read
from tests.servers import OurServer

RIGHTS = """
[mailer]
token-sha256 = "{mailer}"
put = "mail-*"

[worker]
token-sha256 = "{worker}"
take = "mail-*"

[operator]
token-sha256 = "{operator}"
put = "*"
take = "*"
admin = "*"
"""


def rights(**more: str) -> str:
    names = ("mailer", "worker", "operator")
    return RIGHTS.format(**{name: sha256(name.encode()).hexdigest() for name in names}) + "".join(
        more.values()
    )


@pytest.fixture
def guarded(our_server: OurServer, tmp_path: Path) -> Iterator[Dash]:
    file = tmp_path / "rights.toml"
    file.write_text(rights())
    with Client(our_server.address) as client:
        client.put("secret mail", tube="mail-1")
        client.put("other", tube="reports")
    with Dash(our_server.address, rights=file, audit=tmp_path / "audit") as dash:
        yield dash


def audit(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "audit").read_text().splitlines()]


def test_who_shows_nothing_sees_nothing(guarded: Dash) -> None:
    for path in ("/", "/1/", "/1/tube?name=mail-1", "/1/job/1", "/1/changes", "/1/job/1/body"):
        answer = guarded.get(path)
        assert answer.url.path == "/login"
        assert "mail-1" not in answer.text
    assert guarded.get("/1/live/overview").status_code == 403
    assert guarded.get("/static/dashboard.css").status_code == 200


def test_a_wrong_token_is_refused(guarded: Dash, tmp_path: Path) -> None:
    answer = guarded.login("nobody")
    assert answer.status_code == 403
    assert "Nobody has this token" in answer.text
    assert [one["event"] for one in audit(tmp_path)] == ["login-refused"]
    assert "nobody" not in (tmp_path / "audit").read_text()


def test_login_and_logout(guarded: Dash, tmp_path: Path) -> None:
    before = guarded.get("/login").text and guarded.http.cookies["beanrow-session"]
    page = guarded.login("operator").text
    assert "reports" in page
    assert "operator" in read(page)
    assert guarded.http.cookies["beanrow-session"] != before
    guarded.http.cookies.set("beanrow-session", before)
    assert guarded.get("/1/").url.path == "/login"
    guarded.http.cookies.clear()
    guarded.login("operator")
    old = guarded.http.cookies["beanrow-session"]
    guarded.send("/logout", {})
    assert guarded.get("/1/").url.path == "/login"
    guarded.http.cookies.set("beanrow-session", old)
    assert guarded.get("/1/").url.path == "/login"
    assert [one["event"] for one in audit(tmp_path)] == ["login", "login", "logout"]


def test_the_cookie_is_kept_from_scripts_and_other_sites(guarded: Dash) -> None:
    (cookie,) = guarded.get("/login").headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_each_sees_its_tubes_only(guarded: Dash) -> None:
    guarded.login("mailer")
    page = guarded.page("/1/")
    assert "mail-1" in page
    assert "reports" not in page
    assert guarded.get("/1/tube", name="reports").status_code == 403
    tube = guarded.page("/1/tube", name="mail-1")
    assert "Put a job" in tube
    assert "Clear" not in tube
    assert "All jobs" not in tube


def test_who_holds_what_needs_a_right(guarded: Dash) -> None:
    """The server would tell the dashboard, which shows nothing: it may not either."""
    guarded.login("worker")
    assert "told to those who administer" in guarded.page("/1/workers")


def test_bodies_need_a_right(guarded: Dash) -> None:
    guarded.login("mailer")
    for path in ("/1/jobs?name=mail-1", "/1/job/1", "/1/job/1/body", "/1/failed?name=mail-1"):
        answer = guarded.get(path)
        assert answer.status_code == 403
        assert "secret" not in answer.text
    assert guarded.get("/1/live/job", id=1).status_code == 403
    guarded.login("worker")
    assert "secret mail" in guarded.page("/1/job/1")
    assert guarded.get("/1/job/2").status_code == 403


ORDERS: list[tuple[str, dict[str, object], str]] = [
    ("/1/tube", {"action": "put", "priority": 1, "delay": 0, "ttr": 1}, "mailer operator"),
    ("/1/job/1", {"how": "text", "body": "x", "priority": 1, "ttr": 60}, "operator"),
    ("/1/jobs", {"action": "move", "id": [1], "to": "reports"}, "operator"),
    ("/1/jobs", {"action": "kick", "id": [1]}, "operator"),
    ("/1/tube", {"action": "pause", "seconds": 1}, "operator"),
    ("/1/tube", {"action": "resume"}, "operator"),
    ("/1/tube", {"action": "kick"}, "operator"),
    ("/1/tube", {"action": "clear"}, "operator"),
    ("/1/jobs", {"action": "delete", "id": [1]}, "worker operator"),
]


@pytest.mark.parametrize("who", ["mailer", "worker", "operator"])
def test_each_change_needs_its_right(guarded: Dash, tmp_path: Path, who: str) -> None:
    guarded.login(who)
    for path, fields, allowed in ORDERS:
        before = len(audit(tmp_path))
        answer = guarded.send(path, {"name": "mail-1", **fields})
        events = [one["event"] for one in audit(tmp_path)[before:]]
        if who in allowed.split():
            assert events in (["change", "changed"], ["change", "failed"])
        else:
            assert answer.status_code == 403
            assert events == ["forbidden"]


def test_undoing_needs_rights_too(guarded: Dash) -> None:
    guarded.login("worker")
    guarded.send("/1/jobs", {"name": "mail-1", "action": "delete", "id": [1]})
    assert guarded.send("/1/undo", {"change": 1}).status_code == 403
    guarded.login("operator")
    assert guarded.do("/1/undo", change=1).startswith("1 job put back")


def test_changes_of_tubes_that_one_may_not_see_are_not_told(guarded: Dash) -> None:
    guarded.login("operator")
    guarded.do("/1/tube", name="reports", action="clear")
    guarded.do("/1/tube", name="mail-1", action="pause", seconds=60)
    assert "reports" in guarded.page("/1/changes")
    guarded.login("mailer")
    page = guarded.page("/1/changes", change=1)
    assert "reports" not in page
    assert "pause tube mail-1" in page


def test_a_letter_goes_only_where_one_may_put(guarded: Dash, our_server: OurServer) -> None:
    letter = {
        "tube": "reports",
        "priority": 1,
        "ttr": 1,
        "body": "x",
        "error": {"type": "E", "text": "t"},
    }
    with Client(our_server.address) as client:
        job_id = client.put(json.dumps(letter), tube="mail-dead")
        guarded.login("worker")
        told = guarded.do("/1/jobs", name="mail-dead", action="letter", id=[job_id])
        assert "worker has no right to put into tube reports" in told
        assert client.stats_tube("reports").current_jobs_ready == 1


def test_a_reload_holds_for_open_sessions(guarded: Dash, tmp_path: Path) -> None:
    guarded.login("worker")
    assert guarded.get("/1/job/1").status_code == 200
    file = tmp_path / "rights.toml"
    file.write_text(rights().replace('take = "mail-*"', 'take = "nothing"'))
    guarded.desk.reload()
    assert guarded.get("/1/job/1").status_code == 403
    file.write_text("[worker]")
    guarded.desk.reload()  # it is wrong, and all stays as it was
    assert guarded.get("/1/").status_code == 200
    file.write_text(rights().replace("worker", "someone"))
    guarded.desk.reload()
    assert "someone" in read(guarded.page("/1/"))


FORGED: list[tuple[dict[str, str], dict[str, object]]] = [
    ({}, {"csrf": ""}),
    ({}, {"csrf": "0" * 64}),
    ({}, {"csrf": "\N{SNOWMAN}"}),
    ({"Origin": "http://elsewhere.example"}, {}),
    ({"Origin": "null"}, {}),
    ({"Sec-Fetch-Site": "cross-site"}, {}),
    ({"Sec-Fetch-Site": "same-site"}, {}),
]


def test_a_forged_form_is_refused(our_server: OurServer) -> None:
    with Client(our_server.address) as client, Dash(our_server.address) as dash:
        job_id = client.put("x", tube="emails")
        good: dict[str, object] = {"name": "emails", "action": "clear"}
        for headers, fields in FORGED:
            assert dash.send("/1/tube", {**good, **fields}, **headers).status_code == 403
            assert client.peek(job_id).body == b"x"
        assert dash.send("/1/tube", good).status_code == 200


def test_a_token_of_another_session_is_of_no_use(our_server: OurServer) -> None:
    with Dash(our_server.address) as dash:
        other = dash.csrf
        dash.http.cookies.clear()
        answer = dash.send("/1/tube", {"name": "default", "action": "clear", "csrf": other})
        assert answer.status_code == 403


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example"])
def test_an_open_dashboard_has_no_other_name(our_server: OurServer, name: str) -> None:
    """Else a page elsewhere could give its own name our address, and read and send what it likes."""
    with Dash(our_server.address) as dash:
        assert dash.http.get("/1/", headers={"Host": name}).status_code in (400, 421)
        assert dash.http.get("/1/", headers={"Host": "localhost:80"}).status_code == 200


def test_read_only(our_server: OurServer) -> None:
    with Client(our_server.address) as client, Dash(our_server.address, read_only=True) as dash:
        job_id = client.put("x", tube="emails")
        pages = [dash.page("/1/tube", name="emails"), dash.page("/1/jobs", name="emails")]
        pages.append(dash.page(f"/1/job/{job_id}"))
        for page in pages:
            assert "read only" in page
            assert 'method="post"' not in page
        csrf = dash.desk.access._csrf(dash.http.cookies["beanrow-session"])
        for path in ("/1/tube", "/1/jobs", f"/1/job/{job_id}", "/1/undo"):
            answer = dash.http.post(path, data={"csrf": csrf, "name": "emails", "action": "clear"})
            assert answer.status_code == 403
            assert "--read-only" in answer.text
        assert client.peek(job_id).body == b"x"


def test_each_change_is_in_the_audit_log(guarded: Dash, tmp_path: Path) -> None:
    guarded.login("operator")
    guarded.do("/1/tube", name="mail-1", action="clear")
    guarded.do("/1/tube", name="gone", action="pause", seconds=5)
    _, *lines = audit(tmp_path)
    assert [(one["event"], one["who"], one["what"], one.get("told")) for one in lines[:2]] == [
        ("change", "operator", "clear tube mail-1", None),
        ("changed", "operator", "clear tube mail-1", "1 job of tube mail-1 deleted"),
    ]
    assert lines[3]["event"] == "failed"
    assert all(one["peer"].startswith("127.0.0.1:") for one in lines)
    assert "secret" not in (tmp_path / "audit").read_text()


def test_a_form_that_is_too_big_is_refused(
    our_server: OurServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beanrow.dashboard.visit._MOST_FORM", 1000)
    with Dash(our_server.address) as dash:
        assert dash.send("/1/tube", {"body": "x" * 2000}).status_code == 413
        assert dash.http.post("/1/tube", content=b"\xff\xfe").status_code == 400
