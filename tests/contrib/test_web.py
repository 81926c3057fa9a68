"""Clients in real Starlette, FastAPI and Flask."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from beanrow import BadValueError, Client, ConnectFailedError
from beanrow.contrib.flask import Beanrow
from beanrow.contrib.starlette import client_of, lifespan
from examples.demo.processes import ROOT
from tests.servers import HOST, OurServer, free_port
from tests.worker.conftest import until


@contextmanager
def serving(app: Any) -> Iterator[httpx.Client]:
    """Serve the app with uvicorn, in a thread; a browser for it."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            with httpx.Client(base_url=f"http://{HOST}:{listener.getsockname()[1]}") as browser:
                yield browser
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture
def at(our_server: OurServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a server of our own, which the environment names."""
    monkeypatch.setenv("BEANSTALKD_URL", our_server.address)
    with Client(our_server.address) as client:
        yield client


def test_the_fastapi_shop(at: Client) -> None:
    from examples.fastapi_shop import TUBE, app

    with serving(app) as browser:
        assert browser.get("/orders").json() == {"waiting": 0}
        told = browser.post("/orders", json={"email": "ann@example.org"})
        assert told.status_code == 202
        assert browser.get("/orders").json() == {"waiting": 1}
        assert browser.post("/orders", json={"mail": "x"}).status_code == 422
        before = at.stats().current_connections
    until(lambda: at.stats().current_connections == before - 1)  # the app closed its own
    job = at.peek(told.json()["job"])
    assert json.loads(job.body) == {"email": "ann@example.org"}
    assert at.stats_job(job).tube == TUBE


async def put(request: Request) -> PlainTextResponse:
    client = client_of(request)
    try:
        return PlainTextResponse(str(await client.put(await request.body())))
    except ConnectFailedError as error:
        return PlainTextResponse(str(error), status_code=503)


def test_the_app_starts_without_the_server_and_finds_it_later() -> None:
    port = free_port()
    app = Starlette(routes=[Route("/", put, methods=["POST"])], lifespan=lifespan(f"{HOST}:{port}"))
    with serving(app) as browser:
        assert browser.post("/", content="x").status_code == 503
        with OurServer("-p", str(port)):
            assert browser.post("/", content="x").text == "1"


def test_an_app_without_the_lifespan_is_told_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="lifespan="):
        client_of(Request({"type": "http"}))


def test_the_flask_shop(at: Client) -> None:
    """In a process of its own, since its addresses are read when it is imported."""
    program = (
        "from examples.flask_shop import app\n"
        "told = app.test_client().post('/orders', json={'email': 'ann@example.org'})\n"
        "print(told.status_code, told.get_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout == "202 {'job': 1, 'mail': 2}\n"
    assert json.loads(at.peek(1).body) == {"email": "ann@example.org"}
    with subprocess.Popen(
        [sys.executable, "-m", "beanrow.worker", "examples.flask_shop:tasks", "--threads", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        try:
            until(lambda: at.stats().cmd_delete == 1)
        finally:
            worker.terminate()
            told, _ = worker.communicate(timeout=30)
    assert told == "examples.flask_shop: mail to ann@example.org\n"


def test_each_flask_app_has_its_own_client(our_server: OurServer) -> None:
    queue = Beanrow()
    near, far, without = Flask("near"), Flask("far"), Flask("without")
    near.config["BEANROW_SERVER"] = our_server.address
    far.config["BEANROW_SERVER"] = "127.0.0.1:1"
    queue.init_app(near)
    queue.init_app(far)
    with near.app_context():
        assert queue.client.put("x") == 1
        queue.client.close()
    with far.app_context(), pytest.raises(ConnectFailedError, match=r"127\.0\.0\.1:1"):
        queue.client.put("x")
    with without.app_context(), pytest.raises(RuntimeError, match="without has no beanrow client"):
        queue.client.put("x")
    without.config["BEANROW_SERVER"] = "nowhere:port"
    with pytest.raises(BadValueError):
        queue.init_app(without)
