"""Connections that end in any state, and servers that end with connections in any state."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.talk import Talk, until
from tests.servers import OurServer

STATES: dict[str, list[bytes]] = {
    "fresh": [],
    "in the middle of a line": [b"delete 1"],
    "in the middle of a long line": [b"x" * 1000],
    "in the middle of a body": [b"put 0 0 60 100\r\nhalf of it"],
    "in the middle of a body over the limit": [b"put 0 0 60 100000\r\n" + b"x" * 5000],
    "between the two bytes behind a body": [b"put 0 0 60 1\r\na\r"],
    "waiting": [b"reserve\r\n"],
    "waiting a while": [b"watch t\r\n", b"reserve-with-timeout 100\r\n"],
    "waiting with more behind": [b"reserve\r\n", b"put 0 0 60 1\r\na\r\n", b"reserve\r\n"],
    "waiting with very much behind": [b"reserve\r\n" + b"list-tube-used\r\n" * 10_000],
    "with jobs in each state": [
        b"use t\r\nput 0 0 60 1\r\na\r\nput 1 0 60 1\r\nb\r\nput 2 0 60 1\r\nc\r\nput 3 9 60 1\r\nd\r\n",
        b"watch t\r\nreserve\r\nreserve\r\nbury 1 0\r\n",
    ],
    "holding and waiting": [b"put 0 0 60 1\r\na\r\nreserve\r\n", b"reserve\r\n"],
    "not reading": [b"put 0 0 60 60000\r\n" + b"x" * 60_000 + b"\r\n", b"peek 1\r\n" * 1000],
    "not reading and waiting": [
        b"put 0 0 60 60000\r\n" + b"x" * 60_000 + b"\r\n",
        b"peek 1\r\n" * 300 + b"delete 1\r\nreserve\r\n",
    ],
    "with many commands to go": [b"list-tube-used\r\n" * 20_000],
}


def closed(talk: Talk) -> None:
    talk.close()


def reset(talk: Talk) -> None:
    """End it as a crashed machine does: without a farewell."""
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()


def half_closed(talk: Talk) -> None:
    talk.socket.shutdown(socket.SHUT_WR)
    while talk.socket.recv(1 << 20):
        pass
    talk.close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_connection_may_end_in_any_state(
    start_ours: Callable[..., OurServer], tmp_path: Path, family: str
) -> None:
    """Whatever it was doing and however it ends: nothing of it is left, and nobody is harmed."""
    server = start_ours(*(["-l", f"unix:{tmp_path}/queue"] if family == "unix" else []))
    with Talk(server) as other:
        other.ask(b"watch nothing\r\n")
        other.ask(b"ignore default\r\n")
        before = len(os.listdir(f"/proc/{server.pid}/fd"))
        connections = 1
        for state, packets in STATES.items():
            for end in (closed, reset, half_closed):
                talk = Talk(server)
                connections += 1
                for packet in packets:
                    talk.send(packet)
                until(other, "total-connections", connections)
                end(talk)
                until(other, "current-connections", 1)
                left = [
                    (key, other.figure(key))
                    for key in ("current-waiting", "current-jobs-reserved", "current-workers")
                ]
                assert [count for _, count in left] == [0, 0, 0], (state, end, left)
                clear(other)
                assert other.ask(b"list-tubes\r\n").count(b"\n- ") == 2, (state, end)
        assert len(os.listdir(f"/proc/{server.pid}/fd")) == before
        assert server.told() == ""


def clear(talk: Talk) -> None:
    """Delete every job there may be."""
    last = talk.figure("total-jobs")
    talk.send(b"".join(b"delete %d\r\n" % job for job in range(last + 200)))
    for _ in range(last + 200):
        talk.reply()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_may_end_with_connections_in_any_state(
    start_ours: Callable[..., OurServer], tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "queue"
    server = start_ours("-l", f"unix:{path}")
    talks = [Talk(server) for _ in STATES]
    for talk, packets in zip(talks, STATES.values(), strict=True):
        for packet in packets:
            talk.send(packet)
    with Talk(server) as other:
        until(other, "current-connections", len(talks) + 1)
    os.kill(server.pid, number)
    assert server.process.wait(10) == 0
    assert server.told() == ""
    assert not path.exists()
    for talk in talks:
        talk.close()


def test_a_job_on_its_way_to_a_lost_connection_comes_back(our_server: OurServer) -> None:
    """It was handed out in the same moment in which its connection ended."""
    with Talk(our_server) as other:
        for number in range(1, 21):
            with Talk(our_server) as talk:
                talk.send(b"reserve\r\n")
                until(other, "current-waiting", 1)
                other.ask(b"put 0 0 60 1\r\na\r\n")
                reset(talk)
            until(other, "current-jobs-ready", 1)
            assert other.ask(b"delete %d\r\n" % number) == b"DELETED\r\n"


def test_a_half_closed_waiter_with_too_much_behind_it(our_server: OurServer) -> None:
    """The server reads nothing of it any more, and must notice all the same."""
    with Talk(our_server) as talk, Talk(our_server) as other:
        talk.send(b"reserve\r\n" + b"list-tube-used\r\n" * 12_000)
        until(other, "current-waiting", 1)
        talk.socket.shutdown(socket.SHUT_WR)
        assert talk.reply() == b"TIMED_OUT\r\n"
        assert {talk.reply() for _ in range(12_000)} == {b"USING default\r\n"}
        assert talk.reply() == b""


def test_a_file_that_somebody_removed_is_no_fault(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    path = tmp_path / "queue"
    server = start_ours("-l", f"unix:{path}")
    path.unlink()
    os.kill(server.pid, signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert server.told() == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_file_that_may_not_be_removed_is_told_in_one_line(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    path = tmp_path / "queue"
    server = start_ours("-l", f"unix:{path}", "-u", "nobody")
    os.kill(server.pid, signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert server.told() == f"beanrow: {path} stays behind: Permission denied\n"
