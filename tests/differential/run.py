"""The same conversation with the real daemon, with our server, and with a twin in this process.

The twin is our engine without sockets: what it answers tells how many replies to await from the
two servers, so that nobody sleeps, and all three must agree on every one.

Laws:
- Ids are compared as they are: all three give out the same.
- A step is over when both servers have said all that the twin said, on every connection.
- A difference is told with the seed that repeats it and what was said before it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from beanrow.engine.engine import Engine
from beanrow.protocol.replies import ReplyStream
from beanrow.server.connection import Connection
from beanrow.server.loop import wall_clock
from tests.differential.conversation import Conversation, HalfClose, Reconnect, Send, Sleep, Step
from tests.servers import Daemon, OurServer, Server

CONNECTIONS = 4
PATIENCE = 5.0  # seconds until a reply that does not come is a difference
SHOWN = 25  # steps before a difference

Replies = list[tuple[int, bytes]]


class Difference(AssertionError):
    """The three did not agree."""


class Result(NamedTuple):
    steps: int
    replies: int


class Peer:
    """One connection to a server."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self._stream = ReplyStream()

    def reply(self) -> bytes | None:
        """The next reply; b"" at the end of the stream, None if nothing comes."""
        while (reply := self._stream.next()) is None:
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError:
                return None
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            self._stream.feed(data)
        return reply

    def converse(self, request: bytes) -> bytes:
        try:
            self.socket.sendall(request)
        except OSError:
            return b""
        return self.reply() or b""


class Twin:
    """Our engine in this process, with what the conversation's generator asks of it."""

    def __init__(self, engine_class: type[Engine] = Engine) -> None:
        self._clock = wall_clock()
        self.engine = engine_class(self._clock())
        self.control = Connection(self.engine)
        self.connections = [Connection(self.engine) for _ in range(CONNECTIONS)]

    def now(self) -> int:
        now = self._clock()
        self.engine.tick(now)
        return now

    def send(self, number: int, data: bytes) -> None:
        connection = self.connections[number]
        if connection.receive(data, self.now()):
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        while connection.advance(self.now()):
            pass

    def close(self, number: int) -> None:
        self.connections[number].close(self.now())

    def open(self, number: int) -> None:
        self.connections[number] = Connection(self.engine)

    def half_close(self, number: int) -> None:
        connection = self.connections[number]
        if connection.end(self.now()):
            self._go_on(connection)

    def said(self) -> Replies:
        """What all connections have been told since the last call, woken ones going on."""
        self.now()
        told: Replies = []
        while self.engine.outbox:
            outbox, self.engine.outbox = self.engine.outbox, []
            for session in outbox:
                number = next(
                    (i for i, one in enumerate(self.connections) if one.session is session), None
                )
                told += [(number, reply) for reply in session.replies if number is not None]
                session.replies.clear()
                if number is not None:
                    self._go_on(self.connections[number])
        return told

    # -- what the generator asks -----------------------------------------------------------------

    def is_waiting(self, connection: int) -> bool:
        return self.connections[connection].session.waiting

    def backlog(self, connection: int) -> int:
        """Bytes of requests that stand behind a reserve that waits."""
        return self.connections[connection]._stream.buffered

    def may_wait(self, connection: int) -> bool:
        """Whether no other waiter shares a tube: which one is served, the daemon leaves open."""
        mine = set(self.connections[connection].session.watched)
        return not any(
            one.session.waiting and mine.intersection(one.session.watched)
            for one in self.connections
        )

    def missing(self) -> tuple[int, int]:
        """A connection whose put lacks so many bytes of its body; (0, 0) if there is none."""
        for number, connection in enumerate(self.connections):
            stream = connection._stream
            if stream._put is not None:
                return number, stream._missing if stream._chunks else stream._skip
        return 0, 0

    def recent_ids(self) -> list[int]:
        return list(self.engine.jobs)[-12:]


