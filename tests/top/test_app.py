"""The live view, driven by Textual's pilot against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from beanrow import Client, NotFoundError
from beanrow.client.address import read_address
from beanrow.observe.snapshot import ALL_TUBES
from beanrow.top.app import TopApp
from beanrow.top.lines import Lines
from beanrow.top.peek import PeekScreen, readable
from tests.servers import Daemon, OurServer, Server

PATIENCE = 20.0


class View:
    """The view under test: what it shows, and its keys."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    def text(self, part: str) -> str:
        return str(self.app.screen.query_one(f"#{part}", Static).content)

    def lines(self) -> list[str]:
        return str(self.app.screen.query_one(Lines).render()).split("\n")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, [self.text("message"), *self.lines()]
            await self.pilot.pause(0.02)


@asynccontextmanager
async def viewing(
    server: Server, size: tuple[int, int] = (80, 24), interval: float = 0.05
) -> AsyncIterator[View]:
    app = TopApp(read_address(server.address), ALL_TUBES, interval=interval, plain=True)
    async with app.run_test(size=size) as pilot:
        view = View(app, pilot)
        await view.until(lambda: len(view.lines()[0]) > 1)
        yield view


def played(story: Callable[..., Awaitable[None]], *values: Any) -> None:
    asyncio.run(story(*values))  # type: ignore[arg-type]  # a coroutine function


@pytest.fixture(params=["beanrow", "beanstalkd"])
def quiet(request: pytest.FixtureRequest) -> Any:
    with OurServer() if request.param == "beanrow" else Daemon() as running:
        yield running


def test_it_shows_tubes_and_their_rates(quiet: Server) -> None:
    async def story(client: Client) -> None:
        async with viewing(quiet) as view:
            assert quiet.address in view.text("summary")
            for _ in range(4):
                client.put_many(["x"] * 10, tube="mail")
                await view.pilot.pause(0.06)
            await view.until(lambda: view.lines()[0].startswith("> mail "))
            await view.until(lambda: " 40 " in view.lines()[0])
            client.put("x", tube="mail")
            await view.until(lambda: float(view.lines()[0].split()[6]) > 0)
            await view.until(lambda: "ready 41" in view.text("summary"))
            assert all(len(line) <= 80 for line in view.lines())

    with Client(quiet.address) as client:
        played(story, client)


def test_how_long_jobs_wait_is_shown_where_it_is_known(quiet: Server) -> None:
    async def story() -> None:
        async with viewing(quiet) as view:
            head = view.text("head")
            assert " wait " in head
            known = "-" if isinstance(quiet, Daemon) else "ms"
            await view.until(lambda: any(line.startswith("> mail ") for line in view.lines()))
            (line,) = [line for line in view.lines() if line.startswith("> mail ")]
            end = head.index(" wait ") + len(" wait")
            assert line[:end].endswith(known), line

    with Client(quiet.address) as client:
        client.put_many(["x"] * 2, tube="mail")
        client.watch("mail")
        client.delete(client.reserve())
        played(story)


def test_sort_turn_and_filter(our_server: OurServer) -> None:
    async def story() -> None:
        async with viewing(our_server) as view:
            order = [line[2:].split()[0] for line in view.lines()]
            assert order == ["c", "b", "a", "default"]  # by ready jobs
            await view.press("r")
            await view.until(lambda: "a" in view.lines()[1])
            assert "READY" in view.text("head")
            await view.press("less_than_sign")
            await view.until(lambda: "TUBE" in view.text("head"))
            order = [line[2:].split()[0] for line in view.lines()]
            assert order == ["a", "b", "c", "default"]
            await view.press("slash", *"default", "enter")
            await view.until(lambda: len(view.lines()) == 1)
            assert view.lines()[0].startswith("> default")
            assert "filter default: 1 tubes" in view.text("message")
            await view.press("slash", *["backspace"] * 7, "enter")
            await view.until(lambda: len(view.lines()) == 4)

    with Client(our_server.address) as client:
        for count, name in enumerate("abc", 1):
            client.put_many(["x"] * count, tube=name)
        client.use("default")
        played(story)


def test_pause_and_resume(quiet: Server) -> None:
    async def story(client: Client) -> None:
        async with viewing(quiet) as view:
            await view.press("p")
            await view.until(lambda: "pause mail for seconds" in view.text("message"))
            await view.press("escape")
            assert client.stats_tube("mail").pause == 0
            await view.press("p", "enter")
            await view.until(lambda: view.lines()[0].startswith(">Pmail"))
            assert client.stats_tube("mail").pause == 600
            assert "paused for 600 s" in view.text("message")
            await view.press("p", "enter")
            await view.until(lambda: view.lines()[0].startswith("> mail"))
            assert client.stats_tube("mail").pause == 0

    with Client(quiet.address) as client:
        client.put("x", tube="mail")
        played(story, client)


