"""The dashboard in a real browser: what people see, press and wait for.

Law: a page that asks another host, opens a dialog, or complains on its console fails its test.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from beanrow import Client
from tests.dashboard.desk import Dash
from tests.dashboard.test_access import rights
from tests.dashboard.test_pages import LETTER
from tests.need import need
from tests.servers import Daemon, GatewayServer, OurServer, Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

PHONE = {"width": 360, "height": 700}
EVIL = (
    "<script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran=1">',
    "</textarea><script>window.ran=1</script>",
    "</pre><svg onload=window.ran=1>",
    "{{ 7*7 }}${7*7}<b>",
    "javascript:window.ran=1",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        reason = "needs a browser: tools/apt_install.sh chromium chromium, as root"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as driver:
        # Not the sandbox: it needs what a container and root do not have. Only our pages are shown.
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


class Guarded:
    """Pages that are watched."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.faults: list[str] = []

    def open(self, dash: Dash, path: str = "1/", **context: object) -> Page:
        """Show a page of a dashboard; ``context`` is what playwright calls so."""
        base = str(dash.http.base_url).rstrip("/") + "/"
        page = self._browser.new_context(**context).new_page()  # type: ignore[arg-type]
        page.set_default_timeout(15_000)
        page.on("dialog", lambda dialog: self.faults.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: self.faults.append(f"error {error}"))
        page.on("console", self._heard)
        page.on(
            "request",
            lambda one: (
                None if one.url.startswith(base) else self.faults.append(f"asked {one.url}")
            ),
        )
        page.goto(base + path)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        # A page that is still there when its dashboard ends is cut off, tries again, and is refused.
        is_end = message.text.endswith(("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET"))
        if message.type in ("error", "warning") and not is_end:
            self.faults.append(f"console {message.text}")


@pytest.fixture
def pages(browser: Browser) -> Iterator[Guarded]:
    guarded = Guarded(browser)
    yield guarded
    for context in browser.contexts:
        context.close()
    assert guarded.faults == []