class Run:
    """One seed: servers of its own, a conversation, and what became of it."""

    def __init__(
        self, seed: int, daemon: Server, ours: Server | None, engine_class: type[Engine] = Engine
    ) -> None:
        self.timed = seed % 20 == 19
        self.drains = seed % 10 == 5
        self._conversation = Conversation(seed, CONNECTIONS, self.timed)
        self._twin = Twin(engine_class)
        self._servers = [daemon, ours] if ours is not None else [daemon]
        self._controls = [Peer(server) for server in self._servers]
        self._peers = [[Peer(server) for _ in range(CONNECTIONS)] for server in self._servers]
        self._log: deque[str] = deque(maxlen=SHOWN)
        self._replies = 0
        for number in range(CONNECTIONS):
            self._introduce(number)
        self._settle()

    def run(self, steps: int) -> Result:
        """Say so many steps; Difference if the servers and the twin do not agree."""
        try:
            for number in range(steps):
                step = self._conversation.next(self._twin)
                if self.drains and number == steps * 3 // 4:
                    self._drain()
                self._log.append(shown(step))
                self._do(step)
        finally:
            for peer in [*self._controls, *(one for peers in self._peers for one in peers)]:
                peer.socket.close()
        return Result(steps, self._replies)

    def _do(self, step: Step) -> None:
        match step:
            case Send(number, pieces):
                for piece in pieces:
                    self._twin.send(number, piece)
                    for server, peers in zip(self._servers, self._peers, strict=True):
                        try:
                            peers[number].socket.sendall(piece)
                        except OSError as error:
                            self._differ(server, number, b"it reads", str(error).encode())
                self._compare()
            case Reconnect(number):
                self._replace(number)
            case HalfClose(number):
                self._twin.half_close(number)
                for peers in self._peers:
                    peers[number].socket.shutdown(socket.SHUT_WR)
                self._compare()
            case Sleep(seconds):
                self._compare(self._pass_time(seconds))

    def _pass_time(self, seconds: float) -> Replies:
        """Let real time pass, the twin doing what becomes due when it does."""
        end = time.monotonic() + seconds
        told: Replies = []
        while time.monotonic() < end:
            time.sleep(0.005)  # the daemon has no clock but the real one
            told += self._twin.said()
        return told

    def _compare(self, before: Replies | None = None) -> None:
        """Await from both servers what the twin said, ``before`` and now, and compare."""
        told = [*(before or []), *self._twin.said()]
        for server, peers in zip(self._servers, self._peers, strict=True):
            for number, expected in told:
                reply = peers[number].reply()
                if reply is None or not same(expected, reply):
                    self._differ(server, number, expected, reply)
        for number, reply in told:
            self._log.append(f"    {number} < {cut(reply)}")
        self._replies += len(told)
        for number, connection in enumerate(self._twin.connections):
            if connection.session.closing:
                connection.session.closing = False  # seen to
                self._expect_end(number)
                self._replace(number)
        if not told:
            self._settle()
            late = self._twin.said()
            if late:  # only time can have told it
                self._differ(self._servers[0], late[0][0], late[0][1], None)

    def _expect_end(self, number: int) -> None:
        for server, peers in zip(self._servers, self._peers, strict=True):
            reply = peers[number].reply()
            if reply != b"":
                self._differ(server, number, b"", reply)

    def _replace(self, number: int) -> None:
        """Close a connection everywhere, see whom that wakes, and open one in its place."""
        self._twin.close(number)
        for peers in self._peers:
            peers[number].socket.close()
        self._compare()
        self._settle()
        self._twin.open(number)
        for server, peers in zip(self._servers, self._peers, strict=True):
            peers[number] = Peer(server)
        self._introduce(number)
        self._settle()

    def _introduce(self, number: int) -> None:
        """Have a new connection known to both servers before anything else happens."""
        self._twin.send(number, b"list-tube-used\r\n")
        assert self._twin.said() == [(number, b"USING default\r\n")]
        for peers in self._peers:
            assert peers[number].converse(b"list-tube-used\r\n") == b"USING default\r\n"

    def _settle(self) -> None:
        """Wait until both servers have done what was sent: all that counts connections agrees."""
        counters = self._twin.engine.counters
        want = (counters.connections, counters.waiting)
        end = time.monotonic() + PATIENCE
        for server, control in zip(self._servers, self._controls, strict=True):
            while True:
                stats = control.converse(b"stats\r\n")
                if not stats:
                    self._differ(server, -1, b"it is alive", b"nothing more: it ended")
                found = tuple(
                    int(re.findall(rb"current-%b: (\d+)" % key, stats)[0])
                    for key in (b"connections", b"waiting")
                )
                if found == want:
                    break
                if time.monotonic() > end:
                    self._differ(server, -1, b"connections, waiting %d %d" % want, b"%d %d" % found)

    def _drain(self) -> None:
        self._log.append("drain mode")
        self._twin.engine.draining = True
        for server, control in zip(self._servers, self._controls, strict=True):
            os.kill(server.pid, signal.SIGUSR1)
            while b"draining: true" not in control.converse(b"stats\r\n"):
                pass

    def _differ(self, server: Server, number: int, twin: bytes, server_reply: bytes | None) -> None:
        kind = "the daemon" if isinstance(server, Daemon) else "our server"
        twin, server_reply = without_common_lines(twin, server_reply)
        lines = "\n".join(self._log)
        raise Difference(
            f"{lines}\nconnection {number}: the twin says {cut(twin)}\n"
            f"    {kind} says {'nothing' if server_reply is None else cut(server_reply)}"
        )


