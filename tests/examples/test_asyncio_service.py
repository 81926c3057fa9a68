"""The asyncio service of the examples, as a process, over HTTP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from beanrow import Client
from examples.demo.processes import ROOT
from tests.servers import Daemon


@pytest.fixture
def http(fresh_daemon: Daemon) -> Iterator[httpx.Client]:
    command = [sys.executable, "-m", "examples.asyncio_service", "--listen", "0"]
    with subprocess.Popen(
        [*command, "--server", fresh_daemon.address], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        base = service.stdout.readline().strip()
        try:
            with httpx.Client(base_url=base, timeout=10, trust_env=False) as client:
                yield client
        finally:
            service.terminate()


def test_what_is_posted_is_put(http: httpx.Client, fresh_daemon: Daemon) -> None:
    told = http.post("/tubes/emails", content=b"hello")
    assert told.status_code == 201
    with Client(fresh_daemon.address) as client:
        job = client.peek(told.json()["job"])
        assert job.body == b"hello"
        assert client.stats_job(job).tube == "emails"


def test_many_at_once(http: httpx.Client, fresh_daemon: Daemon) -> None:
    async def post_all() -> list[int]:
        async with httpx.AsyncClient(base_url=http.base_url, timeout=10, trust_env=False) as client:
            told = await asyncio.gather(
                *(client.post(f"/tubes/t{n % 3}", content=f"{n}") for n in range(60))
            )
        return [one.json()["job"] for one in told]

    ids = asyncio.run(post_all())
    with Client(fresh_daemon.address) as client:
        for number, job_id in enumerate(ids):
            assert client.peek(job_id).text == f"{number}"
            assert client.stats_job(job_id).tube == f"t{number % 3}"
        assert client.stats().total_connections <= 3  # the service's, this one, the fixture's


def test_what_cannot_be_put_is_told(http: httpx.Client, fresh_daemon: Daemon) -> None:
    for path, body, status, words in (
        ("/tubes/a%20b", b"x", 400, "may hold only"),
        ("/tubes/t", b"x" * 65536, 413, "at most 65535"),
        ("/elsewhere", b"x", 404, "POST /tubes/TUBE"),
    ):
        told = http.post(path, content=body)
        assert told.status_code == status
        assert words in told.json()["error"]
    fresh_daemon.stop()
    told = http.post("/tubes/t", content=b"x")
    assert (told.status_code, told.json()["outcome"]) == (503, "never-sent")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"POST /tubes/t HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /tubes/t HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", b"400"),
        (b"POST /tubes/t HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", b"413"),
        (b"GET", b"400"),
    ],
)
def test_half_a_request_is_refused(http: httpx.Client, said: bytes, status: bytes) -> None:
    with socket.create_connection((http.base_url.host, http.base_url.port or 80)) as caller:
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        with caller.makefile("rb") as answer:
            assert answer.readline().split()[1] == status
