"""What goes wrong on purpose, as a client sees it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from beanrow import (
    BadValueError,
    Client,
    CommandTimeoutError,
    ConnectionLostError,
    DrainingError,
    JobLost,
    OutOfMemoryError,
)
from beanrow.testing import Beanstalk
from beanrow.testing.faults import COMMANDS

PUT = b"put 0 0 60 5\r\nhello\r\n"


@pytest.fixture
def client(beanstalk: Beanstalk) -> Client:
    client = beanstalk.client(timeout=0.2)
    client.stats()
    return client


@pytest.fixture
def talk(beanstalk: Beanstalk) -> Iterator[socket.socket]:
    host, _, port = beanstalk.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as talk:
        yield talk


def heard(talk: socket.socket, size: int = 1 << 16) -> bytes:
    """All that comes, until the end or so many bytes."""
    data = b""
    while len(data) < size and (more := talk.recv(size - len(data))):
        data += more
    return data


def test_cut_says_half_of_the_reply(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.cut("reserve")
    talk.sendall(PUT + b"reserve\r\nstats\r\n")
    assert heard(talk) == b"INSERTED 1\r\n" + b"RESERVED 1 5\r\nhello\r\n"[:10]
    beanstalk.assert_jobs("default", ready=1)  # its holder is gone


def test_cut_of_a_reserve_that_waits(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.cut("reserve")
    talk.sendall(b"use default\r\nreserve\r\n")
    assert heard(talk, 15) == b"USING default\r\n"
    beanstalk.wait_for("default", waiting=1)
    beanstalk.client().put("hello")
    assert heard(talk) == b"RESERVED 1"


def test_cut_leaves_the_outcome_unknown(beanstalk: Beanstalk, client: Client) -> None:
    beanstalk.faults.cut("put")
    with pytest.raises(ConnectionLostError) as lost:
        client.put("hello")
    assert lost.value.outcome == "unknown"
    beanstalk.assert_put("default", count=1)
    assert client.put("again") == 2


def test_drop_carries_nothing_out(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.drop("put")
    talk.sendall(b"use emails\r\n" + PUT + PUT)
    assert heard(talk) == b"USING emails\r\n"
    beanstalk.assert_not_put("emails")


def test_hang_is_silent_and_open(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.hang("put")
    talk.sendall(b"use emails\r\n" + PUT + PUT + b"watch emails\r\n")
    assert heard(talk, 14) == b"USING emails\r\n"
    beanstalk.wait_for("emails", ready=2)
    talk.settimeout(0.05)
    with pytest.raises(TimeoutError):
        talk.recv(1)


def test_hang_is_ended_by_the_deadline_of_a_client(beanstalk: Beanstalk, client: Client) -> None:
    beanstalk.faults.hang("put")
    with pytest.raises(CommandTimeoutError):
        client.put("hello")
    beanstalk.assert_put("default")


def test_delay_is_late_and_whole(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.delay(0.1, "put")
    began = time.monotonic()
    talk.sendall(b"use emails\r\n" + PUT + b"watch emails\r\n")
    assert heard(talk, 14) == b"USING emails\r\n"
    talk.sendall(b"ignore emails\r\n")
    assert heard(talk, 36) == b"INSERTED 1\r\nWATCHING 2\r\nWATCHING 1\r\n"
    assert time.monotonic() - began >= 0.1
    talk.sendall(b"ignore emails\r\n")
    assert heard(talk, 12) == b"WATCHING 1\r\n"


@pytest.mark.parametrize("body", ["x" * 1000, ""])
def test_slow_comes_in_pieces(beanstalk: Beanstalk, talk: socket.socket, body: str) -> None:
    beanstalk.client().put(body)
    beanstalk.faults.slow(0.2, "reserve")
    talk.sendall(b"reserve\r\nquit\r\nuse unheard\r\n")
    pieces: list[bytes] = []
    began = time.monotonic()
    expected = f"RESERVED 1 {len(body)}\r\n{body}\r\n".encode()
    while sum(map(len, pieces)) < len(expected):
        pieces.append(talk.recv(1 << 16))
        assert pieces[-1]
    assert b"".join(pieces) == expected
    assert time.monotonic() - began >= 0.1
    assert len(pieces) > 5
    assert talk.recv(1) == b""


def test_a_client_gets_a_slow_body(beanstalk: Beanstalk) -> None:
    client = beanstalk.client(timeout=10)
    client.put("x" * 10_000)
    beanstalk.faults.slow(0.2, "reserve")
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.text == "x" * 10_000


def test_a_client_that_left_is_no_matter(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.slow(0.05)
    talk.sendall(b"stats\r\n")
    talk.recv(1)
    talk.close()
    time.sleep(0.1)  # in which nothing may break: the end of the fixture tells


def test_faults_strike_so_often_and_in_turn(beanstalk: Beanstalk, talk: socket.socket) -> None:
    beanstalk.faults.cut("put", times=2)
    beanstalk.faults.drop()
    kinds = [(one.kind, one.command) for one in beanstalk.faults.waiting]
    assert kinds == [("cut", "put"), ("cut", "put"), ("drop", None)]
    talk.sendall(PUT)
    assert heard(talk) == b"INSERT"
    assert len(beanstalk.faults.waiting) == 2
    beanstalk.faults.clear()
    assert beanstalk.faults.waiting == []
    assert beanstalk.client().put("x") == 2


def test_a_fault_waits_for_its_command(beanstalk: Beanstalk, client: Client) -> None:
    beanstalk.faults.drop("kick-job")
    client.put("x")
    client.stats()
    with pytest.raises(ConnectionLostError):
        client.kick_job(1)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_can_be_struck(
    beanstalk: Beanstalk, talk: socket.socket, command: str
) -> None:
    arguments = {
        "put": " 0 0 1 1\r\nx", "release": " 1 0 0", "bury": " 1 0", "pause-tube": " default 0",
        **dict.fromkeys(("use", "watch", "ignore", "stats-tube"), " default"),
        **dict.fromkeys(
            ("delete", "touch", "peek", "kick", "kick-job", "stats-job", "reserve-job"), " 1"
        ),
    }  # fmt: skip
    beanstalk.faults.drop(command)
    talk.sendall(f"{command}{arguments.get(command, '')}\r\n".encode())
    assert heard(talk) == b""
    assert beanstalk.faults.waiting == []


@pytest.mark.parametrize(
    ("said", "command"),
    [
        (b"reserve-with-timeout 0\r\n", "reserve"),
        (b"put 0 0 1 99999999\r\n" + b"x" * 99_999_999 + b"\r\n", "put"),
        (b"put 0 0 1 1\r\nxyz", "put"),
        (b"capabilities put-in-tube\r\nput-in-tube a 0 0 1 1\r\nx\r\n", "put"),
    ],
    ids=["reserve", "too-big", "unterminated", "in-tube"],
)
def test_all_forms_are_meant(
    beanstalk: Beanstalk, talk: socket.socket, said: bytes, command: str
) -> None:
    beanstalk.faults.drop(command)
    talk.sendall(said)
    assert b"INSERTED" not in heard(talk)
    assert beanstalk.faults.waiting == []


def test_out_of_memory(beanstalk: Beanstalk, client: Client) -> None:
    switch = beanstalk.faults.out_of_memory()
    for tube in (None, "emails"):
        with pytest.raises(OutOfMemoryError):
            client.put("x", tube=tube)
    assert client.reserve(timeout=0) is None
    switch.off()
    switch.off()
    client.put("x")
    with beanstalk.faults.out_of_memory(), pytest.raises(OutOfMemoryError):
        client.put("y")
    beanstalk.assert_not_put("default", "y")


def test_drain(beanstalk: Beanstalk, client: Client) -> None:
    with beanstalk.faults.drain():
        with pytest.raises(DrainingError):
            client.put("x")
        assert client.stats().draining
    client.put("x")
    beanstalk.faults.drain()
    beanstalk.faults.clear()
    client.put("x")


def test_disconnect(beanstalk: Beanstalk, client: Client) -> None:
    client.put("x")
    job = client.reserve(timeout=0)
    assert job is not None
    assert beanstalk.faults.disconnect() == 1
    with pytest.raises(JobLost):
        client.delete(job)
    again = client.reserve(timeout=0)  # over another connection
    assert again is not None
    assert again.id == job.id


def test_what_cannot_be_armed(beanstalk: Beanstalk) -> None:
    with pytest.raises(BadValueError, match="'reserv' is none of put"):
        beanstalk.faults.cut("reserv")
    with pytest.raises(BadValueError, match="seconds"):
        beanstalk.faults.delay(-1, "put")
    with pytest.raises(BadValueError, match="times 0"):
        beanstalk.faults.drop(times=0)
    assert beanstalk.faults.waiting == []
