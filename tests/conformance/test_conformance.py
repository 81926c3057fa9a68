"""One suite for all that speaks the protocol: memory, journal, gateways, and the real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.conversations import CONVERSATIONS, TIMED
from tests.conformance.script import Script
from tests.engines import Engine, find_engine
from tests.server.talk import Talk, until
from tests.servers import Daemon, GatewayServer, OurServer, Server

Start = Callable[[contextlib.ExitStack], Server]


def _with_journal(ending: contextlib.ExitStack) -> Server:
    directory = ending.enter_context(tempfile.TemporaryDirectory())
    return ending.enter_context(OurServer("-b", directory, "--fsync", "never"))


def _over(kind: str) -> Start:
    def start(ending: contextlib.ExitStack) -> Server:
        if find_engine(kind) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{kind} is not installed: make install-engines", pytrace=False)
            pytest.skip(f"needs {kind}, which is not installed: make install-engines")
        engine = ending.enter_context(Engine(kind=kind))
        return ending.enter_context(GatewayServer(store=engine.url))

    return start


KINDS: dict[str, Start] = {
    "memory": lambda ending: ending.enter_context(OurServer()),
    "journal": _with_journal,
    "gateway-redis": _over("redis"),
    "gateway-valkey8": _over("valkey8"),
    "gateway-valkey9": _over("valkey9"),
    "beanstalkd": lambda ending: ending.enter_context(Daemon()),
}


MARKS = {"beanstalkd": pytest.mark.daemon, "journal": pytest.mark.long}
MARKS["gateway-valkey8"] = pytest.mark.long  # its functions are those of 9
MISSED_BY_THE_DAEMON = {"a ttr ends"}  # now and then: docs/compatibility.md


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=MARKS.get(kind, ())) for kind in KINDS]
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with contextlib.ExitStack() as ending:
        yield KINDS[request.param](ending)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(server: Server, tube: str, name: str) -> None:
    Script(CONVERSATIONS[name], server, tube).run()


def test_what_takes_time(server: Server, tube: str) -> None:
    """All at once: each takes a second or two."""
    with ThreadPoolExecutor(len(TIMED)) as pool:
        for done in [
            pool.submit(Script(text, server, f"{tube}-{number}").run)
            for number, (name, text) in enumerate(TIMED.items())
            if name not in MISSED_BY_THE_DAEMON or not isinstance(server, Daemon)
        ]:
            done.result()


SERVER_WIDE = (
    *("cmd-put", "cmd-reserve", "cmd-delete", "cmd-use", "cmd-watch", "cmd-bury", "cmd-kick"),
    *("cmd-release", "cmd-touch", "cmd-peek", "cmd-ignore", "cmd-stats-job", "cmd-pause-tube"),
    *("cmd-reserve-with-timeout", "cmd-peek-ready", "cmd-list-tubes", "total-jobs"),
)


def test_the_whole_server_counts(server: Server, tube: str) -> None:
    """Each command once, and each of their counts one higher."""
    with Talk(server) as talk:
        before = {key: talk.figure(key) for key in SERVER_WIDE}
        name = tube.encode()
        job = talk.ask(b"use %b\r\n" % name) and talk.ask(b"put 0 0 60 1\r\nx\r\n").split()[1]
        for request, reply in (
            (b"watch %b" % name, b"WATCHING"),
            (b"ignore default", b"WATCHING"),
            (b"peek-ready", b"FOUND"),
            (b"peek %b" % job, b"FOUND"),
            (b"reserve", b"RESERVED"),
            (b"touch %b" % job, b"TOUCHED"),
            (b"release %b 0 0" % job, b"RELEASED"),
            (b"reserve-with-timeout 1", b"RESERVED"),
            (b"bury %b 0" % job, b"BURIED"),
            (b"kick 1", b"KICKED"),
            (b"pause-tube %b 0" % name, b"PAUSED"),
            (b"stats-job %b" % job, b"OK"),
            (b"list-tubes", b"OK"),
        ):
            assert talk.ask(request + b"\r\n").startswith(reply)
        urgent = talk.figure("current-jobs-urgent")
        assert talk.ask(b"delete %b\r\n" % job) == b"DELETED\r\n"
        assert talk.figure("current-jobs-urgent") == urgent - 1
        after = {key: talk.figure(key) for key in SERVER_WIDE}
        assert after == {key: count + 1 for key, count in before.items()}


def test_the_whole_server_knows_who_is_there(server: Server, tube: str) -> None:
    with Talk(server) as talk:
        connections, total = talk.figure("current-connections"), talk.figure("total-connections")
        producers, workers = talk.figure("current-producers"), talk.figure("current-workers")
        with Talk(server) as other:
            assert other.ask(b"use %b\r\n" % tube.encode()).startswith(b"USING")
            assert other.ask(b"put 0 0 60 1\r\nx\r\n").startswith(b"INSERTED")
            other.send(b"reserve\r\n")  # in default, where there is none
            until(talk, "current-waiting", 1)
            assert talk.figure("current-connections") == connections + 1
            assert talk.figure("total-connections") == total + 1
            assert talk.figure("current-producers") == producers + 1
            assert talk.figure("current-workers") == workers + 1
        until(talk, "current-waiting", 0)
        until(talk, "current-connections", connections)
        assert talk.figure("current-workers") == workers


def test_a_body_over_the_limit_is_skipped(server: Server) -> None:
    with Talk(server) as talk:
        assert talk.ask(b"put 0 0 60 65536\r\n" + b"x" * 65536 + b"\r\n") == b"JOB_TOO_BIG\r\n"
        assert talk.ask(b"put 0 0 60 65535\r\n" + b"x" * 65535 + b"\r\n").startswith(b"INSERTED")
        assert talk.figure("max-job-size") == 65535


def test_a_thousand_puts_and_deletes_in_one_write(server: Server, tube: str) -> None:
    with Talk(server) as talk:
        talk.ask(b"use %b\r\n" % tube.encode())
        talk.send(b"".join(b"put 0 0 60 4\r\n%4d\r\n" % number for number in range(1000)))
        ids = [int(talk.reply().split()[1]) for _ in range(1000)]
        assert ids == sorted(set(ids))
        assert talk.ask(b"peek %d\r\n" % ids[500]) == b"FOUND %d 4\r\n 500\r\n" % ids[500]
        deletes = [b"delete %d\r\n" % job for job in ids]
        talk.send(b"".join([*deletes, deletes[0], b"list-tube-used\r\n"]))
        assert [talk.reply() for _ in ids] == [b"DELETED\r\n"] * 1000
        assert talk.reply() == b"NOT_FOUND\r\n"
        assert talk.reply() == b"USING %b\r\n" % tube.encode()


def test_zz_draining_refuses_puts(server: Server, tube: str) -> None:
    """The last test of this server, since nothing ends it in the daemon."""
    with Talk(server) as talk:
        job = talk.ask(b"put 0 0 60 1\r\nx\r\n").split()[1]
        os.kill(server.pid, signal.SIGUSR1)
        while b"draining: true" not in talk.ask(b"stats\r\n"):
            pass
        assert talk.ask(b"put 0 0 60 1\r\nx\r\n") == b"DRAINING\r\n"
        assert talk.ask(b"delete %b\r\n" % job) == b"DELETED\r\n"
