"""The example shop on real Django: its view, its worker, its admin, its command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest

from beanrow import Client
from examples.demo.processes import ROOT
from tests.servers import OurServer
from tests.worker.conftest import until

if TYPE_CHECKING:
    from django.test import Client as Browser

TUBE = "order-mails"


class Shop:
    """The example's Django in this process, on a database and a server of its own."""

    def __init__(self, server: OurServer, database: Path) -> None:
        self.server = server
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "examples.django_shop.settings",
            "SHOP_DATABASE": str(database),
            "SHOP_QUEUE": server.address,
        }

    def manage(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "examples.django_shop.manage", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.manage(*words),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    database = tmp_path_factory.mktemp("shop") / "shop.sqlite3"
    with OurServer() as server, pytest.MonkeyPatch.context() as patch:
        one = Shop(server, database)
        for name in ("DJANGO_SETTINGS_MODULE", "SHOP_DATABASE", "SHOP_QUEUE"):
            patch.setenv(name, one.environment[name])
        django.setup()
        from django.core.management import call_command
        from django.db import connections

        from beanrow.contrib.django import app

        call_command("migrate", run_syncdb=True, verbosity=0)
        yield one
        app.close()
        connections.close_all()


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    """A client of the shop's server, whose tube is empty."""
    with Client(shop.server.address) as one:
        one.drain_tube(TUBE)
        yield one
        one.drain_tube(TUBE)


@pytest.fixture
def browser(shop: Shop) -> Browser:
    from django.test import Client as Browser

    return Browser()


def user(name: str, *permissions: str, superuser: bool = False) -> Any:
    from django.contrib.auth.models import Permission, User

    User.objects.filter(username=name).delete()
    made = User.objects.create_user(name, is_staff=True, is_superuser=superuser)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return made


def test_what_is_ordered_is_put_after_the_commit(browser: Browser, client: Client) -> None:
    assert browser.post("/orders", {"email": "ann@example.org"}).status_code == 201
    with pytest.raises(ValueError, match="no address"):
        browser.post("/orders", {"email": "no address"})
    client.watch(TUBE)
    from examples.django_shop.models import Order

    (order,) = Order.objects.filter(confirmed=False)
    assert [job.text for job in client.reserve_many(9)] == [f'{{"order_id":{order.pk}}}']
    order.delete()


def test_nothing_is_put_before_the_commit(shop: Shop, client: Client) -> None:
    from django.db import transaction

    from beanrow.contrib.django import put_on_commit
    from examples.django_shop.tasks import confirm

    with transaction.atomic():
        put_on_commit(confirm.options(delay=60), 5)
        assert client.stats().current_jobs_delayed == 0
    assert client.stats_tube(TUBE).current_jobs_delayed == 1


@pytest.mark.parametrize("kind", ["--threads", "--processes"])
def test_a_worker_of_the_project(shop: Shop, browser: Browser, client: Client, kind: str) -> None:
    from examples.django_shop.models import Order

    browser.post("/orders", {"email": f"bob{kind}@example.org"})
    with subprocess.Popen(
        shop.manage("beanrow", "work", kind, "2"),
        cwd=ROOT,
        env=shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        try:
            until(lambda: Order.objects.get(email=f"bob{kind}@example.org").confirmed)
        finally:
            worker.terminate()
            told, _ = worker.communicate(timeout=30)
    assert told == f"mail to bob{kind}@example.org\n"
    assert worker.returncode == 0


def test_a_run_leaves_no_connection_that_is_over_its_age(shop: Shop, client: Client) -> None:
    from django.db import connection

    from beanrow.contrib.django import app
    from examples.django_shop.models import Order
    from examples.django_shop.tasks import confirm

    order = Order.objects.create(email="eve@example.org")
    confirm.put(order.pk)
    assert connection.connection is not None
    assert app.drain() == 1
    assert connection.connection is None  # CONN_MAX_AGE is 0
    order.refresh_from_db()
    assert order.confirmed
    connection.close()


def test_the_command_is_that_of_the_projects_server(shop: Shop, client: Client) -> None:
    from django.core.management import CommandError, call_command

    settings = "--settings=examples.django_shop.settings"
    done = shop.run("beanrow", "put", "--tube", TUBE, settings, "--delay", "60", "{}")
    assert (done.returncode, done.stderr) == (0, "")
    assert client.stats_tube(TUBE).current_jobs_delayed == 1
    missing = shop.run("beanrow", "peek", "999999")
    assert missing.returncode == 1
    assert "999999" in missing.stderr
    with pytest.raises(CommandError, match="peek 999999 ended with 1"):
        call_command("beanrow", "peek", "999999")


def test_no_migration_is_missing(shop: Shop) -> None:
    from django.core.management import call_command

    call_command("makemigrations", "beanrow", check=True, dry_run=True, verbosity=0)


def test_the_admin_shows_tubes_and_helps_them(browser: Browser, client: Client) -> None:
    browser.force_login(user("root", superuser=True))
    odd = "order/mails;$(1)"
    client.put("<b>bold</b>", tube=odd)
    client.watch(odd)
    job = client.reserve(timeout=1)
    assert job is not None
    client.bury(job)
    index = browser.get("/admin/").content.decode()
    assert "/admin/beanrow/tube/" in index
    tubes = browser.get("/admin/beanrow/tube/").content.decode()
    assert odd in tubes
    page = f"/admin/beanrow/tube/{odd}/"
    shown = browser.get(page).content.decode()
    assert "1 buried" in shown
    assert "&lt;b&gt;bold" in shown
    assert "<b>bold" not in shown
    told = browser.post(page, {"act": "kick"}, follow=True).content.decode()
    assert f"1 jobs of {odd} kicked" in told
    browser.post(page, {"act": "pause", "seconds": "60"})
    assert client.stats_tube(odd).pause_time_left > 50
    browser.post(page, {"act": "resume"})
    assert client.stats_tube(odd).pause_time_left == 0
    browser.post(page, {"act": "delete", "job": str(job.id)})
    client.ignore(odd)
    gone = browser.post(page, {"act": "delete", "job": str(job.id)}, follow=True).content.decode()
    assert "no such tube or job any more" in gone
    odd_act = browser.post(page, {"act": "explode"}, follow=True).content.decode()
    assert "explode" in odd_act


def test_who_may_only_look_changes_nothing(browser: Browser, client: Client) -> None:
    client.put("x", tube=TUBE)
    page = f"/admin/beanrow/tube/{TUBE}/"
    assert browser.get(page).status_code == 302  # to the login
    browser.force_login(user("nobody"))
    assert browser.get(page).status_code == 403
    assert browser.get("/admin/beanrow/tube/").status_code == 403
    browser.force_login(user("looker", "view_tube"))
    shown = browser.get(page).content.decode()
    assert "<button" not in shown.partition('id="content"')[2]
    for act in ("kick", "pause", "resume", "kick-job", "delete"):
        assert browser.post(page, {"act": act, "seconds": "9", "job": "1"}).status_code == 403
    assert client.stats_tube(TUBE).current_jobs_ready == 1


def test_the_admin_says_when_nobody_answers(browser: Browser, shop: Shop) -> None:
    from beanrow.contrib.django import app

    browser.force_login(user("root", superuser=True))
    app.use_server("127.0.0.1:1")
    try:
        assert "127.0.0.1:1" in browser.get("/admin/beanrow/tube/").content.decode()
    finally:
        app.use_server(shop.server.address)


def test_a_wrong_address_is_named_by_its_setting(shop: Shop) -> None:
    environment = {**shop.environment, "SHOP_QUEUE": "nowhere:port"}
    done = subprocess.run(
        shop.manage("check"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode != 0
    assert "BEANROW_SERVER: " in done.stderr
