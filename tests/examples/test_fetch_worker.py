"""The worker of the README, against the demo's web site and the real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from beanrow import Client
from examples import fetch_worker, put_urls
from examples.demo.processes import ROOT, WebSite
from examples.demo.web_site import KINDS, Page, make_pages
from tests.servers import Daemon

PAGES = 40
SEED = 7


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with WebSite(PAGES, SEED) as running:
        yield running


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
def client(fresh_daemon: Daemon) -> Iterator[Client]:
    with Client(fresh_daemon.address) as opened:
        opened.use(fetch_worker.TUBE)
        opened.watch(fetch_worker.TUBE)
        opened.ignore("default")
        yield opened


def page_of(kind: str) -> Page:
    return next(page for page in make_pages(PAGES, SEED) if page.kind == kind)


def url_of(site: WebSite, kind: str) -> str:
    return site.urls[page_of(kind).number - 1]


def attempt(client: Client, http: httpx.Client) -> None:
    job = client.reserve(timeout=5)
    assert job is not None
    fetch_worker.work(client, http, job)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_site_follows_from_its_seed() -> None:
    assert make_pages(PAGES, SEED) == make_pages(PAGES, SEED)
    assert make_pages(PAGES, SEED) != make_pages(PAGES, SEED + 1)


def test_every_kind_of_page_is_on_the_site() -> None:
    assert {page.kind for page in make_pages(PAGES, SEED)} == {"fine", *KINDS}
    assert [page.kind for page in make_pages(1, SEED)] == ["fine"]


@pytest.mark.parametrize("kind", ["fine", "slow"])
def test_title_and_links_are_found(site: WebSite, http: httpx.Client, kind: str) -> None:
    page = fetch_worker.fetch(http, url_of(site, kind))
    expected = page_of(kind)
    assert page.title == expected.title
    assert "&" in page.title  # written as &amp; in the page
    assert page.links == [f"/pages/{number}" for number in expected.links]


def test_a_page_is_read_in_pieces() -> None:
    page = fetch_worker.Page()
    for piece in ["<title>A &amp; <b>B</b></title>no<svg/><a hr", 'ef="/x">', "x</a><a name=y>"]:
        page.feed(piece)
    page.close()
    assert page.links == ["/x"]
    assert page.title.startswith("A & ")
    assert "no" not in page.title


def test_a_page_done_is_deleted(
    site: WebSite, http: httpx.Client, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    url = url_of(site, "fine")
    [job_id] = put_urls.put_urls(client, [url])
    stats = client.stats_job(job_id)
    assert (stats.pri, stats.ttr, stats.tube) == (100, 180, "URLs-to-fetch")
    attempt(client, http)
    [line] = told(capsys)
    assert line["job"] == job_id
    assert line["url"] == url
    assert line["outcome"] == "done"
    assert line["title"] == page_of("fine").title
    assert client.stats_tube(fetch_worker.TUBE).cmd_delete == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("failing", "HTTP 500 Internal Server Error"),
        ("picture", "not HTML but image/png"),
        ("cut", "peer closed connection without sending complete message body"),
    ],
)
def test_a_page_that_keeps_failing_is_buried_with_its_reason(
    site: WebSite,
    http: httpx.Client,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    reason: str,
) -> None:
    job_id = client.put(url_of(site, kind), priority=100, ttr=180)
    for delay in (1, 2):
        attempt(client, http)
        stats = client.stats_job(job_id)
        assert (stats.state, stats.delay, stats.pri) == ("delayed", delay, 100)
        client.kick_job(job_id)  # no need to wait
    attempt(client, http)
    stats = client.stats_job(job_id)
    assert (stats.state, stats.pri) == ("buried", 100)
    lines = told(capsys)
    assert [line["outcome"] for line in lines] == ["released", "released", "buried"]
    assert all(str(line["error"]).startswith(reason) for line in lines)


def test_a_page_that_recovers_is_done(
    site: WebSite, http: httpx.Client, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = client.put(url_of(site, "flaky"))
    attempt(client, http)
    client.kick_job(job_id)
    attempt(client, http)
    assert [line["outcome"] for line in told(capsys)] == ["released", "done"]


@pytest.mark.parametrize("body", [b"no url", b"http://[", b"\xff\xfe", b"", b"http://127.0.0.1:1/"])
def test_no_body_ends_the_worker(
    http: httpx.Client, client: Client, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    job_id = client.put(body)
    attempt(client, http)
    assert client.stats_job(job_id).state == "delayed"
    [line] = told(capsys)
    assert line["outcome"] == "released"
    assert line["error"]


def test_a_page_that_drips_is_given_up(
    site: WebSite, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_worker, "MOST_SECONDS", 0)
    with pytest.raises(TimeoutError, match="not finished after 0 s"):
        fetch_worker.fetch(http, url_of(site, "fine"))


def test_attempts_are_those_the_server_counted(
    site: WebSite, http: httpx.Client, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another worker released it twice: this one's first failure is the job's third."""
    job_id = client.put(url_of(site, "missing"))
    for _ in range(2):
        client.release(client.reserve())
    attempt(client, http)
    assert client.stats_job(job_id).state == "buried"


def test_the_programs_work_together_and_leave_other_tubes_alone(
    site: WebSite, fresh_daemon: Daemon
) -> None:
    server = ["--server", fresh_daemon.address]
    urls = site.urls[:3]
    with Client(fresh_daemon.address) as client:
        other = client.put("of somebody else")
        put = run("examples.put_urls", *server, *urls)
        assert [line.split()[1] for line in put] == urls
        lines = [json.loads(line) for line in run("examples.fetch_worker", *server)]
        assert {line["url"] for line in lines} == set(urls)
        assert client.stats_job(other).state == "ready"
        assert client.list_tubes() == ["default"]  # nothing is left in the other one


def run(module: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={}, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()
