"""A dashboard in a thread of the test, and what a person does with it, without a browser."""

from __future__ import annotations

import re
import signal
import threading
import time
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import uvicorn

from beanrow.client.address import read_address
from beanrow.cluster.address import read_store_address
from beanrow.dashboard.app import Desk, Settings, make_app
from beanrow.dashboard.serving import LiveServer
from beanrow.server.log import Log


class Dash:
    """A dashboard of these servers; `open` is without rights, as by default."""

    def __init__(
        self,
        *servers: str,
        rights: Path | None = None,
        audit: Path | None = None,
        undo: Path | None = None,
        read_only: bool = False,
        store: str | None = None,
    ) -> None:
        addresses = tuple(map(read_address, servers))
        machines = None if store is None else read_store_address(store)
        self.desk = Desk(Settings(addresses, rights, audit, undo, read_only, machines), Log())
        config = uvicorn.Config(make_app(self.desk), port=0, log_config=None, lifespan="on")
        self._server = LiveServer(config, self.desk)
        self._thread = threading.Thread(target=self._server.run)
        self._csrf = "", ""

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the dashboard did not start"
            time.sleep(0.005)  # uvicorn has no way to say that it is ready
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=20
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()
        loop = self._server.servers[0].get_loop()
        loop.call_soon_threadsafe(self._server.handle_exit, signal.SIGTERM, None)
        self._thread.join()

    def get(self, path: str, **query: object) -> httpx.Response:
        """Ask for a page."""
        asked = {name: str(value) for name, value in query.items()}
        return self.http.get(path, params=asked or None)

    def page(self, path: str, **query: object) -> str:
        """Give the text of a page that there is."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.text

    @property
    def forms(self) -> str:
        """A page that has a form for everybody who may do anything."""
        return "/login" if not self.desk.access.open else "/1/tube?name=default"

    @property
    def csrf(self) -> str:
        """The token that the forms of this session hold."""
        session = self.http.cookies.get("beanrow-session")
        if session is not None and session == self._csrf[0]:
            return self._csrf[1]
        found = re.search(r'name="csrf" value="(\w+)"', self.page(self.forms))
        assert found is not None
        self._csrf = self.http.cookies["beanrow-session"], found[1]
        return found[1]

    def send(self, path: str, fields: dict[str, object], **headers: str) -> httpx.Response:
        """Send a form of the session, and follow to the page that tells the outcome."""
        data = {
            name: value if isinstance(value, list) else str(value) for name, value in fields.items()
        }
        return self.http.post(path, data={"csrf": self.csrf, **data}, headers=headers)

    def do(self, path: str, **fields: object) -> str:
        """Send a form that is carried out; what the notice tells."""
        if "from_" in fields:
            fields["from"] = fields.pop("from_")
        answer = self.send(path, fields)
        assert answer.status_code == 200, answer.text
        return notice(answer.text)

    def refused(self, status: int, path: str, **fields: object) -> str:
        """Send a form that is refused with this status; what the page tells."""
        answer = self.send(path, fields)
        assert answer.status_code == status, answer.text
        return notice(answer.text)

    def login(self, token: str) -> httpx.Response:
        return self.send("/login", {"token": token})


def notice(page: str) -> str:
    """What a page tells in its notice, as a person reads it."""
    found = re.search(r'<(div|p) class="notice[^>]*>(.*?)</\1>', page, re.DOTALL)
    assert found is not None, page
    return read(found[2])


def read(html: str) -> str:
    """The words of a piece of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
