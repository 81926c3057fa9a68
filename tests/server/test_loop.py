"""The loop in this process: what a fault of ours does, and what is left behind."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from beanrow.engine.engine import Engine
from beanrow.engine.session import Session
from beanrow.protocol import requests
from beanrow.server.listeners import listen_tcp
from beanrow.server.loop import Loop, wall_clock


class Faulty(Engine):
    def _kick(self, session: Session, request: requests.Kick, now: int) -> bytes:
        raise RuntimeError("planted")


@pytest.fixture
def port() -> Iterator[int]:
    clock = wall_clock()
    loop = Loop(Faulty(clock()), clock)
    listener = listen_tcp("127.0.0.1", 0)
    loop.listen(listener)
    number: int = listener.getsockname()[1]
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield number
    loop.stop()
    with contextlib.suppress(ConnectionRefusedError):  # it was in a turn, and has ended by itself
        socket.create_connection(("127.0.0.1", number)).close()  # wakes it
    thread.join()


def test_a_fault_closes_its_connection_only(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)) as other,
        socket.create_connection(("127.0.0.1", port)) as talk,
    ):
        talk.sendall(b"put 0 0 60 1\r\na\r\nreserve\r\n")
        while b"RESERVED" not in talk.recv(999):
            pass
        talk.sendall(b"kick 1\r\n")
        assert talk.recv(999) == b""
        other.sendall(b"reserve\r\n")
        assert other.recv(999) == b"RESERVED 1 1\r\na\r\n"
    assert "planted" in capfd.readouterr().err


def test_churn_leaves_no_cycles(port: int) -> None:
    """The server runs without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            with socket.create_connection(("127.0.0.1", port)) as talk:
                tube = b"tube%d" % number
                talk.sendall(b"use %b\r\nwatch %b\r\nput 0 0 60 1\r\na\r\n" % (tube, tube))
                talk.sendall(b"reserve\r\nbury 1 0\r\nput 0 9 9 1\r\nb\r\nstats\r\n")
                while b"platform" not in talk.recv(9999):
                    pass
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = [type(one) for one in gc.garbage if type(one).__module__.startswith("beanrow")]
        assert ours == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
