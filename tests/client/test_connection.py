"""Conversations that go wrong: no hang beyond the deadline, no reply to the wrong command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanrow import (
    BadReplyError,
    BeanstalkError,
    Client,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
    StatsParsingError,
)
from beanrow.client.address import Address
from beanrow.client.connection import Connection
from beanrow.client.state import State
from beanrow.client.wire import Wire, open_wire
from beanrow.protocol import commands
from tests.client.scripted import ANY_STATS, Script, ScriptedServer, cut, drip, reset
from tests.servers import Daemon

TIMEOUT = 0.2
LIST = b"OK 14\r\n---\n- default\n\r\n"


def over(wire: Wire) -> Connection:
    return Connection(wire, "pair", 5.0, time.monotonic, State(), lambda _: None)


def own_connection(client: Client) -> Connection:
    """The connection of this thread."""
    return client._connections.get()


def deadline_kept(began: float, seconds: float = TIMEOUT) -> bool:
    """Not earlier than the deadline, and not much later: the machine may be busy."""
    return seconds * 0.99 <= time.monotonic() - began < seconds + 1.0


# -- replies in pieces ------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "reply", "expected"),
    [
        (commands.put(b"x"), b"INSERTED 12\r\n", 12),
        (commands.delete(1), b"DELETED\r\n", None),
        (commands.list_tubes(), LIST, ["default"]),
        (commands.use("default"), b"USING default\r\n", "default"),
    ],
)
def test_a_reply_may_come_in_any_two_pieces(
    command: commands.Command[Any], reply: bytes, expected: object
) -> None:
    for size in range(1, len(reply)):
        ours, theirs = socket.socketpair()
        with theirs:
            connection = over(Wire(ours))
            answer: threading.Thread | None = None

            def say(peer: socket.socket = theirs, size: int = size) -> None:
                peer.recv(65536)
                peer.sendall(reply[:size])
                time.sleep(0.001)  # else both pieces come in one read
                peer.sendall(reply[size:])

            answer = threading.Thread(target=say)
            answer.start()
            assert connection.converse(command.request, command.read) == expected
            answer.join()
            connection.end()


def test_a_body_may_come_byte_by_byte() -> None:
    body = b"RESERVED 1 5\r\n\r\n\r\n5"
    reply = b"RESERVED 7 %d\r\n%b\r\n" % (len(body), body)
    says = drip(reply, 0.0005, threading.Event())
    with (
        ScriptedServer([(b"reserve-with-timeout 0\r\n", says)]) as server,
        Client(server.address) as client,
    ):
        job = client.reserve(timeout=0)
        assert job is not None
        assert (job.id, job.body) == (7, body)


def test_50_megabytes_each_way_take_linear_time() -> None:
    """Quadratic work on them would take half a minute."""
    body = os.urandom(1 << 20) * 50
    put = b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body)
    found = b"FOUND 1 %d\r\n%b\r\n" % (len(body), body)
    script = [ANY_STATS, (put, b"INSERTED 1\r\n"), (b"peek 1\r\n", found)]
    with ScriptedServer(script) as server, Client(server.address) as client:
        began = time.process_time()
        assert client.put(body) == 1
        assert client.peek(1).body == body
        assert time.process_time() - began < 5


def test_a_slow_reader_gets_a_body_that_does_not_fit_the_buffers() -> None:
    body = b"x" * 8_000_000
    put = b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body)

    def say_late(peer: socket.socket) -> None:
        time.sleep(0.05)
        peer.sendall(b"OK 4\r\n---\n\r\n")

    script: Script = [(b"stats\r\n", say_late), (put, b"INSERTED 1\r\n")]
    with ScriptedServer(script) as server, Client(server.address) as client:
        assert client.put(body) == 1


# -- deadlines --------------------------------------------------------------------


def test_a_peer_that_says_nothing() -> None:
    with ScriptedServer([(b"stats\r\n", b"")]) as server:
        client = Client(server.address, timeout=TIMEOUT)
        client.connect()
        began = time.monotonic()
        with pytest.raises(CommandTimeoutError, match=r"'stats' in time .*0\.2 s") as told:
            client.stats()
        assert deadline_kept(began)
        assert told.value.outcome == "unknown"
        assert isinstance(told.value, TimeoutError)


@pytest.mark.parametrize("reply", [LIST, b"USING default" + b"t" * 200 + b"\r\n"])
def test_a_peer_that_drips(reply: bytes) -> None:
    """Each byte comes well within the timeout, the reply does not."""
    stop = threading.Event()
    script = [(b"list-tubes\r\n", drip(reply, TIMEOUT / 10, stop))]
    with ScriptedServer(script) as server:
        client = Client(server.address, timeout=TIMEOUT)
        client.connect()
        began = time.monotonic()
        with pytest.raises(CommandTimeoutError):
            client.list_tubes()
        assert deadline_kept(began)
        stop.set()


def test_a_peer_that_stops_reading() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT) as client:
        own_connection(client).most_body = 2**32  # nobody is there to ask
        began = time.monotonic()
        with pytest.raises(CommandTimeoutError, match="was not sent") as told:
            client.put(b"x" * 20_000_000)
        assert deadline_kept(began)
        assert told.value.outcome == "never-sent", "no command is carried out before its last byte"


def test_a_peer_that_reads_slowly() -> None:
    """Each write goes on a little before the timeout, and the command takes no longer for it."""
    stop = threading.Event()

    def sip(peer: socket.socket) -> None:
        while not stop.wait(TIMEOUT / 10):
            peer.recv(100_000)
        while peer.recv(1_000_000):
            pass

    with ScriptedServer([(b"", sip)]) as server, Client(server.address, timeout=TIMEOUT) as client:
        own_connection(client).most_body = 2**32
        began = time.monotonic()
        with pytest.raises(CommandTimeoutError):
            client.put(b"x" * 50_000_000)
        assert deadline_kept(began)
        stop.set()


def test_reserve_has_its_own_time_on_top() -> None:
    says_nothing = (b"reserve-with-timeout 1\r\n", b"")
    with (
        ScriptedServer([says_nothing]) as server,
        Client(server.address, timeout=TIMEOUT) as client,
    ):
        began = time.monotonic()
        with pytest.raises(CommandTimeoutError):
            client.reserve(timeout=1)
        assert deadline_kept(began, 1 + TIMEOUT)


def test_reserve_may_wait_longer_than_a_command(client: Client, server: Any, tube: str) -> None:
    """Where a client has one receive timeout for all, a plain reserve on an empty tube fails."""
    with Client(server.address, timeout=TIMEOUT) as patient:
        patient.watch(tube)
        later = threading.Timer(3 * TIMEOUT, client.put, ("x",))
        later.start()
        job = patient.reserve()
        assert job.text == "x"
        patient.delete(job)
        later.join()


def test_after_a_deadline_the_client_goes_on() -> None:
    """The late reply belongs to nobody: the next command asks on a connection of its own."""
    stop = threading.Event()

    def late(peer: socket.socket) -> None:
        stop.wait(5)
        with contextlib.suppress(OSError):
            peer.sendall(b"INSERTED 1\r\n")

    first: Script = [ANY_STATS, (b"put 65536 0 60 1\r\na\r\n", late)]
    second = [ANY_STATS, (b"put 65536 0 60 1\r\nb\r\n", b"INSERTED 2\r\n")]
    with ScriptedServer(first, second) as server, Client(server.address, timeout=TIMEOUT) as client:
        with pytest.raises(CommandTimeoutError):
            client.put("a")
        stop.set()
        assert client.put("b") == 2


def test_connecting_has_a_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "queue.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):  # fill the queue of those who wait to be accepted
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(path)
        began = time.monotonic()
        with pytest.raises(ConnectFailedError):
            Client(f"unix:{path}", timeout=TIMEOUT).connect()
        assert time.monotonic() - began < TIMEOUT + 1


def test_the_clock_is_the_callers() -> None:
    now = [0.0]

    def late(peer: socket.socket) -> None:
        now[0] = 1000.0
        peer.sendall(b"OK 4\r\n")
        with contextlib.suppress(ConnectionResetError):  # if the reply came too late to be read
            peer.recv(1)

    with ScriptedServer([(b"stats\r\n", late)]) as server:
        client = Client(server.address, timeout=500, clock=lambda: now[0])
        with pytest.raises(CommandTimeoutError):
            client.stats()


# -- lost connections -------------------------------------------------------------

Calls = list[tuple[bytes, bytes, Callable[[Client], object]]]
REPEATED: Calls = [
    (b"use t\r\n", b"USING t\r\n", lambda client: client.use("t")),
    (b"reserve-with-timeout 0\r\n", b"TIMED_OUT\r\n", lambda client: client.reserve(timeout=0)),
    (b"reserve-with-timeout 60\r\n", b"RESERVED 1 1\r\nx\r\n", lambda client: client.reserve()),
    (b"watch t\r\n", b"WATCHING 2\r\n", lambda client: client.watch("t")),
    (b"ignore t\r\n", b"WATCHING 1\r\n", lambda client: client.ignore("t")),
    (b"peek 1\r\n", b"FOUND 1 1\r\nx\r\n", lambda client: client.peek(1)),
    (b"peek-ready\r\n", b"NOT_FOUND\r\n", lambda client: client.peek_ready()),
    (b"peek-delayed\r\n", b"NOT_FOUND\r\n", lambda client: client.peek_delayed()),
    (b"peek-buried\r\n", b"NOT_FOUND\r\n", lambda client: client.peek_buried()),
    (b"stats\r\n", b"OK 4\r\n---\n\r\n", lambda client: client.stats()),
    (b"stats-job 1\r\n", b"OK 4\r\n---\n\r\n", lambda client: client.stats_job(1)),
    (b"stats-tube t\r\n", b"OK 4\r\n---\n\r\n", lambda client: client.stats_tube("t")),
    (b"list-tubes\r\n", LIST, lambda client: client.list_tubes()),
    (b"list-tube-used\r\n", b"USING default\r\n", lambda client: client.list_tube_used()),
    (b"list-tubes-watched\r\n", LIST, lambda client: client.list_tubes_watched()),
    (b"pause-tube t 1\r\n", b"PAUSED\r\n", lambda client: client.pause_tube("t", 1)),
]
ONCE: Calls = [
    (b"reserve-job 1\r\n", b"", lambda client: client.reserve_job(1)),
    (b"delete 1\r\n", b"", lambda client: client.delete(1)),
    (b"release 1 65536 0\r\n", b"", lambda client: client.release(1)),
    (b"bury 1 65536\r\n", b"", lambda client: client.bury(1)),
    (b"touch 1\r\n", b"", lambda client: client.touch(1)),
    (b"kick 1\r\n", b"", lambda client: client.kick(1)),
    (b"kick-job 1\r\n", b"", lambda client: client.kick_job(1)),
]
CALLS = [(request, call) for request, _, call in REPEATED + ONCE]
NAMES = [request.split()[0].decode() for request, _ in CALLS]


@pytest.mark.parametrize("act", [cut, reset])
@pytest.mark.parametrize(("request_", "_", "call"), ONCE, ids=[one[0].decode() for one in ONCE])
def test_cut_before_the_reply_of_what_is_never_sent_again(
    request_: bytes,
    _: bytes,
    call: Callable[[Client], object],
    act: Callable[[socket.socket], None],
) -> None:
    command = request_.decode().strip()
    with (
        ScriptedServer([(request_, act)], [(b"list-tubes\r\n", LIST)]) as server,
        Client(server.address, timeout=5) as client,
    ):
        with pytest.raises(ConnectionLostError, match=f"under '{command}'") as told:
            call(client)
        assert told.value.outcome == "unknown"
        assert "may have carried it out" in str(told.value)
        assert client.list_tubes() == ["default"], "on a new connection"


@pytest.mark.parametrize("act", [cut, reset])
@pytest.mark.parametrize(
    ("request_", "reply", "call"), REPEATED, ids=[one[0].decode() for one in REPEATED]
)
def test_cut_before_the_reply_of_what_may_be_repeated(
    request_: bytes,
    reply: bytes,
    call: Callable[[Client], object],
    act: Callable[[socket.socket], None],
) -> None:
    with (
        ScriptedServer([(request_, act)], [(request_, act)], [(request_, reply)]) as server,
        Client(server.address, timeout=5) as client,
    ):
        call(client)


@pytest.mark.parametrize(("request_", "call"), CALLS, ids=NAMES)
def test_garbage_in_place_of_a_reply(request_: bytes, call: Callable[[Client], object]) -> None:
    for garbage in (
        b"WHAT?\r\n",
        b"\r\n",
        b"\n",
        b"OK -5\r\n",
        b"OK x\r\n",
        b"RESERVED 1 x\r\n",
        b"FOUND x 1\r\nx\r\n",
        b"USING\r\n",
        b"KICKED x\r\n",
        b"x" * 2000,
        b"deleted\r\n",
    ):
        with (
            ScriptedServer([(request_, garbage)], [(b"list-tubes\r\n", LIST)]) as server,
            Client(server.address, timeout=5) as client,
        ):
            with pytest.raises(BadReplyError) as told:
                call(client)
            assert told.value.command == request_.decode().strip()
            assert client.list_tubes() == ["default"], "on a new connection"


@pytest.mark.parametrize(
    "reply",
    [
        b"DELETED\r\nDELETED\r\n",
        b"DELETED\r\nx",
        b"INSERTED 1\r\n",
        b"RESERVED 1 1\r\nx\r\n",
        b"TOUCHED\r\n",
    ],
)
def test_a_reply_to_something_else(reply: bytes) -> None:
    with (
        ScriptedServer([(b"delete 1\r\n", reply)]) as server,
        Client(server.address) as client,
        pytest.raises(BadReplyError, match="delete 1: not a reply to this command"),
    ):
        client.delete(1)


def test_a_second_reply_is_not_part_of_a_name() -> None:
    says = b"USING t\r\nUSING u\r\n"
    with (
        ScriptedServer([(b"use t\r\n", says)]) as server,
        Client(server.address) as client,
        pytest.raises(BadReplyError),
    ):
        client.use("t")


def test_statistics_that_cannot_be_read_leave_the_connection_usable() -> None:
    script = [(b"stats\r\n", b"OK 3\r\nabc\r\n"), (b"list-tubes\r\n", LIST)]
    with ScriptedServer(script) as server, Client(server.address) as client:
        with pytest.raises(StatsParsingError):
            client.stats()
        assert client.list_tubes() == ["default"]


def test_cut_inside_a_body() -> None:
    def half(peer: socket.socket) -> None:
        peer.sendall(b"RESERVED 1 100\r\nhalf of")
        cut(peer)

    with (
        ScriptedServer([(b"reserve-job 1\r\n", half)]) as server,
        Client(server.address) as client,
        pytest.raises(ConnectionLostError, match="the server closed it"),
    ):
        client.reserve_job(1)


def test_a_put_is_sent_once_whatever_happens() -> None:
    """A client that sends it again after a lost connection stores jobs twice."""
    first: Script = [ANY_STATS, (b"put 65536 0 60 1\r\nx\r\n", cut)]
    with ScriptedServer(first, []) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLostError) as told:
            client.put("x")
        assert told.value.outcome == "unknown"
        client.connect()


def test_cut_while_the_limit_is_asked_for_means_the_put_was_never_sent() -> None:
    silent: Script = [(b"stats\r\n", b"")]
    with (
        ScriptedServer([(b"stats\r\n", cut)], silent) as server,
        Client(server.address, timeout=TIMEOUT) as client,
    ):
        with pytest.raises(ConnectionLostError) as told:
            client.put("x")
        assert told.value.outcome == "never-sent"


def test_what_could_not_be_written_was_never_sent(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.list_tubes()  # looked at now, and not again for a second
        own_connection(client)._wire._sock.shutdown(socket.SHUT_WR)
        own_connection(client).most_body = 65535
        with pytest.raises(ConnectionLostError, match="it was not sent") as told:
            client.put("x")
        assert told.value.outcome == "never-sent"


def test_a_new_connection_is_set_as_the_old_one_was() -> None:
    set_up: Script = [
        (b"use t\r\n", b"USING t\r\n"),
        (b"watch a\r\n", b"WATCHING 2\r\n"),
        (b"watch b\r\n", b"WATCHING 3\r\n"),
        (b"ignore default\r\n", b"WATCHING 2\r\n"),
        (b"ignore a\r\n", b"WATCHING 1\r\n"),
        (b"touch 1\r\n", cut),
    ]
    restored = [
        (b"watch b\r\nignore default\r\n", b"WATCHING 2\r\nWATCHING 1\r\n"),
        ANY_STATS,
        (b"use t\r\nput 65536 0 60 1\r\nx\r\n", b"USING t\r\nINSERTED 5\r\n"),
    ]
    with ScriptedServer(set_up, restored) as server, Client(server.address) as client:
        client.use("t")
        client.watch("a")
        client.watch("b")
        client.ignore("default")
        client.ignore("a")
        with pytest.raises(ConnectionLostError):
            client.touch(1)
        assert client.put("x") == 5


def test_a_watched_default_stays_watched() -> None:
    set_up: Script = [
        (b"watch a\r\n", b"WATCHING 2\r\n"),
        (b"touch 1\r\n", cut),
    ]
    restored = [(b"watch a\r\n", b"WATCHING 2\r\n"), (b"list-tubes\r\n", LIST)]
    with ScriptedServer(set_up, restored) as server, Client(server.address) as client:
        client.watch("a")
        with pytest.raises(ConnectionLostError):
            client.touch(1)
        client.list_tubes()


def test_a_watch_list_that_cannot_be_restored_fails_the_command() -> None:
    set_up: Script = [
        (b"watch a\r\n", b"WATCHING 2\r\n"),
        (b"touch 1\r\n", cut),
    ]
    refused = [(b"watch a\r\n", b"OUT_OF_MEMORY\r\n")]
    restored = [(b"watch a\r\n", b"WATCHING 2\r\n"), (b"list-tubes\r\n", LIST)]
    with ScriptedServer(set_up, refused, restored) as server, Client(server.address) as client:
        client.watch("a")
        with pytest.raises(ConnectionLostError):
            client.touch(1)
        with pytest.raises(BeanstalkError, match="watch a: OUT_OF_MEMORY"):
            client.delete(1)
        client.list_tubes()


def interrupt(peer: socket.socket) -> None:
    """Ctrl-C in the middle of a conversation: a real signal, which also ends a blocked read."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
    peer.recv(1)  # until the client closes


