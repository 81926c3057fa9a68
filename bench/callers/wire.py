"""A raw connection: it puts what is to be taken, deletes what is left over, and is a floor itself."""

from __future__ import annotations

import socket

from bench.callers.caller import HOST

BATCH = 1000
RESERVE = b"reserve-with-timeout 0\r\n"


def put_requests(body: bytes) -> bytes:
    """A whole batch of puts, ready to be sent."""
    return b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body) * BATCH


class Wire:
    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection((HOST, port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.close = self._connection.close

    def put_batch(self, requests: bytes) -> list[int]:
        self._connection.sendall(requests)
        return list(map(int, self._lines(BATCH).split()[1::2]))

    def delete(self, ids: list[int]) -> None:
        self._connection.sendall(b"".join([b"delete %d\r\n" % job_id for job_id in ids]))
        if self._lines(len(ids)) != b"DELETED\r\n" * len(ids):
            raise SystemExit("raw sockets: a job was not deleted")

    def reserve(self, most: int) -> list[tuple[int, bytes]]:
        self._connection.sendall(RESERVE * most)
        return self._jobs(self._lines(2 * most))

    def delete_and_reserve(self, job_id: bytes) -> bytes:
        """Delete a job and reserve the next, in one send; its id, as it was written."""
        self._connection.sendall(b"delete %b\r\nreserve-with-timeout 0\r\n" % job_id)
        reply = self._connection.recv(65536)
        while reply.count(b"\n") < 3:
            reply += self._lines(1)
        return reply[18 : reply.index(b" ", 18)]

    def count(self, state: str) -> int:
        """How many jobs of the default tube are in that state."""
        self._connection.sendall(b"stats-tube default\r\n")
        reply = self._connection.recv(65536)
        return int(reply.partition(b"current-jobs-%b: " % state.encode())[2].split()[0])

    def _lines(self, count: int) -> bytes:
        """Receive so many lines."""
        parts: list[bytes] = []
        while count > 0:
            data = self._connection.recv(65536)
            if not data:
                raise SystemExit("raw sockets: the server closed the connection")
            count -= data.count(b"\n")
            parts.append(data)
        return b"".join(parts)

    def _jobs(self, replies: bytes) -> list[tuple[int, bytes]]:
        lines = replies.split(b"\r\n")
        return [
            (int(head.split()[1]), body)
            for head, body in zip(lines[:-1:2], lines[1::2], strict=True)
        ]
