"""Health and metrics, asked as probes and Prometheus ask, and by people who mean no good."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.server.talk import Talk
from tests.servers import HOST, OurServer

Start = Callable[..., OurServer]


@pytest.fixture
def server(start_ours: Start) -> OurServer:
    return start_ours("--http", "0", "-V", "--log", "json")


def http_port(server: OurServer) -> int:
    told = [json.loads(line) for line in server.told().splitlines()]
    (address,) = (line["address"] for line in told if line["event"] == "http")
    return int(address.rpartition(":")[2])


def get(server: OurServer, path: str) -> tuple[int, str, str]:
    """Status, type and text."""
    try:
        with urllib.request.urlopen(
            f"http://{HOST}:{http_port(server)}{path}", timeout=10
        ) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def raw(server: OurServer, request: bytes) -> bytes:
    with socket.create_connection((HOST, http_port(server)), timeout=10) as talk:
        talk.sendall(request)
        answer = b""
        while data := talk.recv(1 << 20):
            answer += data
        return answer


def test_health(server: OurServer) -> None:
    assert get(server, "/live")[::2] == (200, "live\n")
    assert get(server, "/ready")[::2] == (200, "ready\n")
    assert json.loads(get(server, "/health")[2]) == {"live": True, "ready": True, "draining": False}
    os.kill(server.pid, signal.SIGUSR1)
    while get(server, "/ready")[0] != 503:
        pass
    assert get(server, "/ready?verbose=1")[2] == "draining\n"
    assert get(server, "/live")[0] == 200  # draining is no reason to restart it
    assert json.loads(get(server, "/health")[2]) == {"live": True, "ready": False, "draining": True}
    os.kill(server.pid, signal.SIGUSR2)
    while get(server, "/ready")[0] != 200:
        pass


def samples(text: str) -> dict[str, float]:
    """Read the text format; every family is whole, named once, and has its type before it."""
    found: dict[str, float] = {}
    families: list[str] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("# "):
            kind, name = line.split()[1:3]
            if kind == "HELP":
                assert name not in families, f"{name} comes twice"
                families.append(name)
            continue
        match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z]+="[^"]*",?)+\})? (-?[0-9.e+-]+)', line)
        assert match is not None, line
        assert re.sub(r"_(bucket|sum|count)$", "", match[1]) == families[-1], line
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_metrics(server: OurServer) -> None:
    with Talk(server) as talk, Talk(server) as waiter:
        talk.send(b"use emails\r\n" + b"put 5 0 60 1\r\na\r\n" * 3 + b"put 5 99 60 1\r\nb\r\n")
        talk.send(b"watch emails\r\nreserve\r\nbury 1 0\r\nreserve\r\ndelete 2\r\nreserve\r\n")
        talk.send(b"pause-tube emails 100\r\n")
        for _ in range(12):
            talk.reply()
        waiter.ask(b"watch emails\r\n")
        waiter.send(b"reserve\r\n")
        while talk.figure("current-waiting") != 1:
            pass
        status, kind, text = get(server, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = samples(text)
    states = ("ready", "reserved", "delayed", "buried")
    assert [found[f'beanrow_jobs{{state="{state}"}}'] for state in states] == [0, 1, 1, 1]
    assert [found[f'beanrow_tube_jobs{{tube="emails",state="{state}"}}'] for state in states] == [
        0,
        1,
        1,
        1,
    ]
    for name, value in {
        'beanrow_commands_total{command="put"}': 4,
        "beanrow_jobs_put_total": 4,
        "beanrow_connections": 2,
        "beanrow_waiting": 1,
        "beanrow_absent_sessions": 0,
        "beanrow_draining": 0,
        'beanrow_tube_jobs_bytes{tube="emails"}': 3,
        'beanrow_tube_waiting{tube="emails"}': 1,
        'beanrow_tube_paused{tube="emails"}': 1,
        'beanrow_tube_paused{tube="default"}': 0,
        'beanrow_tube_oldest_ready_seconds{tube="emails"}': 0,
        'beanrow_tube_puts_total{tube="emails"}': 4,
        'beanrow_tube_deletes_total{tube="emails"}': 1,
        'beanrow_tube_wait_seconds_count{tube="emails"}': 3,
        'beanrow_tube_wait_seconds_bucket{tube="emails",le="+Inf"}': 3,
        'beanrow_tube_wait_seconds_bucket{tube="emails",le="70368.7442"}': 3,
        'beanrow_tube_run_seconds_count{tube="emails"}': 2,
    }.items():
        assert found[name] == value, name
    assert 'beanrow_tube_run_seconds_count{tube="default"}' not in found
    assert 0 <= found['beanrow_tube_wait_seconds_sum{tube="emails"}'] < 60


def test_many_tubes_come_whole_and_hold_nobody_up(server: OurServer) -> None:
    with Talk(server) as talk:
        talk.send(b"".join(b"watch tube-%d\r\n" % number for number in range(5000)))
        assert all(talk.reply() for _ in range(5000))
        with socket.create_connection((HOST, http_port(server)), timeout=10) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = scraper.recv(10)  # it has begun, and does not read on
            for _ in range(10):
                assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"
            while data := scraper.recv(1 << 20):
                answer += data
        found = samples(answer.partition(b"\r\n\r\n")[2].decode())
        assert sum(name.startswith("beanrow_tube_jobs{") for name in found) == 4 * 5001


def test_what_is_no_question_is_refused(server: OurServer) -> None:
    assert get(server, "/secrets")[0] == 404
    assert raw(server, b"POST /ready HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 405 ")
    assert raw(server, b"put 0 0 60 1\r\na\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(server, b"GET /live HTTP/1.1\r\n" + b"x" * 9000).startswith(b"HTTP/1.1 200 ")
    assert raw(server, b"x" * 9000).startswith(b"HTTP/1.1 400 ")
    with Talk(server) as talk:
        assert talk.figure("total-jobs") == 0


def test_who_asks_nothing_is_bounded(server: OurServer) -> None:
    with ExitStack() as opened, Talk(server) as talk:
        port = http_port(server)
        silent = [
            opened.enter_context(socket.create_connection((HOST, port), timeout=10))
            for _ in range(16)
        ]
        one_more = opened.enter_context(socket.create_connection((HOST, port), timeout=10))
        assert one_more.recv(1) == b""
        assert talk.figure("current-connections") == 1  # none of them takes a place of the queue
        silent[0].close()
        while True:
            try:
                assert get(server, "/live")[0] == 200
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.01)  # its end has not been noticed yet


@pytest.mark.parametrize("place", ["x", "1.2.3.4:", "70000", "::1:80"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    from tests.server.test_program import one_line, run

    assert "[ADDR:]PORT" in one_line(run("--http", place))
