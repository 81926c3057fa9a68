"""What the pages show, in their first answer and without script."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable

import pytest

from beanrow import Client
from tests.dashboard.desk import Dash, read
from tests.dashboard.liar import Liar
from tests.servers import OurServer

SCRIPT = "<script>alert('run')</script>"
LETTER = {
    "job": 7,
    "tube": "emails",
    "priority": 10,
    "ttr": 30,
    "body": "[42]",
    "error": {"type": "ValueError", "text": f"no such user {SCRIPT}", "traceback": "Traceback: x"},
    "history": {
        "reserves": 3,
        "releases": 2,
        "errors": [{"attempt": 1, "at": 1.5, "error": "TimeoutError: the first"}],
    },
}


def row(page: str, name: str) -> str:
    found = re.search(rf'<tr data-key="{re.escape(name)}">.*?</tr>', page, re.DOTALL)
    assert found is not None, f"no row {name} in\n{page}"
    return read(found[0])


def test_the_first_answer_holds_the_tubes(dash: Dash, client: Client, tube: str) -> None:
    for _ in range(3):
        client.put("x", tube=tube)
    client.put("x", tube=tube, delay=600)
    page = dash.page("/1/")
    assert row(page, tube).split()[:5] == [tube, "3", "0", "1", "0"]
    assert f"/1/tube?name={tube}" in page
    assert "<polyline" in page


def test_one_server_is_the_first_page(dash: Dash) -> None:
    assert dash.get("/").url.path == "/1/"


def test_tubes_are_filtered_sorted_and_cut_into_pages(our_server: OurServer) -> None:
    with Client(our_server.address) as client, Dash(our_server.address) as dash:
        for number in range(205):
            client.put_many([b"x"] * (number % 7), tube=f"tube-{number:03}")
            client.put("x", tube=f"tube-{number:03}", delay=60)
        first, second = dash.page("/1/"), dash.page("/1/", page=1)
        assert "1 to 200 of 206 tubes" in read(first)
        assert "201 to 206 of 206 tubes" in read(second)
        assert "tube-204" in second
        assert "tube-204" not in first
        found = dash.page("/1/", q="E-10", sort="ready")
        names = re.findall(r'<tr data-key="([^"]*)">', found)
        assert len(names) == 10
        ready = [int(row(found, name).split()[1]) for name in names]
        assert ready == sorted(ready, reverse=True)


def test_the_tube_page(dash: Dash, client: Client, tube: str) -> None:
    job_id = client.put("x", tube=tube, priority=5)
    page = dash.page("/1/tube", name=tube)
    words = read(page)
    assert "ready 1" in words
    assert f"next ready {job_id}" in words
    assert "first buried none" in words


@pytest.mark.parametrize("name", ["..", "a/../b", "$(x);y", "a+b.c", "x" * 200])
def test_any_tube_has_a_page(dash: Dash, client: Client, name: str) -> None:
    client.put("x", tube=name)
    page = dash.page("/1/")
    link = re.search(rf'href="([^"]*)">{re.escape(name)}</a>', page)
    assert link is not None
    assert "ready 1" in read(dash.page(link[1].replace("&amp;", "&")))
    client.drain_tube(name)


def test_a_tube_that_is_not_there(dash: Dash) -> None:
    answer = dash.get("/1/tube", name="never")
    assert answer.status_code == 404
    assert "there is no tube never" in read(answer.text)


def test_jobs_are_listed_filtered_and_cut_into_pages(dash: Dash, client: Client, tube: str) -> None:
    ids = client.put_many([f"job {number}" for number in range(60)], tube=tube)
    client.put("other", tube=tube, delay=60)
    page = dash.page("/1/jobs", name=tube)
    assert listed(page) == ids[:50]
    after = re.search(r'rel="next" href="([^"]*)"', page)
    assert after is not None
    assert listed(dash.page(after[1].replace("&amp;", "&")))[:10] == ids[50:]
    assert listed(dash.page("/1/jobs", name=tube, match="job 1")) == [ids[1], *ids[10:20]]
    assert len(listed(dash.page("/1/jobs", name=tube, state="delayed"))) == 1
    assert listed(dash.page("/1/jobs", name=tube, older=1000)) == []
    assert listed(dash.page("/1/jobs", name=tube, match="(")) == []


def listed(page: str) -> list[int]:
    return [int(id) for id in re.findall(r'href="/1/job/(\d+)">', page)]


def test_reserved_jobs_are_listed(dash: Dash, client: Client, tube: str) -> None:
    job_id = client.put("x", tube=tube)
    client.reserve_job(job_id)
    assert listed(dash.page("/1/jobs", name=tube, state="reserved")) == [job_id]
    assert f"{tube} 0 0 1 0" in read(dash.page("/1/workers"))


def test_our_server_tells_who_holds_what(our_server: OurServer) -> None:
    with Client(our_server.address) as client, Dash(our_server.address) as dash:
        job_id = client.put("x", tube="emails", ttr=77)
        client.watch("emails")
        held = client.reserve()
        words = read(dash.page("/1/workers"))
        assert re.search(rf"{job_id} emails connection \d+ 127.0.0.1:\d+ 0 s 7\d s 77 s 1", words)
        assert re.search(r"connection \d+ 127.0.0.1:\d+ works 1 default, emails", words)
        client.delete(held)
        client.put("x", tube="emails")
        words = read(dash.page("/1/tube", name="emails"))
        assert re.search(r"Waited for a worker: 1 job, half of them below [\d.]+ ms", words)
        assert "Held by a worker: 1 job" in words
        assert "oldest ready job 0 s" in words
        assert "all bodies 1 byte" in words
        assert "oldest ready" in dash.page("/1/")


def test_our_server_tells_what_took_long(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours("--slow-log", "0")
    with Dash(server.address) as dash:
        page = dash.page("/1/workers")
        assert "Commands that took long" in page
        assert "<code>list-clients " in page  # the last twenty are those of this very page


def test_a_job_is_found_by_its_id(dash: Dash, client: Client, tube: str) -> None:
    job_id = client.put("hello", tube=tube)
    assert dash.get("/1/job", id=job_id).url.path == f"/1/job/{job_id}"
    assert dash.get("/1/job/123456789").status_code == 404


def bodies() -> list[tuple[str, bytes, str, str]]:
    return [
        ("json", b'{"a": [1, "\xc3\xa4"]}', "JSON", '"ä"'),
        ("gzip", zlib.compress(b'{"inner": true}'), "zlib, in it JSON", '"inner": true'),
        ("base64", b"eyJpbm5lciI6IHRydWV9", "base64, in it JSON", '"inner": true'),
        ("bytes", b"\x00\xff\x10", "bytes", "00 ff 10"),
        ("html", SCRIPT.encode(), "text", SCRIPT),
        ("pickle", b"cos\nsystem\n(S'x'\ntR.", "text", "system"),
        (
            "pickle2",
            b"\x80\x02cos\nsystem\nq\x00.",
            "a Python pickle, told and not opened",
            "GLOBAL",
        ),
    ]


@pytest.mark.parametrize(("body", "kind", "text"), [one[1:] for one in bodies()])
def test_a_body_is_shown_for_what_it_is(
    dash: Dash, client: Client, tube: str, body: bytes, kind: str, text: str
) -> None:
    job_id = client.put(body, tube=tube)
    page = dash.page(f"/1/job/{job_id}")
    assert f"Body: {kind}, {len(body)} bytes" in read(page)
    assert text in re.sub(r"&#34;", '"', re.sub("&lt;", "<", page.replace("&gt;", ">"))).replace(
        "&#39;", "'"
    )
    assert SCRIPT not in page
    file = dash.get(f"/1/job/{job_id}/body")
    assert file.content == body
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["content-disposition"].startswith("attachment")


def test_dead_letters_tell_their_errors(dash: Dash, client: Client, tube: str) -> None:
    dead = f"{tube}-dead"
    for user in (17, 18):  # one error, as far as people are concerned
        error = {"type": "KeyError", "text": f"user {user}", "traceback": ""}
        client.put(json.dumps({**LETTER, "error": error}), tube=dead)
    ids = client.put_many([json.dumps(LETTER)] * 3, tube=dead)
    assert dead in dash.page("/1/failed")
    page = dash.page("/1/failed", name=dead)
    assert f"ValueError: no such user {SCRIPT} 3 {ids[0]} KeyError: user N 2 " in read(page)
    assert SCRIPT not in page
    job = read(dash.page(f"/1/job/{ids[1]}"))
    assert "It was job 7 of tube emails, with reserves 3, releases 2." in job
    assert "1 1970-01-01 00:00:01 UTC TimeoutError: the first" in job
    assert "Traceback: x" in job
    assert "Send back to emails" in job


@pytest.mark.parametrize(
    "strange", [b"[" * 60_000, b"{}", b'{"error": 1}', b'{"error": {"type": [], "text": {}}}']
)
def test_what_is_almost_a_letter_is_a_body(
    dash: Dash, client: Client, tube: str, strange: bytes
) -> None:
    job_id = client.put(strange, tube=tube)
    assert "Dead letter" not in dash.page(f"/1/job/{job_id}")


def test_letters_with_strange_parts_are_shown(dash: Dash, client: Client, tube: str) -> None:
    times = {"errors": [{"at": 1e300}, {"at": SCRIPT}, SCRIPT, {"at": True}]}
    for parts in ({"tube": [SCRIPT], "history": [], "priority": "x"}, {"history": times}):
        job_id = client.put(json.dumps({**LETTER, **parts}), tube=tube)
        page = dash.page(f"/1/job/{job_id}")
        assert SCRIPT not in page
        assert "Dead letter" in page


def lies(our_server: OurServer, tubes: bytes) -> Liar:
    with Client(our_server.address) as client:
        server, default = client.stats(), client.stats_tube("default")
    server.version = default.name = SCRIPT
    documents = {
        b"stats": server.write(),
        b"list-tubes": tubes,
        b"stats-tube default": default.write(),
    }
    return Liar(documents.get)


def test_what_a_server_tells_is_text(our_server: OurServer) -> None:
    with lies(our_server, b"---\n- default\n") as liar, Dash(liar.address) as dash:
        page = dash.page("/1/")
        assert SCRIPT not in page
        assert f"{SCRIPT}, " in read(page)


def test_a_name_that_is_no_name_is_refused(our_server: OurServer) -> None:
    with lies(our_server, f"---\n- {SCRIPT}\n".encode()) as liar, Dash(liar.address) as dash:
        page = dash.page("/1/")
        assert SCRIPT not in page
        assert "does not answer" in page


def test_several_servers(start_ours: Callable[..., OurServer]) -> None:
    servers = [start_ours() for _ in range(2)]
    with Client(servers[1].address) as client:
        client.put("x", tube="only-there")
    with Dash(*(one.address for one in servers)) as dash:
        page = dash.page("/")
        assert all(one.address in page for one in servers)
        assert "only-there" not in dash.page("/1/")
        assert "only-there" in dash.page("/2/")
        assert dash.get("/3/").status_code == 404


def test_a_server_that_is_not_there_is_told(start_ours: Callable[..., OurServer]) -> None:
    server = start_ours()
    with Client(server.address) as client:
        client.put("x", tube="emails")
    with Dash(server.address) as dash:
        assert "emails" in dash.page("/1/")
        server.stop()
        dash.desk.sources[0].hurry()
        page = dash.page("/1/")
        while "does not answer" not in page:
            page = dash.page("/1/")
        assert "What is shown is what it told last" in page
        assert "emails" in page
    with Dash("127.0.0.1:1") as dash:
        assert "does not answer" in dash.page("/1/")
        assert dash.get("/1/job/1").status_code == 502


def test_nothing_but_from_here_is_allowed_to_run(dash: Dash) -> None:
    for path in ("/1/", "/login", "/nowhere", "/static/dashboard.js"):
        answer = dash.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = dash.page("/1/")
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/dashboard.js" defer>']
    assert not re.search(r'\son\w+="|\sstyle="|javascript:', page)
    assert not re.search(r'(src|href|action)="(https?:)?//', page)
