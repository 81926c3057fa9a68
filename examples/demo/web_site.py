"""A web site on loopback: pages of real HTML, a few of them slow, missing or broken.

Law: which page is what, and what it says, follows from the seed alone.

As a program it prints the port it serves and ends when its standard input does, so that it
outlives nobody: python -m examples.demo.web_site --pages 2000 --seed 1
"""

from __future__ import annotations

import argparse
import html
import random
import sys
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["KINDS", "Page", "make_pages"]

KINDS = {
    "slow": 0.02,  # answers after 0.2 to 0.5 s
    "flaky": 0.005,  # 503 at the first request, then fine
    "missing": 0.005,  # 404
    "failing": 0.0025,  # 500
    "cut": 0.0025,  # the connection ends in the middle of the body
    "picture": 0.0025,  # not HTML
}
"""The share of the pages that each kind has, at least one page each; the rest is fine."""

_WORDS = (
    *("queue", "job", "tube", "worker", "ready", "delay", "bury", "kick", "touch", "reserve"),
    *("release", "delete", "peek", "watch", "ignore", "priority", "server", "client", "reply"),
    *("café", "naïve", "über"),  # not everything is ASCII
)
_PICTURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Page:
    """One page: what it says, and what is wrong with it."""

    number: int
    kind: str
    wait: float
    title: str
    links: tuple[int, ...]
    html: bytes


def make_pages(count: int, seed: int) -> list[Page]:
    """Make the pages 1 to ``count`` of the site with this seed."""
    chance = random.Random(seed)
    numbers = list(range(1, count + 1))
    chance.shuffle(numbers)
    kinds = {}
    for kind, share in KINDS.items():
        for _ in range(max(1, round(count * share))):
            if len(numbers) > 1:  # even the smallest site has a page that is fine
                kinds[numbers.pop()] = kind
    return [
        _make_page(number, count, kinds.get(number, "fine"), chance)
        for number in range(1, count + 1)
    ]


def _make_page(number: int, count: int, kind: str, chance: random.Random) -> Page:
    wait = chance.uniform(0.2, 0.5) if kind == "slow" else 0.0
    title = f"Page {number}: {chance.choice(_WORDS)} & {chance.choice(_WORDS)}"
    links = tuple(chance.randint(1, count) for _ in range(chance.randint(3, 12)))
    paragraphs = "\n".join(
        f"<p>{' '.join(chance.choices(_WORDS, k=40)).capitalize()}.</p>" for _ in range(4)
    )
    items = "\n".join(f'<li><a href="/pages/{n}">Page {n} &raquo;</a></li>' for n in links)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"{paragraphs}\n<ul>\n{items}\n</ul>\n</body>\n</html>\n"
    )
    return Page(number, kind, wait, title, links, text.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pages: list[Page]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = {f"/pages/{page.number}": page for page in pages}
        self.asked: set[int] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a worker that hung up or was killed; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        if page is None or page.kind == "missing":
            self._answer(HTTPStatus.NOT_FOUND, b"<h1>No such page</h1>")
        elif page.kind == "failing":
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"<h1>A fault of the site</h1>")
        elif page.kind == "flaky" and page.number not in self.server.asked:
            self.server.asked.add(page.number)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"<h1>Come again</h1>")
        elif page.kind == "picture":
            self._answer(HTTPStatus.OK, _PICTURE, kind="image/png")
        elif page.kind == "cut":
            self._answer(HTTPStatus.OK, page.html[:600], announced=1200)
        else:
            time.sleep(page.wait)
            self._answer(HTTPStatus.OK, page.html)

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        *,
        kind: str = "text/html; charset=utf-8",
        announced: int | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or announced is not None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its parent's name)
        """Say nothing: the terminal is the demo's."""


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="Serve the web site of the demo.")
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with _Server(make_pages(arguments.pages, arguments.seed)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
