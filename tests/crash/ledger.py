"""An outside ledger of what a server has acknowledged, kept by clients that load it.

Laws:
- A client notes a reply as it comes, and what was under way when the connection broke: that may
  or may not have been done.
- After a restart every job that was acknowledged and not deleted is there as it was, and none
  that was deleted.
"""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from beanrow.protocol.replies import ReplyStream
from tests.servers import OurServer

__all__ = ["Ledger", "Load", "check"]

PIPELINE = 8
MOST_WAITING = 4000
"""Jobs above which producers rest: each check asks for every one of them."""


@dataclass
class Ledger:
    """What is known of the jobs: by id what was acknowledged, and what is not known."""

    puts: dict[int, bytes] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)  # of these, what a check has confirmed
    buried: dict[int, int] = field(default_factory=dict)  # with the priority
    in_doubt: Counter[int] = field(default_factory=Counter)  # commands under way, by job
    highest_id: int = 0

    def inserted(self, job_id: int, body: bytes) -> None:
        assert job_id not in self.puts, f"id {job_id} is given out twice"
        self.puts[job_id] = body


class Peer:
    """A connection that ends with the server."""

    def __init__(self, server: OurServer) -> None:
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.settimeout(30)
        self._stream = ReplyStream()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes:
        while (reply := self._stream.next()) is None:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            self._stream.feed(data)
        return reply

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        return self.reply()


class Load:
    """Clients that put, reserve, delete, release and bury until the server dies."""

    def __init__(self, server: OurServer, ledger: Ledger, seed: int) -> None:
        self._server = server
        self._ledger = ledger
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._run, args=(work, random.Random(f"{seed} {number}")))
            for number, work in enumerate((self._put, self._put, self._work, self._work))
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the clients' end; what went wrong in one is raised here."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, work: Callable[[Peer, random.Random], None], chance: random.Random) -> None:
        peer = Peer(self._server)
        try:
            while True:
                work(peer, chance)
        except ConnectionError:
            pass  # the server was killed
        except BaseException as error:  # noqa: BLE001  # raised by join
            self._failures.append(error)
        finally:
            peer.socket.close()

    def _put(self, peer: Peer, chance: random.Random) -> None:
        if len(self._ledger.puts) - len(self._ledger.deleted) > MOST_WAITING:
            assert peer.ask(b"list-tube-used\r\n") == b"USING default\r\n"
            time.sleep(0.005)
            return
        bodies = [
            b"%032x" % chance.getrandbits(128) * chance.choice([1, 1, 3, 40])
            for _ in range(chance.choice([1, PIPELINE]))
        ]
        lines = [b"put %d 0 60 %d\r\n%b\r\n" % (chance.randrange(5), len(b), b) for b in bodies]
        peer.send(b"".join(lines))
        for body in bodies:
            reply = peer.reply()
            with self._lock:
                if reply == b"OUT_OF_MEMORY\r\n":
                    self.refused += 1
                else:
                    assert reply.startswith(b"INSERTED "), reply
                    self._ledger.inserted(int(reply[9:]), body)

    def _work(self, peer: Peer, chance: random.Random) -> None:
        reply = peer.ask(b"reserve-with-timeout 1\r\n")
        if not reply.startswith(b"RESERVED "):
            return
        job_id, pick = int(reply.split()[1]), chance.random()
        priority = chance.randrange(5, 1000)
        with self._lock:
            self._ledger.in_doubt[job_id] += 1
        if pick < 0.75:
            reply = peer.ask(b"delete %d\r\n" % job_id)
        elif pick < 0.9:
            reply = peer.ask(b"release %d %d 0\r\n" % (job_id, priority))
        else:
            reply = peer.ask(b"bury %d %d\r\n" % (job_id, priority))
        assert reply in (b"DELETED\r\n", b"RELEASED\r\n", b"BURIED\r\n"), reply
        with self._lock:
            if reply == b"DELETED\r\n":
                self._ledger.deleted.add(job_id)
            elif reply == b"BURIED\r\n":
                self._ledger.buried[job_id] = priority
            self._ledger.in_doubt[job_id] -= 1


def check(server: OurServer, ledger: Ledger, *, whole: bool) -> list[str]:
    """Compare a server that has begun again with the ledger; every fault in a line.

    Jobs that were gone at an earlier check are looked for again only if the ``whole`` is wanted.
    """
    peer, faults = Peer(server), []
    try:
        ids = sorted(ledger.puts if whole else ledger.puts.keys() - ledger.gone)
        for job_id, reply in zip(ids, _pipelined(peer, b"peek %d\r\n", ids), strict=True):
            body = ledger.puts[job_id]
            is_there = reply == b"FOUND %d %d\r\n%b\r\n" % (job_id, len(body), body)
            if job_id in ledger.deleted:
                if reply != b"NOT_FOUND\r\n":
                    faults.append(f"job {job_id} was deleted, and has returned")
            elif reply == b"NOT_FOUND\r\n" and ledger.in_doubt[job_id]:
                ledger.deleted.add(job_id)  # as was asked for
            elif not is_there:
                faults.append(f"job {job_id} is lost: {reply[:60]!r}")
        buried = sorted(ledger.buried)
        for job_id, reply in zip(
            buried, _pipelined(peer, b"stats-job %d\r\n", buried), strict=True
        ):
            told = re.findall(rb"^(?:state|pri): (.*)$", reply, re.MULTILINE)
            if told != [b"buried", b"%d" % ledger.buried[job_id]]:
                faults.append(f"job {job_id} was buried, and is {told}")
        reply = peer.ask(b"put 0 0 60 1\r\nx\r\n")
        if reply != b"OUT_OF_MEMORY\r\n":
            job_id = int(reply[9:])
            if job_id <= max(ledger.highest_id, *ids, 0):
                faults.append(f"id {job_id} is given out again")
            ledger.highest_id = job_id
            peer.ask(b"delete %d\r\n" % job_id)
    finally:
        peer.socket.close()
    ledger.in_doubt.clear()
    ledger.gone |= ledger.deleted
    return faults


def _pipelined(peer: Peer, command: bytes, ids: list[int]) -> list[bytes]:
    replies = []
    for start in range(0, len(ids), 200):
        part = ids[start : start + 200]
        peer.send(b"".join(command % job_id for job_id in part))
        replies += [peer.reply() for _ in part]
    return replies