_TIMES = frozenset({b"age", b"time-left", b"pause-time-left", b"uptime"})
_OF_THE_HOST = frozenset(
    {b"pid", b"version", b"rusage-utime", b"rusage-stime", b"hostname", b"os", b"platform"}
)

_OF_THE_RUNNER = frozenset({b"id", b"cmd-stats", b"total-connections", b"binlog-max-size"})
"""What the runner's own questions move, and what the twin, without a process, does not know."""


def same(ours: bytes, theirs: bytes) -> bool:
    """Whether two replies are the same, times and quotes and the host's own figures aside."""
    if ours == theirs:
        return True
    if not ours.startswith(b"OK ") or not theirs.startswith(b"OK "):
        return False
    one, other = ours.split(b"\n")[1:], theirs.split(b"\n")[1:]
    is_server = any(line.startswith(b"cmd-put: ") for line in one)
    return len(one) == len(other) and all(
        _same_line(*pair, is_server) for pair in zip(one, other, strict=True)
    )


def _same_line(ours: bytes, theirs: bytes, is_server: bool) -> bool:
    if ours == theirs or ours.replace(b'"', b"") == theirs:
        return True
    key, _, value = ours.partition(b": ")
    other_key, _, other_value = theirs.partition(b": ")
    if key != other_key:
        return False
    if key in _TIMES:
        return abs(int(value) - int(other_value)) <= 1
    return is_server and key in _OF_THE_HOST | _OF_THE_RUNNER


def without_common_lines(ours: bytes, theirs: bytes | None) -> tuple[bytes, bytes | None]:
    """Cut two documents down to the lines that differ."""
    one, other = ours.split(b"\n"), (theirs or b"").split(b"\n")
    if len(one) < 3 or len(one) != len(other):
        return ours, theirs
    is_server = any(line.startswith(b"cmd-put: ") for line in one)
    pairs = [pair for pair in zip(one, other, strict=True) if not _same_line(*pair, is_server)]
    return b"\n".join(mine for mine, _ in pairs), b"\n".join(their for _, their in pairs)


def cut(data: bytes) -> str:
    return repr(data if len(data) < 300 else data[:300] + b"...")


def shown(step: Step) -> str:
    if isinstance(step, Send):
        return f"{step.connection} > " + " + ".join(cut(piece) for piece in step.pieces)
    return str(step)


def run_seed(
    seed: int, steps: int, engine_class: type[Engine] = Engine, with_ours: bool = True
) -> Result:
    """Run one conversation on fresh servers."""
    make_ours: Callable[[], OurServer] = OurServer
    with Daemon() as daemon:
        if not with_ours:
            return Run(seed, daemon, None, engine_class).run(steps)
        with make_ours() as ours:
            return Run(seed, daemon, ours, engine_class).run(steps)
