"""What a wire offers beside sending and receiving: half an end, and fewer wake-ups."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from beanrow.client.address import read_address
from beanrow.client.wire import Wire, open_wire
from tests.servers import Server


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = open_wire(read_address(server.address), 5.0, None)
    wire.wake_after(5.0)
    yield wire
    wire.close()


def test_a_reserve_that_waits_is_answered_when_the_wire_is_half_closed(wire: Wire) -> None:
    wire.send(b"reserve-with-timeout 60\r\n")
    began = time.monotonic()
    threading.Timer(0.05, wire.half_close).start()
    assert wire.recv(100) == b"TIMED_OUT\r\n"
    assert wire.recv(100) == b""
    assert time.monotonic() - began < 4
    wire.half_close()  # a second one does nothing


def test_what_was_said_before_half_an_end_is_done(wire: Wire, server: Server, tube: str) -> None:
    use = f"use {tube}\r\nwatch {tube}\r\nignore default\r\n".encode()
    wire.send(use + b"put 0 0 9 1\r\nx\r\nreserve-with-timeout 60\r\n")
    wire.half_close()
    heard = b""
    while data := wire.recv(1000):
        heard += data
    assert heard.endswith(b"1\r\nx\r\n")
    assert b"RESERVED" in heard


def test_a_recv_wakes_when_so_many_bytes_are_there() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    with ours, theirs:
        wire.wake_from(10)
        theirs.send(b"DELETED\r\n")
        threading.Timer(0.02, theirs.send, (b"TIMED_OUT\r\n",)).start()
        assert wire.recv(100) == b"DELETED\r\nTIMED_OUT\r\n"
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        assert wire.recv(100) == b"x"  # the end wakes too
