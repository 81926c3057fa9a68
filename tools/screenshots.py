"""Take the pictures of docs/dashboard.md: every page, in a real browser, of a queue made for it.

    PYTHONPATH=. .venv/bin/python -m tools.screenshots        needs chromium, redis-server

A server and a worker of ours are started, and everything ends with the script, in two minutes.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from beanrow import App, Client, Retry
from tests.dashboard.desk import Dash
from tests.engines import Engine
from tests.servers import GatewayServer, OurServer

PICTURES = Path(__file__).parents[1] / "docs" / "dashboard"
SECONDS = 75
"""How long the queue is worked on before the pictures."""
WIDE: ViewportSize = {"width": 1000, "height": 640}
LOW: ViewportSize = {"width": 1000, "height": 445}
"""That of a dead letter ends above the traceback, which names files of whoever takes the pictures."""
PHONE: ViewportSize = {"width": 390, "height": 700}
PAGES = (
    ("servers", "", WIDE),
    ("overview", "1/", WIDE),
    ("overview-phone", "1/", PHONE),
    ("tube", "1/tube?name=emails", WIDE),
    ("jobs", "1/jobs?name=reports", WIDE),
    ("job", "1/job/1", WIDE),
    ("letter", "1/failed?name=emails-dead", LOW),
    ("failed", "1/failed?name=emails-dead", WIDE),
    ("workers", "1/workers", WIDE),
    ("changes", "1/changes", WIDE),
)

app = App()


@app.task(tube="emails", retry=Retry(2, delay=1), dead_letters="emails-dead")
def send(user: int) -> None:
    """Stand for some work that takes a while, and fails for some users."""
    time.sleep(random.uniform(0.1, 0.6))
    if user % 17 == 0:
        raise ValueError(f"user {user} has no address")
    if user % 29 == 0:
        raise TimeoutError("the mail server did not answer")


def fill(client: Client) -> None:
    """Put what nobody works on."""
    client.put('{"report": "sales", "month": "2026-10", "shops": [1, 2, 3]}', tube="reports")
    for number in range(40):
        client.put(f'{{"report": "stock", "shop": {number}}}', tube="reports", priority=number)
    client.put("at night", tube="backups", delay=20_000)
    client.put_many(["x"] * 12, tube="thumbnails")
    for _ in range(3):
        client.bury(client.reserve_job(client.put('{"invoice": 12}', tube="invoices")))


def work(address: str) -> subprocess.Popen[bytes]:
    """Start the worker of ``app``; what fails there is meant to."""
    command = [sys.executable, "-m", "beanrow.worker", "tools.screenshots:app"]
    return subprocess.Popen(
        [*command, "--server", address, "--threads", "4"], stderr=subprocess.DEVNULL
    )


def keep_putting(stop: threading.Event) -> None:
    """Put jobs at random."""
    user = 0
    while not stop.wait(random.expovariate(8)):
        user += 1
        send.put(user)


def change(dash: Dash) -> None:
    """Change a few things, for the page that tells of it."""
    dash.do("/1/tube", name="invoices", action="kick", count=1)
    dash.do("/1/tube", name="thumbnails", action="clear")
    dash.do("/1/tube", name="backups", action="pause", seconds=3600)


def take_pictures(browser: Browser, address: str) -> None:
    """Take a picture of each page, light and dark."""
    PICTURES.mkdir(exist_ok=True)
    for name, path, size in PAGES:
        for scheme in ("light", "dark") if name == "overview" else ("light",):
            page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"{address}/{path}")
            if name == "letter":
                page.locator("table.jobs th a").first.click()
            page.wait_for_timeout(1500)  # the first event has come, and the rates are steady
            ending = "" if scheme == "light" else f"-{scheme}"
            page.screenshot(path=PICTURES / f"{name}{ending}.png")
            page.close()


def take_picture_of_machines(browser: Browser) -> None:
    """Take the picture of two gateways and their store."""
    with (
        Engine() as engine,
        GatewayServer(store=engine.url) as first,
        GatewayServer(store=engine.url) as second,
        Dash(first.address, second.address, store=engine.url) as dash,
    ):
        page = browser.new_page(viewport=LOW)
        page.goto(f"{str(dash.http.base_url).rstrip('/')}/cluster")
        page.wait_for_timeout(3000)  # by then both gateways have told of themselves
        page.screenshot(path=PICTURES / "cluster.png")
        page.close()


def main() -> None:
    """Make the queue, and take the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium here: tools/apt_install.sh chromium chromium, as root")
    with (
        OurServer() as server,
        OurServer() as other,
        Client(server.address) as client,
        Dash(server.address, other.address) as dash,
        sync_playwright() as driver,
    ):
        fill(client)
        worker = work(server.address)
        app.use_server(server.address)
        stop = threading.Event()
        putting = threading.Thread(target=keep_putting, args=(stop,))
        putting.start()
        time.sleep(SECONDS)
        change(dash)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take_pictures(browser, str(dash.http.base_url).rstrip("/"))
        take_picture_of_machines(browser)
        browser.close()
        stop.set()
        putting.join()
        worker.terminate()
        worker.wait()
    app.close()


if __name__ == "__main__":
    main()
