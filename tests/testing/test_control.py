"""The control port: a test in any language moves the clock and makes things go wrong."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from beanrow import Client, ConnectionLostError, DrainingError, JobLost, OutOfMemoryError
from tests.testing.program import TestServer


@pytest.fixture(scope="module")
def running() -> Iterator[TestServer]:
    with TestServer("-z", "100") as server:
        yield server


@pytest.fixture
def server(running: TestServer) -> TestServer:
    running.post("/reset")
    return running


@pytest.fixture
def client(server: TestServer) -> Iterator[Client]:
    with Client(server.queue) as client:
        yield client


def test_the_clock(server: TestServer, client: Client) -> None:
    client.put("x", delay=3600)
    assert client.reserve(timeout=0) is None
    told = server.post("/clock/advance?seconds=3600")
    assert (told["now"], told["clock"], told["jobs"]) == (3600, "held", 1)
    assert client.reserve(timeout=0) is not None
    assert server.post("/clock/run")["clock"] == "running"
    assert server.post("/clock/hold")["now"] >= 3600


def test_an_hour_passes_before_the_answer(server: TestServer, client: Client) -> None:
    """Peers of the control port live by real time: a jump must not end the one that asked."""
    for _ in range(5):
        server.post("/clock/advance?seconds=1000000")


def test_faults(server: TestServer, client: Client) -> None:
    client.stats()
    told = server.post("/faults/cut?command=put&times=2")
    assert told["faults"] == [{"kind": "cut", "command": "put", "seconds": 0.0}] * 2
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            client.put("x")
    server.post("/faults/delay?command=put&seconds=0.01")
    client.put("x")
    server.post("/faults/drop")
    assert server.get("/")["faults"] == [{"kind": "drop", "command": None, "seconds": 0.0}]


def test_states(server: TestServer, client: Client) -> None:
    for path, error in (("/out-of-memory", OutOfMemoryError), ("/drain", DrainingError)):
        server.post(f"{path}?switch=on")
        with pytest.raises(error):
            client.put("x")
        server.post(f"{path}?switch=off")
        client.put("x")


def test_jobs_and_puts(server: TestServer, client: Client) -> None:
    client.put("a", tube="one", priority=1)
    client.put(b"\xff", tube="two", ttr=5)
    client.delete(1)
    job = {"id": 2, "tube": "two", "state": "ready", "priority": 65536, "delay": 0, "ttr": 5}
    assert server.get("/jobs") == [{**job, "body_base64": "/w=="}]
    assert server.get("/jobs?tube=two&state=buried") == []
    (put,) = server.get("/puts?tube=one")
    assert (put["state"], put["body"], put["priority"]) == ("deleted", "a", 1)


def test_disconnect_and_reset(server: TestServer, client: Client) -> None:
    client.put("x")
    job = client.reserve(timeout=0)
    assert job is not None
    assert server.post("/disconnect") == {"disconnected": 1}
    with pytest.raises(JobLost):
        client.delete(job)
    server.post("/drain?switch=on")
    told = server.post("/reset")
    assert told == {
        "now": 0, "clock": "held", "jobs": 0, "out-of-memory": False, "draining": False, "faults": [],
    }  # fmt: skip
    with Client(server.queue) as fresh:
        assert fresh.put("y") == 1


@pytest.mark.parametrize(
    ("request_line", "status", "word"),
    [
        ("POST /clock/advance", 400, "needs seconds"),
        ("POST /clock/advance?seconds=abc", 400, "abc"),
        ("POST /clock/advance?seconds=-1", 400, "seconds -1"),
        ("POST /clock/advance?seconds=nan", 400, "seconds nan"),
        ("POST /clock/advance?seconds=1&minutes=2", 400, "takes seconds, not minutes"),
        ("POST /reset?now", 400, "takes nothing, not now"),
        ("POST /drain?switch=maybe", 400, "'maybe' is neither on nor off"),
        ("POST /faults/cut?command=reserv", 400, "'reserv' is none of put"),
        ("POST /faults/cut?times=0", 400, "times 0"),
        ("POST /faults/cut?seconds=1", 400, "not seconds"),
        ("POST /faults/slow?command=put", 400, "needs seconds"),
        ("GET /jobs?tube=-x", 400, "'-x'"),
        ("GET /jobs?state=redy", 400, "state 'redy'"),
        ("GET /reset", 404, "POST /reset"),
        ("POST /nowhere", 404, "no POST /nowhere"),
    ],
)
def test_what_cannot_be_read_is_told(
    server: TestServer, request_line: str, status: int, word: str
) -> None:
    before = server.get("/")
    method, _, path = request_line.partition(" ")
    told = server.ask(method, path)
    assert told[0] == status
    assert word in told[1]["error"]
    assert server.get("/") == before


@pytest.mark.parametrize("said", [b"nonsense\r\n\r\n", b"DELETE /reset HTTP/1.1\r\n\r\n"])
def test_what_is_no_request(server: TestServer, said: bytes) -> None:
    host, _, port = server.control.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as talk:
        talk.sendall(said)
        assert talk.makefile("rb").read().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_its_largest_body(server: TestServer, client: Client) -> None:
    assert client.stats().max_job_size == 100


def test_beanrow_serve_test_is_the_same(tmp_path: object) -> None:
    with TestServer("serve", "--test", module="beanrow.cli") as server:
        assert server.get("/")["now"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told(number: signal.Signals) -> None:
    with TestServer() as server:
        server.process.send_signal(number)
        assert server.process.wait(10) == 0


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["-l", "256.0.0.1"], "cannot listen on 256.0.0.1:11300"),
        (["-p", "70000"], "a port is at most 65535"),
        (["--control", "x:y"], "[ADDR:]PORT"),
        (["--data", "x"], "unrecognized"),
        (["-p", "0", "--until-eof"], "standard input is neither a pipe nor a terminal"),
    ],
)
def test_flags_that_cannot_be_obeyed(flags: list[str], word: str) -> None:
    command = [sys.executable, "-m", "beanrow.testing", "--control", "0", *flags]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert word in done.stderr
    assert "Traceback" not in done.stderr