def test_ctrl_c_closes_the_connection() -> None:
    """Else the next command would get the reply to the one that was interrupted."""
    first = [(b"reserve-with-timeout 60\r\n", interrupt)]
    with (
        ScriptedServer(first, [(b"list-tubes\r\n", LIST)]) as server,
        Client(server.address) as client,
    ):
        with pytest.raises(KeyboardInterrupt):
            client.reserve()
        assert client.list_tubes() == ["default"]


# -- the socket -------------------------------------------------------------------


def test_a_command_is_one_write_without_delay() -> None:
    """Two writes, or Nagle's algorithm, cost 40 ms a put."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        wire = open_wire(Address(host=host, port=port), 1, None)
        with wire._sock as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getblocking()


class CountingWire(Wire):
    """A connection that remembers each write."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire._sock)
        self.writes: list[bytes] = []
        self.send = self._send

    def _send(self, data: bytes) -> int:
        self.writes.append(bytes(data))
        return self._sock.send(data)


def test_puts_into_a_tube_send_use_once(
    daemon: Daemon, tube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[CountingWire] = []

    def counting(address: Address, timeout: float, _: None) -> Wire:
        opened.append(CountingWire(open_wire(address, timeout, None)))
        return opened[-1]

    monkeypatch.setattr("beanrow.client.threads.open_wire", counting)
    with Client(daemon.address) as client:
        ids = [client.put("x", tube=tube) for _ in range(3)]
        assert client.peek_ready() is None
        for job_id in ids:
            client.delete(job_id)
    use = f"use {tube}\r\n".encode()
    put = b"put 65536 0 60 1\r\nx\r\n"
    (wire,) = opened
    assert wire.writes[:5] == [
        b"stats\r\n",
        use + put,
        put,
        put,
        b"use default\r\npeek-ready\r\n",
    ]