@pytest.fixture(params=["beanrow", "beanstalkd"])
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server, for one test alone."""
    if request.param == "gateway":
        need("redis")
    kinds = {"beanrow": OurServer, "beanstalkd": Daemon, "gateway": GatewayServer}
    with kinds[request.param]() as running:
        yield running


on_each = pytest.mark.parametrize("fresh", ["beanrow", "beanstalkd", "gateway"], indirect=True)


@pytest.fixture
def shown(fresh: Server) -> Iterator[Dash]:
    with Dash(fresh.address) as dash:
        yield dash


@pytest.fixture
def queue(fresh: Server) -> Iterator[Client]:
    with Client(fresh.address) as client:
        yield client


def notice(page: Page, text: str) -> None:
    expect(page.locator("main > .notice")).to_contain_text(text)


def row(page: Page, name: str) -> list[str]:
    return page.locator(f'tr[data-key="{name}"] td').all_inner_texts()


# -- what is pressed --------------------------------------------------------------


@on_each
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_what_can_be_done_to_a_tube(
    pages: Guarded, shown: Dash, queue: Client, script: bool
) -> None:
    queue.put_many([b"x"] * 3, tube="emails")
    for _ in range(2):
        queue.bury(queue.reserve_job(queue.put("y", tube="emails")))
    page = pages.open(shown, java_script_enabled=script)
    page.get_by_role("link", name="emails").click()
    page.get_by_label("Pause for").fill("90")
    page.get_by_role("button", name="Pause").click()
    notice(page, "tube emails hands out nothing for 90 s")
    assert 80 < queue.stats_tube("emails").pause_time_left <= 90
    page.get_by_role("button", name="Resume").click()
    notice(page, "tube emails hands out jobs again")
    assert queue.stats_tube("emails").pause_time_left == 0
    page.get_by_label("Kick").fill("1")
    page.get_by_role("button", name="Kick").click()
    notice(page, "1 job of tube emails kicked")
    assert queue.stats_tube("emails").current_jobs_buried == 1
    page.get_by_text("Put a job…").click()
    page.get_by_label("Body").fill("from a form")
    page.get_by_label("Priority").fill("1")
    page.get_by_role("button", name="Put", exact=True).click()
    notice(page, "put into tube emails")
    queue.use("emails")
    put = queue.peek_ready()
    assert put is not None
    assert put.body == b"from a form"
    page.get_by_text("Clear…").click()
    page.get_by_role("button", name="Delete all jobs of emails").click()
    notice(page, "6 jobs of tube emails deleted")
    page.locator("main > .notice").get_by_role("button", name="Undo").click()
    notice(page, "6 jobs put back as before")
    assert queue.stats_tube("emails").current_jobs_buried == 1
    assert queue.stats_tube("emails").current_jobs_ready == 5


@on_each
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_what_can_be_done_to_jobs(pages: Guarded, shown: Dash, queue: Client, script: bool) -> None:
    ids = queue.put_many([b'{"user": %d}' % number for number in range(5)], tube="emails")
    page = pages.open(shown, "1/jobs?name=emails", java_script_enabled=script)
    page.get_by_label("Body").fill('"user": ')
    page.get_by_role("button", name="Show").click()
    assert page.locator("table.jobs tbody tr").count() == 5
    page.get_by_label("Body").fill('"user": 1')
    page.get_by_role("button", name="Show").click()
    assert page.locator("table.jobs tbody tr").count() == 1
    page.get_by_label(f"job {ids[1]}", exact=True).check()
    page.get_by_label("to tube").fill("later")
    page.get_by_role("button", name="Move").click()
    notice(page, "1 job of tube emails moved")
    assert queue.stats_tube("later").current_jobs_ready == 1
    page.goto(page.url.partition("/1/")[0] + "/1/jobs?name=emails&state=ready")
    page.get_by_label(f"job {ids[2]}", exact=True).check()
    page.get_by_role("button", name="Delete").click()
    notice(page, "1 job of tube emails deleted")
    assert queue.stats_tube("emails").current_jobs_ready == 3
    page.locator("main > .notice").get_by_role("button", name="Undo").click()
    notice(page, "1 job put back")
    assert queue.stats_tube("emails").current_jobs_ready == 4
    page.goto(page.url.partition("/1/")[0] + f"/1/job/{ids[0]}")
    expect(page.locator("pre.body")).to_have_text('{\n  "user": 0\n}')
    page.get_by_text("Edit…").click()
    page.get_by_label("Body").fill('{"user": 42}')
    page.get_by_label("Delay").fill("600")
    page.get_by_role("button", name="Save").click()
    notice(page, f"job {ids[0]} changed; it is job ")
    expect(page.locator("pre.body")).to_have_text('{\n  "user": 42\n}')
    assert queue.stats_tube("emails").current_jobs_delayed == 1
    page.get_by_role("button", name="Kick").click()
    notice(page, "1 job of tube emails kicked")
    assert queue.stats_tube("emails").current_jobs_delayed == 0
    page.get_by_role("link", name="Changes").click()
    assert page.locator("tbody#changes tr").count() == 5
    page.get_by_role("button", name="Undo").last.click()
    notice(page, "1 job put back")
    assert queue.stats_tube("emails").current_jobs_ready == 5


@on_each
def test_dead_letters_are_read_and_sent_back(pages: Guarded, shown: Dash, queue: Client) -> None:
    queue.put_many([json.dumps(LETTER)] * 3, tube="emails-dead")
    page = pages.open(shown)
    page.get_by_role("link", name="Failed").click()
    page.get_by_role("link", name="emails-dead").click()
    expect(page.locator("main")).to_contain_text("ValueError: no such user")
    page.get_by_role("row", name="ValueError").first.get_by_role("link").click()
    expect(page.locator("main")).to_contain_text("TimeoutError: the first")
    page.get_by_role("button", name="Send back to emails").click()
    notice(page, "1 job of tube emails-dead moved")
    assert queue.stats_tube("emails").current_jobs_ready == 1
    assert queue.stats_tube("emails-dead").current_jobs_ready == 2


def test_login(
    pages: Guarded,
    our_server: OurServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("rights") / "rights.toml"
    file.write_text(rights())
    with Dash(our_server.address, rights=file) as dash:
        page = pages.open(dash)
        page.get_by_label("Token").fill("operator")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_have_text(our_server.address)
        expect(page.locator("#link")).to_have_text("live")
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")


# -- what is live -----------------------------------------------------------------


@on_each
def test_updates_arrive_within_a_second(
    pages: Guarded,
    shown: Dash,
    queue: Client,
    record_property: Callable[[str, object], None],
) -> None:
    queue.put("x", tube="emails")
    page = pages.open(shown)
    expect(page.locator("#link")).to_have_text("live")
    took = []
    for number in range(2, 12):
        begin = time.monotonic()
        queue.put("x", tube="emails")
        page.wait_for_function(
            "number => document.querySelector('tr[data-key=emails] td').textContent == number",
            arg=str(number),
        )
        took.append(time.monotonic() - begin)
    record_property("dashboard: update in the browser, median s", round(statistics.median(took), 2))
    assert statistics.median(took) < 1
    queue.put("x", tube="brand-new")
    expect(page.get_by_role("link", name="brand-new")).to_be_visible()
    queue.drain_tube("brand-new")
    queue.use("default")
    expect(page.get_by_role("link", name="brand-new")).to_have_count(0)


def test_the_focus_stays_while_rows_change(pages: Guarded, shown: Dash, queue: Client) -> None:
    queue.put("x", tube="emails")
    page = pages.open(shown)
    page.get_by_role("link", name="emails").focus()
    queue.put("x", tube="emails")
    page.wait_for_function(
        "() => document.querySelector('tr[data-key=emails] td').textContent == '2'"
    )
    assert page.evaluate("document.activeElement.id") == "tube-emails"


def test_a_page_tells_when_it_is_not_live(pages: Guarded, our_server: OurServer) -> None:
    with Dash(our_server.address) as dash:
        page = pages.open(dash)
        expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#link")).to_contain_text("not live")


def test_a_server_that_ends_is_told(pages: Guarded, fresh: Server) -> None:
    with Dash(fresh.address) as dash:
        page = pages.open(dash)
        expect(page.locator("#link")).to_have_text("live")
        fresh.stop()
        expect(page.locator("#status")).to_contain_text("does not answer since")


# -- names and bodies that are not kind -------------------------------------------


@on_each
def test_nothing_of_a_queue_is_ever_run(pages: Guarded, shown: Dash, queue: Client) -> None:
    ids = []
    for evil in EVIL:
        ids.append(queue.put(evil, tube="evil-dead"))
        letter = {**LETTER, "tube": evil, "body": evil}
        letter["error"] = {"type": evil, "text": evil, "traceback": evil}
        letter["history"] = {evil: evil, "errors": [{"attempt": evil, "at": evil, "error": evil}]}
        ids.append(queue.put(json.dumps(letter), tube="evil-dead"))
    page = pages.open(shown)
    base = page.url
    paths = ["", "tube?name=evil-dead", "jobs?name=evil-dead", "failed?name=evil-dead", "changes"]
    paths += [f"job/{id}" for id in ids] + [
        "jobs?name=evil-dead&match=%3Cscript%3E",
        "?q=%22%3E%3Cb%3E",
    ]
    for path in paths:
        page.goto(base + path)
        assert page.evaluate("window.ran") is None
    for id, evil in zip(ids[::2], EVIL, strict=True):
        page.goto(f"{base}job/{id}")
        assert page.locator("pre.body").inner_text() == evil
        page.get_by_text("Edit…").click()
        assert page.get_by_label("Body").input_value() == evil
    page.goto(f"{base}jobs?name=evil-dead")
    page.get_by_label("to tube").fill('"><script>window.ran=1</script>')
    page.locator("tbody input").first.check()
    page.get_by_role("button", name="Move").click()
    expect(page.locator(".notice")).to_contain_text("<script>")
    assert page.evaluate("window.ran") is None
    pages.faults.clear()  # the browser notes that the move was answered with 400


@pytest.mark.parametrize("name", ["..", "a/../b", ".", "x" * 200, "$(id);", "a+b%".rstrip("%")])
def test_any_name_leads_to_its_tube(pages: Guarded, shown: Dash, queue: Client, name: str) -> None:
    queue.put("x", tube=name)
    page = pages.open(shown, viewport=PHONE)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("h1")).to_have_text(f"Tube {name}")
    expect(page.locator("#link")).to_have_text("live")
    page.get_by_role("link", name="All jobs").click()
    assert page.locator("table.jobs tbody tr").count() == 1


# -- many -------------------------------------------------------------------------


def first_paint(page: Page) -> float:
    """Seconds from the beginning of the request to the first content on the screen."""
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    milliseconds: float = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    page.close()
    return milliseconds / 1000


def test_five_thousand_tubes(
    pages: Guarded,
    shown: Dash,
    queue: Client,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    for number in range(5000):
        queue.put("x", tube=f"tube-{number:04}")
    painted = min(first_paint(pages.open(shown)) for _ in range(5))
    page = pages.open(shown)
    kind = request.node.callspec.params["fresh"]
    record_property(f"dashboard: 5,000 tubes on {kind}, first paint s", round(painted, 2))
    assert painted < 1
    assert page.locator("tbody#tubes tr").count() == 200
    expect(page.locator("#link")).to_have_text("live")
    begin = time.monotonic()
    queue.put("x", tube="tube-0001")
    page.wait_for_function(
        "() => document.querySelector('tr[data-key=tube-0001] td').textContent == '2'"
    )
    update = time.monotonic() - begin
    record_property(f"dashboard: 5,000 tubes on {kind}, update s", round(update, 2))
    page.get_by_label("Tubes").fill("4999")
    page.get_by_role("button", name="Filter").click()
    assert row(page, "tube-4999")[0] == "1"


def test_a_hundred_thousand_jobs(
    pages: Guarded,
    shown: Dash,
    queue: Client,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    queue.put_many((b'{"user": %d}' % number for number in range(100_000)), tube="emails")
    kind = request.node.callspec.params["fresh"]
    painted = min(first_paint(pages.open(shown, "1/jobs?name=emails")) for _ in range(5))
    page = pages.open(shown, "1/jobs?name=emails")
    record_property(f"dashboard: 100,000 jobs on {kind}, first paint s", round(painted, 2))
    assert painted < 1
    page.get_by_role("link", name="next jobs").click()
    expect(page.locator("tbody tr").first).to_contain_text("51")
    assert min(first_paint(pages.open(shown, "1/tube?name=emails")) for _ in range(5)) < 1
    page = pages.open(shown, "1/tube?name=emails")
    page.get_by_text("Clear…").click()
    begin = time.monotonic()
    page.get_by_role("button", name="Delete all jobs of emails").click()
    page.goto(page.url.partition("/1/")[0] + "/1/changes")
    expect(page.locator("tbody#changes")).to_contain_text("of tube emails deleted", timeout=60_000)
    record_property(
        f"dashboard: 100,000 jobs on {kind} cleared, s", round(time.monotonic() - begin, 1)
    )
    assert queue.stats().current_jobs_ready == 0


# -- for everybody ----------------------------------------------------------------


PATHS = (
    "1/",
    "1/tube?name=emails",
    "1/jobs?name=emails",
    "1/job/1",
    "1/failed",
    "1/workers",
    "1/changes",
    "login",
    "1/job/99999",
)


@pytest.fixture
def filled(our_server: OurServer) -> Iterator[Dash]:
    with Client(our_server.address) as client, Dash(our_server.address) as dash:
        client.put("x" * 3000, tube="emails")
        client.put("x", tube="y" * 200)
        client.bury(client.reserve_job(client.put("x", tube="emails")))
        dash.do("/1/tube", name="emails", action="kick")
        yield dash


def test_a_phone_needs_no_scrolling_sideways(pages: Guarded, filled: Dash) -> None:
    for path in PATHS:
        page = pages.open(filled, path, viewport=PHONE)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path
    pages.faults.clear()  # of the job that is not there


def test_light_and_dark(pages: Guarded, filled: Dash) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page = pages.open(filled, color_scheme=scheme)
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades[0] != shades[1]


def test_the_keyboard_is_enough(pages: Guarded, filled: Dash) -> None:
    page = pages.open(filled)
    expect(page.locator("#link")).to_have_text("live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("mail")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=mail**")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Tube emails")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    notice(page, "hands out nothing")
    expect(page.locator("#link")).to_have_text("live")  # so that the script is there
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.locator("h1")).to_have_text("Changes")


def test_every_field_and_button_has_a_name(pages: Guarded, filled: Dash) -> None:
    for path in PATHS:
        page = pages.open(filled, path)
        nameless = page.evaluate(
            """[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]
               .filter(one => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))
               .map(one => one.outerHTML)"""
        )
        assert nameless == [], path
    pages.faults.clear()  # of the job that is not there
