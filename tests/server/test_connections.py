"""How connections begin, wait, and end."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.server.talk import Talk, until
from tests.servers import OurServer, Server


def test_what_stands_behind_a_waiting_reserve_waits(server: Server, tube: str) -> None:
    name = tube.encode()
    with Talk(server) as talk, Talk(server) as other:
        talk.ask(b"watch %b\r\n" % name)
        talk.send(b"reserve\r\nlist-tube-used\r\n")
        other.ask(b"use %b\r\n" % name)
        other.ask(b"put 0 0 60 1\r\na\r\n")
        assert talk.reply().startswith(b"RESERVED ")
        assert talk.reply() == b"USING default\r\n"


def test_a_half_closed_waiter_is_answered_then_closed(server: Server) -> None:
    with Talk(server) as talk:
        talk.send(b"reserve\r\n")
        talk.send(b"list-tube-used\r\nreserve-with-timeout 100\r\n")
        talk.socket.shutdown(socket.SHUT_WR)
        assert talk.reply() == b"TIMED_OUT\r\n"
        assert talk.reply() == b"USING default\r\n"
        assert talk.reply() == b"TIMED_OUT\r\n"
        assert talk.reply() == b""


def test_all_that_was_sent_before_the_end_is_done(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        talk.send(b"put 0 0 60 1\r\na\r\n" * 5000)
        talk.socket.shutdown(socket.SHUT_WR)
        assert [talk.reply()[:8] for _ in range(5000)] == [b"INSERTED"] * 5000
        assert talk.reply() == b""
        assert other.figure("current-jobs-ready") == 5000


def test_much_behind_a_waiting_reserve_is_kept_in_order(our_server: OurServer) -> None:
    with Talk(our_server) as talk, Talk(our_server) as other:
        talk.send(b"reserve\r\n")
        talk.socket.settimeout(0.5)
        sent = 0
        try:  # far more than is read ahead: the rest stays in the buffers of the system
            while sent < 400_000:
                sent += talk.socket.send(b"list-tube-used\r\n" * 100)
        except TimeoutError:
            pass
        talk.socket.settimeout(10)
        other.ask(b"put 0 0 60 1\r\na\r\n")
        assert talk.reply() == b"RESERVED 1 1\r\na\r\n"
        for _ in range(sent // 16):
            assert talk.reply() == b"USING default\r\n"


def test_a_lost_connection_gives_its_jobs_back(our_server: OurServer) -> None:
    with Talk(our_server) as other:
        with Talk(our_server) as talk:
            talk.ask(b"put 0 0 60 1\r\na\r\n")
            talk.ask(b"reserve\r\n")
            assert other.figure("current-jobs-reserved") == 1
        until(other, "current-connections", 1)
        assert other.figure("current-jobs-reserved") == 0
        assert other.ask(b"reserve\r\n") == b"RESERVED 1 1\r\na\r\n"


def test_quit_closes_after_what_came_before_it(server: Server) -> None:
    with Talk(server) as talk:
        talk.send(b"list-tube-used\r\nquit\r\nlist-tube-used\r\n")
        assert talk.reply() == b"USING default\r\n"
        assert talk.reply() == b""


def test_no_descriptor_is_left_behind(our_server: OurServer) -> None:
    with Talk(our_server) as other:
        other.ask(b"stats\r\n")
        before = len(os.listdir(f"/proc/{our_server.pid}/fd"))
        for end in (b"quit\r\n", b"reserve\r\n", b"put 0 0 1 5\r\nab", b"x" * 300):
            for _ in range(20):
                with Talk(our_server) as talk:
                    talk.send(end)
        until(other, "total-connections", 81)  # all have been accepted
        until(other, "current-connections", 1)
        assert len(os.listdir(f"/proc/{our_server.pid}/fd")) == before


def test_without_descriptors_it_serves_on_and_accepts_again_later(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    server = start_ours()
    import resource

    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (30, 30))
    talks: list[Talk] = []
    try:
        first = Talk(server)
        assert first.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        talks = [Talk(server) for _ in range(40)]  # the kernel accepts, the server cannot
        assert first.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        assert "no new connections" in server.told()
        for talk in talks[:20]:
            talk.close()
        assert talks[-1].ask(b"list-tube-used\r\n") == b"USING default\r\n"
    finally:
        for talk in [first, *talks]:
            talk.close()


def test_a_unix_socket(start_ours: Callable[..., OurServer], tmp_path: Path) -> None:
    path = tmp_path / "queue"
    server = start_ours("-l", f"unix:{path}")
    assert server.address == f"unix:{path}"
    assert stat.S_ISSOCK(path.stat().st_mode)
    with Talk(server) as talk:
        assert talk.ask(b"put 0 0 60 1\r\na\r\n") == b"INSERTED 1\r\n"
    server.stop()
    assert not path.exists()


def test_the_file_of_a_dead_server_is_replaced(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    path = tmp_path / "queue"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Talk(start_ours("-l", f"unix:{path}")) as talk:
        assert talk.ask(b"list-tube-used\r\n") == b"USING default\r\n"