def test_kick(quiet: Server) -> None:
    async def story(client: Client) -> None:
        async with viewing(quiet) as view:
            await view.until(lambda: view.lines()[0].split()[1] == "mail")
            await view.press("x")
            await view.until(lambda: "kick how many buried jobs of mail" in view.text("message"))
            await view.press("backspace", "2", "enter")
            await view.until(lambda: "mail: 2 kicked" in view.text("message"))
            await view.until(lambda: client.stats_tube("mail").current_jobs_buried == 1)
            await view.press("x", "backspace", "q", "enter")
            await view.until(lambda: "'q' is no whole number" in view.text("message"))
            assert client.stats_tube("mail").current_using == 0
            client.kick_all("mail")
            await view.until(lambda: view.lines()[0].split()[5] == "0")
            await view.press("x")
            await view.until(lambda: "no job is buried" in view.text("message"))

    with Client(quiet.address) as client:
        client.put_many(["x"] * 4, tube="mail")
        client.watch("mail")
        for job in client.reserve_many(3):
            client.bury(job)
        client.use("default")
        played(story, client)


HOSTILE = b'{"a": "\x1b[2J[red]\xff"}'


def test_peek(quiet: Server) -> None:
    async def story() -> None:
        async with viewing(quiet) as view:
            await view.press("enter")
            await view.until(lambda: isinstance(view.app.screen, PeekScreen))
            await view.until(lambda: "job 1, ready" in view.text("about"))
            assert view.text("body") == '{\n  "b": 1\n}'
            await view.press("b")
            await view.until(lambda: "no buried job" in view.text("about"))
            await view.press("d")
            await view.until(lambda: "job 2, delayed" in view.text("about"))
            assert view.text("body") == '{"a": "\\x1b[2J[red]\\xff"}'
            await view.press("escape")
            await view.until(lambda: not isinstance(view.app.screen, PeekScreen))

    with Client(quiet.address) as client:
        client.put('{"b":1}', tube="mail")
        client.put(HOSTILE, tube="mail", delay=600)
        played(story)


def test_a_body_is_readable() -> None:
    assert readable(b"two\nlines\r\n") == "two\nlines\\r\n"
    assert readable(b"x" * 100_000).endswith("\n... 100000 bytes in all")


def test_workers_and_what_they_hold(quiet: Server) -> None:
    async def story() -> None:
        async with viewing(quiet) as view:
            await view.press("w")
            if isinstance(quiet, Daemon):
                await view.until(lambda: "does not tell who holds" in view.lines()[0])
            else:
                await view.until(lambda: " works " in view.lines()[0])
                assert " 1 mail " in view.lines()[0]
                assert "worker" in view.text("head")
            await view.press("t")
            await view.until(lambda: view.lines()[0].startswith("> "))

    with Client(quiet.address) as client:
        client.put("x", tube="mail")
        client.watch("mail")
        client.reserve()
        played(story)


def test_a_server_that_goes_and_comes_back() -> None:
    async def story(first: OurServer) -> None:
        async with viewing(first) as view:
            first.stop()
            await view.until(lambda: "no answer" in view.text("message"))
            assert view.lines()[0].startswith("> default")  # what was known is still there
            with OurServer("-p", str(first.port)):
                await view.until(lambda: view.text("message") == "")

    with OurServer() as first:
        played(story, first)


def test_it_can_be_held(our_server: OurServer) -> None:
    async def story(client: Client) -> None:
        async with viewing(our_server) as view:
            await view.press("space")
            await view.until(lambda: "HELD" in view.text("summary"))
            client.put("x", tube="late")
            await view.pilot.pause(0.3)
            assert not any("late" in line for line in view.lines())
            await view.press("space")
            await view.until(lambda: any("late" in line for line in view.lines()))

    with Client(our_server.address) as client:
        played(story, client)


def test_many_tubes_scroll_and_the_cursor_stays_on_its_tube(our_server: OurServer) -> None:
    async def story(client: Client) -> None:
        async with viewing(our_server) as view:
            assert len(view.lines()) == 24 - 3 - 1 - 1 - 1
            await view.press("end")
            await view.until(lambda: view.lines()[-1].startswith("> "))
            await view.press("home", "down", "down")
            await view.until(lambda: view.lines()[2].startswith("> t002"))
            client.put_many(["x"] * 9, tube="t150")  # it comes to the top
            await view.until(lambda: "t150" in view.lines()[0])
            assert view.lines()[3].startswith("> t002")

    with Client(our_server.address) as client:
        for number in range(200):
            client.put("x", tube=f"t{number:03}")
        client.use("t000")
        played(story, client)


def test_the_view_keeps_no_tube_alive(our_server: OurServer) -> None:
    async def story(client: Client) -> None:
        async with viewing(our_server) as view:
            await view.press("enter")
            await view.until(lambda: isinstance(view.app.screen, PeekScreen))
            await view.until(lambda: "job 1" in view.text("about"))
            await view.press("escape")
            client.delete(1)
            client.use("default")
            await view.until(lambda: not any("mail" in line for line in view.lines()))

    with Client(our_server.address) as client:
        client.put("x", tube="mail")
        played(story, client)
        with pytest.raises(NotFoundError), contextlib.closing(client):
            client.stats_tube("mail")
