"""The same conversation with the real daemon, with our server, and with a twin in this process.

The twin is our engine without sockets: what it answers tells how many replies to await from the
two servers, so that nobody sleeps, and all three must agree on every one.

Laws:
- Ids are compared as they are: all three begin anew and give out the same.
- A step is over when both servers have said all that the twin said, on every connection.
- A difference is told with the seed that repeats it and what was said before it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from beanrow.engine.engine import Engine
from beanrow.protocol.replies import ReplyStream, ok
from beanrow.protocol.stats import write_list
from tests.differential.compare import Extra, different_lines, same
from tests.differential.conversation import (
    PHASE,
    Conversation,
    Drain,
    HalfClose,
    NextPhase,
    Reconnect,
    Send,
    Step,
    View,
    fair,
)
from tests.differential.gateway import GatewayTwin
from tests.differential.twin import Replies, Twin
from tests.servers import Daemon, GatewayServer, OurServer, Server

CONNECTIONS = 5
PATIENCE = 5.0  # seconds until a reply that does not come is a difference
TIMED_TRIES = 3
TIMED_SHARE = 20  # a timed conversation has so many times fewer steps: it lasts

Source = Callable[[View], Step | None]
"""Says what the next step is; None at the end."""


class Difference(AssertionError):
    """A server did not say what the twin said. ``steps`` led to it, ``by_daemon`` tells which."""

    def __init__(self, transcript: list[str], steps: list[Step], by_daemon: bool) -> None:
        super().__init__("\n".join(transcript))
        self.steps = steps
        self.by_daemon = by_daemon


class Result(NamedTuple):
    """How much was compared."""

    steps: int
    replies: int


class Peer:
    """One connection to a server. ``patience`` in seconds."""

    def __init__(self, server: Server, patience: float = PATIENCE) -> None:
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(patience)
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

    def unread(self) -> bytes:
        """What has come and was not asked for."""
        self.socket.setblocking(False)
        try:
            return self._stream.next() or self.socket.recv(1000)
        except BlockingIOError:
            return b""


class Side:
    """One server: its connections, one of them for control, and what the runner adds to counts."""

    def __init__(self, server: Server, connections: int, patience: float) -> None:
        self.server = server
        self.patience = patience
        self.control = Peer(server, patience)
        stats = self.control.converse(b"stats\r\n")
        self.extra: Extra = {
            b"cmd-stats": _number(stats, b"cmd-stats"),
            b"cmd-list-tubes": 0,
            b"total-connections": _number(stats, b"total-connections") - 1,  # control counts
        }
        self.peers = [Peer(server, patience) for _ in range(connections)]

    def stats(self) -> bytes:
        self.extra[b"cmd-stats"] += 1
        return self.control.converse(b"stats\r\n")

    def reopen(self, number: int) -> None:
        self.peers[number] = Peer(self.server, self.patience)

    def close(self) -> None:
        for peer in (self.control, *self.peers):
            peer.socket.close()


class Run:
    """A conversation with servers that have served nobody yet, and what became of it."""

    def __init__(
        self, twin: Twin, servers: list[Server], source: Source, patience: float = PATIENCE
    ) -> None:
        self._twin = twin
        self._source = source
        self._patience = patience
        self._sides = [Side(server, len(twin.connections), patience) for server in servers]
        self._begun = time.monotonic()
        self._steps: list[Step] = []
        self._transcript: list[str] = []
        self._replies = 0

    def run(self) -> Result:
        """Say all steps of the source; Difference if a server and the twin do not agree."""
        try:
            for number in range(len(self._twin.connections)):
                self._introduce(number)
            self._settle()
            while (step := self._source(self._twin)) is not None:
                self._steps.append(step)
                self._transcript.append(shown(step))
                self._do(step)
            self._check_that_all_was_read()
        finally:
            for side in self._sides:
                side.close()
        return Result(len(self._steps), self._replies)

    def _do(self, step: Step) -> None:
        match step:
            case Send(number, pieces):
                self._send(number, pieces)
                self._compare(self._twin.said())
            case Reconnect(number):
                self._replace(number)
            case HalfClose(number):
                self._twin.half_close(number)
                for side in self._sides:
                    side.peers[number].socket.shutdown(socket.SHUT_WR)
                self._compare(self._twin.said())
            case NextPhase():
                self._compare(self._next_phase())
            case Drain():
                self._drain()

    def _send(self, number: int, pieces: tuple[bytes, ...]) -> None:
        for piece in pieces:
            self._twin.send(number, piece)
            for side in self._sides:
                try:
                    side.peers[number].socket.sendall(piece)
                except OSError:
                    self._differ(side, number, b"(it still listens)", b"(it does not)")

    def _next_phase(self) -> Replies:
        """Let real time pass, the twin doing what becomes due when it does."""
        passed = time.monotonic() - self._begun
        end = self._begun + (passed // PHASE + 1) * PHASE
        told: Replies = []
        while time.monotonic() < end:
            time.sleep(0.005)  # the daemon has no clock but the real one
            told += self._twin.said()
        return told

    def _compare(self, told: Replies) -> None:
        """Await from both servers what the twin said."""
        for number, reply in told:
            self._transcript.append(f"    {number} < {cut(reply)}")
        for side in self._sides:
            for number, expected in told:
                said = side.peers[number].reply()
                if said is None or not same(expected, said, side.extra):
                    self._differ(side, number, expected, said)
        self._replies += len(told)
        for number in self._twin.closing():
            self._twin.connections[number].session.closing = False  # seen to
            self._expect_end(number)
            self._replace(number)
        if not told:
            self._settle()
            late = self._twin.said()
            if late:  # only time can have told it
                self._differ(self._sides[0], late[0][0], late[0][1], None)

    def _expect_end(self, number: int) -> None:
        for side in self._sides:
            reply = side.peers[number].reply()
            if reply != b"":
                self._differ(side, number, b"(the end of the connection)", reply)

    def _replace(self, number: int) -> None:
        """Close a connection everywhere, see whom that wakes, and open one in its place."""
        self._twin.close(number)
        for side in self._sides:
            side.peers[number].socket.close()
        self._compare(self._twin.said())
        self._settle()
        self._compare_tubes()
        self._twin.open(number)
        for side in self._sides:
            side.reopen(number)
        self._introduce(number)
        self._settle()

    def _compare_tubes(self) -> None:
        """Compare which tubes are left, and in which order."""
        names = [tube.name for tube in self._twin.engine.tube_order]
        for side in self._sides:
            if isinstance(side.server, GatewayServer):
                names.sort()
            side.extra[b"cmd-list-tubes"] += 1
            reply = side.control.converse(b"list-tubes\r\n")
            if not same(ok(write_list(names)), reply, side.extra):
                self._differ(side, -1, ok(write_list(names)), reply)

    def _introduce(self, number: int) -> None:
        """Have a new connection known to both servers before anything else happens."""
        self._twin.send(number, b"list-tube-used\r\n")
        assert self._twin.said() == [(number, b"USING default\r\n")]
        for side in self._sides:
            reply = side.peers[number].converse(b"list-tube-used\r\n")
            if reply != b"USING default\r\n":
                self._differ(side, number, b"USING default\r\n", reply)

    def _settle(self) -> None:
        """Wait until both servers have done what was sent: all that counts connections agrees."""
        counters = self._twin.engine.counters
        wanted = (counters.connections, counters.waiting)
        end = time.monotonic() + self._patience
        for side in self._sides:
            while (found := self._connections_and_waiting(side)) != wanted:
                if time.monotonic() > end:
                    self._differ(
                        side, -1, b"%d connections, %d wait" % wanted, b"%d and %d" % found
                    )

    def _connections_and_waiting(self, side: Side) -> tuple[int, int]:
        stats = side.stats()
        if not stats:
            self._differ(side, -1, b"(it is alive)", b"(nothing more)")
        return _number(stats, b"current-connections"), _number(stats, b"current-waiting")

    def _drain(self) -> None:
        self._twin.engine.draining = True
        for side in self._sides:
            os.kill(side.server.pid, signal.SIGUSR1)
            while b"draining: true" not in side.stats():
                pass

    def _check_that_all_was_read(self) -> None:
        self._settle()
        for side in self._sides:
            for number, peer in enumerate(side.peers):
                if unread := peer.unread():
                    self._differ(side, number, b"(nothing more)", unread)

    def _differ(self, side: Side, number: int, twin: bytes, reply: bytes | None) -> None:
        is_daemon = isinstance(side.server, Daemon)
        kind = "the daemon" if is_daemon else "our server"
        pairs = different_lines(twin, reply or b"", side.extra) or [(twin, reply or b"")]
        lines = [f"on connection {number}" if number >= 0 else "on the control connection"]
        for ours, theirs in pairs:
            lines.append(f"    the twin says {cut(ours)}")
            lines.append(f"    {kind} says {'nothing' if reply is None else cut(theirs)}")
        raise Difference([*self._transcript, *lines], self._steps, is_daemon)


def _number(stats: bytes, key: bytes) -> int:
    return int(re.findall(rb"^%b: (\d+)$" % key, stats, re.MULTILINE)[0])


def cut(data: bytes) -> str:
    """Data for people; a long one is cut short."""
    return repr(data if len(data) <= 300 else data[:300] + b"...")


def shown(step: Step) -> str:
    """A step for people."""
    if isinstance(step, Send):
        return f"{step.connection} > " + " + ".join(cut(piece) for piece in step.pieces)
    return str(step)


def run_seed(
    seed: int,
    steps: int,
    engine_class: type[Engine] = Engine,
    *,
    with_ours: bool = True,
    kept: bool = False,
) -> Result:
    """Run one conversation on servers of its own. Every 10th is drained, every 20th is timed.

    ``kept``: both servers keep their jobs on the disk. A timed one that differs is tried again: a machine that stalls for a third of a second looks
    the same.
    """
    for _ in range(TIMED_TRIES - 1 if _is_timed(seed) else 0):
        with contextlib.suppress(Difference):
            return run_source(
                _conversation(seed, steps), engine_class, with_ours=with_ours, kept=kept
            )
    return run_source(_conversation(seed, steps), engine_class, with_ours=with_ours, kept=kept)


def _is_timed(seed: int) -> bool:
    return seed % 20 == 19


def _conversation(seed: int, steps: int) -> Source:
    timed = _is_timed(seed)
    drain_at = steps * 3 // 4 if seed % 10 == 5 else None
    conversation = Conversation(seed, CONNECTIONS, timed=timed, drain_at=drain_at)
    left = iter(range(steps // TIMED_SHARE if timed else steps))

    def source(view: View) -> Step | None:
        return None if next(left, None) is None else conversation.next(view)

    return source


def run_gateway(seed: int, steps: int, engine_class: type[Engine] = GatewayTwin) -> Result:
    """Run one conversation on a gateway of its own. One that differs is tried again.

    The engine tells milliseconds: two delays that a stall brings into the same one end by their ids.
    """
    for _ in range(TIMED_TRIES - 1):
        with contextlib.suppress(Difference):
            return _run_on_gateway(_conversation(seed, steps), engine_class)
    return _run_on_gateway(_conversation(seed, steps), engine_class)


def _run_on_gateway(source: Source, engine_class: type[Engine]) -> Result:
    def one_at_a_time(view: View) -> Step | None:
        """Pass over steps that ask several things while somebody waits.

        Word of a ready job takes a millisecond to the waiting connection of a gateway, and what is
        said meanwhile may come first.
        """
        while isinstance(step := source(view), Send) and view.anyone_waits():
            if len(view.would_ask(step.connection, b"".join(step.pieces))[0]) <= 1:
                break
        return step

    with GatewayServer(module="tests.differential.gateway") as server:
        return Run(Twin(CONNECTIONS, engine_class), [server], one_at_a_time).run()


def run_steps(
    steps: list[Step], engine_class: type[Engine] = Engine, *, daemon: bool, ours: bool
) -> Result:
    """Run recorded steps again, without those that are not fair any more."""
    left = iter(steps)

    def source(view: View) -> Step | None:
        return next((step for step in left if fair(step, view)), None)

    return run_source(source, engine_class, with_daemon=daemon, with_ours=ours, patience=0.3)


def run_source(
    source: Source,
    engine_class: type[Engine] = Engine,
    *,
    with_daemon: bool = True,
    with_ours: bool = True,
    patience: float = PATIENCE,
    kept: bool = False,
) -> Result:
    """Run what the source says on servers of its own."""
    with contextlib.ExitStack() as ending:

        def flags() -> list[str]:
            if not kept:
                return []
            return ["-b", ending.enter_context(tempfile.TemporaryDirectory())]

        servers: list[Server] = []
        if with_daemon:
            servers.append(ending.enter_context(Daemon(*flags())))
        if with_ours:
            servers.append(ending.enter_context(OurServer(*flags())))
        twin = Twin(CONNECTIONS, engine_class)
        return Run(twin, servers, source, patience).run()
