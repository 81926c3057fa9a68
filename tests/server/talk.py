"""A bare conversation with a server, for what no well-behaved client would say."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from beanrow.protocol.replies import ReplyStream
from tests.servers import OurServer, Server


class Talk:
    """One connection; replies are read whole."""

    def __init__(self, server: Server, timeout: float = 10.0) -> None:
        if isinstance(server, OurServer) and server.address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(server.address.removeprefix("unix:"))
        else:
            self.socket = socket.create_connection((server.host, server.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self._stream = ReplyStream()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes:
        """The next whole reply; b"" at the end of the stream."""
        while (reply := self._stream.next()) is None:
            data = self.socket.recv(1 << 20)
            if not data:
                return b""
            self._stream.feed(data)
        return reply

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        return self.reply()

    def figure(self, key: str) -> int:
        """One of the server's figures."""
        for line in self.ask(b"stats\r\n").split(b"\n"):
            if line.startswith(key.encode() + b": "):
                return int(line.split(b": ")[1])
        raise AssertionError(f"no {key} in stats")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def bytes_in(directory: Path) -> int:
    """The sizes of all files, but of those that compaction removes just now."""
    total = 0
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far."""
    with open(f"/proc/{pid}/schedstat") as schedstat:
        return int(schedstat.read().split()[0]) / 1e9


def until(talk: Talk, key: str, value: int) -> None:
    """Ask until a figure has this value; the test's time limit ends it."""
    while talk.figure(key) != value:
        pass
