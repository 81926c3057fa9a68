"""Servers for Prometheus, asked when somebody asks: ``beanrow exporter``.

Laws:
- A scrape is one snapshot of each server, all at the same time, and nothing in between.
- A server that does not answer is told as such, and never as zeros: ``up`` is 0, and its other
  figures are missing.
- What a peer sends is read up to a bound, and nothing of it is carried out. A few are answered at
  once; who comes beyond them is closed.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import AF_INET6
from socketserver import ThreadingTCPServer
from threading import BoundedSemaphore
from typing import Any

from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError
from beanrow.observe.exposition import (
    Family,
    Naming,
    Seen,
    label,
    write_families,
    write_snapshots,
)
from beanrow.observe.snapshot import Snapshot, Tubes, take_snapshot

__all__ = ["Exporter", "ExporterServer"]

_TIMEOUT = 5.0
"""Seconds of a command: a scrape of Prometheus has ten."""
_PATIENCE = 10.0
_MOST_PEERS = 16
_FASTEST = 1
"""Of gzip: 4 MB of 5,000 tubes in 40 ms."""
_PAGE = b"<!doctype html><title>beanrow exporter</title><a href=/metrics>metrics</a>\n"


class _Target:
    """One server. A thread of its own asks it, so its connection lasts, and scrapes take turns."""

    def __init__(self, address: Address, tubes: Tubes) -> None:
        self.name = str(address)
        self._client = Client(address.url, timeout=_TIMEOUT)
        self._tubes = tubes
        self._thread = ThreadPoolExecutor(1, "exporter")
        self.scrapes = self.failures = 0
        self.seconds = 0.0
        self.error = ""

    def scrape(self) -> Future[Snapshot | None]:
        """Begin to look at the server."""
        return self._thread.submit(self._scrape)

    def _scrape(self) -> Snapshot | None:
        begin = time.monotonic()
        self.scrapes += 1
        try:
            snapshot = take_snapshot(self._client, self._tubes)
        except BeanstalkError as error:
            self.failures += 1
            self._tell(str(error))
            return None
        self.error = ""
        self.seconds += time.monotonic() - begin
        return snapshot

    def _tell(self, error: str) -> None:
        if error != self.error:  # once, however long it lasts
            self.error = error
            sys.stderr.write(f"beanrow: {error}\n")
            sys.stderr.flush()

    def close(self) -> None:
        self._thread.submit(self._client.close)
        self._thread.shutdown()


class Exporter:
    """Servers and the tubes of them that are told; ``naming`` is whose names the metrics have."""

    def __init__(
        self, servers: Sequence[Address], tubes: Tubes, naming: Naming = "davidtannock"
    ) -> None:
        self._targets = [_Target(address, tubes) for address in servers]
        self._naming = naming

    def scrape(self) -> str:
        """Ask all servers and write the text."""
        futures = [target.scrape() for target in self._targets]
        snapshots = [one.result() for one in futures]
        seen = [
            Seen(target.name, snapshot)
            for target, snapshot in zip(self._targets, snapshots, strict=True)
            if snapshot is not None
        ]
        several = len(self._targets) > 1
        up = [int(snapshot is not None) for snapshot in snapshots]
        return "".join(
            [
                *write_snapshots(seen, self._naming, several=several),
                *write_families(self._own_families(up, several=several)),
            ]
        )

    def errors(self) -> list[str]:
        """Tell what is wrong with those that did not answer the last time."""
        return [target.error for target in self._targets if target.error]

    def _own_families(self, up: list[int], *, several: bool) -> Iterator[Family]:
        messagebird = self._naming == "messagebird"
        name = "instance" if messagebird else "server"
        shown = several or messagebird
        places = [label(name, one.name) if shown else "" for one in self._targets]

        def one(name: str, kind: str, words: str, values: Sequence[float]) -> Family:
            samples = [("", place, value) for place, value in zip(places, values, strict=True)]
            return Family(f"beanstalkd_{name}", kind, words, samples)

        targets = self._targets
        failures = [target.failures for target in targets]
        seconds = [round(target.seconds, 6) for target in targets]
        yield one("up", "gauge", "1 if the server answered.", up)
        if messagebird:
            done = [target.scrapes - target.failures for target in targets]
            outcomes = [
                ("", ",".join(filter(None, [place, label("outcome", outcome)])), number)
                for outcome, numbers in (("success", done), ("failure", failures))
                for place, number in zip(places, numbers, strict=True)
            ]
            yield Family(
                "beanstalkd_exporter_requests_total", "counter", "Looks at the server.", outcomes
            )
            yield one(
                "exporter_scrape_connection_errors_total",
                "counter",
                "Looks that failed.",
                failures,
            )
            return
        scrapes = [target.scrapes for target in targets]
        yield one("exporter_scrapes_total", "counter", "Looks at the server.", scrapes)
        yield one("exporter_scrape_errors_total", "counter", "Looks that failed.", failures)
        yield one(
            "exporter_scrape_seconds_total", "counter", "Time of looks that did not fail.", seconds
        )

    def close(self) -> None:
        """Close all connections."""
        for target in self._targets:
            target.close()


class ExporterServer(ThreadingTCPServer):
    """Serves an exporter's text at ``/metrics``, until ``shutdown``. OSError if it cannot listen."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, exporter: Exporter) -> None:
        self.exporter = exporter
        if ":" in host:
            self.address_family: int = AF_INET6
        self._places = BoundedSemaphore(_MOST_PEERS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is a place for one more."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let go of a peer that went away; what is wrong with us is told by Python."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = _PATIENCE
    server_version = "beanrow"
    sys_version = ""
    server: ExporterServer

    def do_GET(self) -> None:
        """Answer what is asked for."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            text = self.server.exporter.scrape().encode()
            self._answer(text, "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/":
            self._answer(_PAGE, "text/html; charset=utf-8")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain="there is /metrics")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, _FASTEST)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet: a scrape every few seconds is no news."""
