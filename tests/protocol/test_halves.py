"""What ties the client's half of a command to the server's: neither can change alone."""

from __future__ import annotations

import inspect
import random
from typing import Any, get_args

import pytest

from beanrow.engine.engine import Engine
from beanrow.errors import BadReplyError, BeanstalkError, UnknownCommandError
from beanrow.protocol import commands, extensions, replies, requests
from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.commands import Command
from beanrow.protocol.request_stream import RequestStream
from beanrow.protocol.requests import Request
from beanrow.server.connection import Connection

HALVES: list[tuple[Command[Any], Request]] = [
    (commands.put(b"a\r\nb", 1, 2, 3), requests.Put(1, 2, 3, b"a\r\nb")),
    (commands.use("a"), requests.Use("a")),
    (commands.reserve(), requests.Reserve()),
    (commands.reserve_with_timeout(5), requests.ReserveWithTimeout(5)),
    (commands.reserve_job(5), requests.ReserveJob(5)),
    (commands.delete(5), requests.Delete(5)),
    (commands.release(5, 6, 7), requests.Release(5, 6, 7)),
    (commands.bury(5, 6), requests.Bury(5, 6)),
    (commands.touch(5), requests.Touch(5)),
    (commands.watch("a"), requests.Watch("a")),
    (commands.ignore("a"), requests.Ignore("a")),
    (commands.peek(5), requests.Peek(5)),
    (commands.peek_ready(), requests.PeekReady()),
    (commands.peek_delayed(), requests.PeekDelayed()),
    (commands.peek_buried(), requests.PeekBuried()),
    (commands.kick(5), requests.Kick(5)),
    (commands.kick_job(5), requests.KickJob(5)),
    (commands.stats(), requests.Stats()),
    (commands.stats_job(5), requests.StatsJob(5)),
    (commands.stats_tube("a"), requests.StatsTube("a")),
    (commands.list_tubes(), requests.ListTubes()),
    (commands.list_tube_used(), requests.ListTubeUsed()),
    (commands.list_tubes_watched(), requests.ListTubesWatched()),
    (commands.pause_tube("a", 5), requests.PauseTube("a", 5)),
    (commands.quit(), requests.Quit()),
    (extensions.capabilities("a", "b"), requests.Capabilities(("a", "b"))),
    (extensions.put_in_tube("a", b"b\r\n", 1, 2, 3), requests.PutInTube("a", 1, 2, 3, b"b\r\n")),
    (
        extensions.put_unique("k", b"b\r\n", 4, 1, 2, 3),
        requests.PutUnique("k", 4, 1, 2, 3, b"b\r\n"),
    ),
    (extensions.list_jobs("a", "ready", 7, 9), requests.ListJobs("a", "ready", 7, 9)),
    (extensions.truncate("a"), requests.Truncate("a")),
    (extensions.session(5), requests.Session(5)),
    (extensions.resume("0a1b"), requests.Resume("0a1b")),
    (extensions.list_times("a"), requests.ListTimes("a")),
    (extensions.list_leases(7, 9), requests.ListLeases(7, 9)),
    (extensions.list_clients(7, 9), requests.ListClients(7, 9)),
    (extensions.list_slow(7), requests.ListSlow(7)),
    (extensions.client_name("a"), requests.ClientName("a")),
]
NO_COMMAND = {
    requests.Auth,  # a client says it as it connects: protocol/authentication.py
    requests.PutTooBig,
    requests.PutUnterminated,
    requests.BadFormat,
    requests.UnknownCommand,
}


@pytest.mark.parametrize(("command", "request_"), HALVES, ids=lambda one: str(one)[:20])
def test_what_a_client_writes_is_what_a_server_reads(
    command: Command[Any], request_: Request
) -> None:
    stream = RequestStream(100)
    stream.feed(extensions.capabilities(*CAPABILITIES).request)
    assert type(stream.next()) is requests.Capabilities
    stream.feed(command.request)
    found = stream.next()
    assert type(found) is type(request_)
    assert found == request_
    assert stream.buffered == 0


def test_every_command_has_both_halves() -> None:
    ours = {
        name
        for module in (commands, extensions)
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__annotations__["return"].startswith("Command[")
        if name in module.__all__
    }
    assert {command.name.replace("-", "_") for command, _ in HALVES} == ours
    assert {type(request) for _, request in HALVES} | NO_COMMAND == set(get_args(Request))


def test_every_reply_of_the_engine_is_understood_by_its_command() -> None:
    """A history of every command: each reply is a value or an error of its own, never bad."""
    pick = random.Random(7)
    engine = Engine(0, max_job_size=8)
    engine.offer_sessions(lambda: f"t{pick.randrange(5)}")
    connections = [Connection(engine) for _ in range(3)]
    for connection in connections:
        connection.receive(extensions.capabilities(*CAPABILITIES).request, 0)
        connection.session.replies.clear()
    engine.outbox.clear()
    understood: dict[str, set[bytes]] = {}
    for now in range(1, 6001):
        connection = pick.choice(connections)
        command = some_command(pick, engine)
        engine.tick(now * 10**8)
        if now == 5000:
            engine.draining = True
        connection.receive(command.request, now * 10**8)
        if connection.session.waiting:
            engine.half_close(connection.session)  # answers TIMED_OUT
            connection.session.half_closed = False
        for session in engine.outbox:
            for reply in session.replies:
                if session is connection.session:
                    word = reply.split(b" ")[0].strip()
                    understood.setdefault(command.name, set()).add(word)
                    try:
                        command.answer(reply)
                    except (BadReplyError, UnknownCommandError):
                        raise
                    except BeanstalkError:
                        pass
            session.replies.clear()
        engine.outbox.clear()
    assert understood["put"] == {b"INSERTED", b"JOB_TOO_BIG", b"DRAINING"}
    assert understood["put-unique"] == {b"INSERTED", b"EXISTS", b"JOB_TOO_BIG", b"DRAINING"}
    assert understood["put-in-tube"] == {b"INSERTED", b"JOB_TOO_BIG", b"DRAINING"}
    assert {b"RESERVED", b"TIMED_OUT", b"DEADLINE_SOON"} <= (
        understood["reserve"] | understood["reserve-with-timeout"]
    )
    for name in (
        "delete",
        "release",
        "bury",
        "touch",
        "peek",
        "kick-job",
        "reserve-job",
        "truncate",
        "list-jobs",
        "resume",
    ):
        assert len(understood[name]) == 2, (name, understood[name])
    assert understood["ignore"] == {b"WATCHING", b"NOT_IGNORED"}


def some_command(pick: random.Random, engine: Engine) -> Command[Any]:
    job = pick.choice([*list(engine.jobs)[-8:], 10**9])
    tube = pick.choice(["default", "a", "b"])
    return pick.choice(
        [
            commands.put(b"x" * pick.choice([0, 5, 9]), pick.randrange(3), pick.randrange(2), 1),
            commands.put(b"y", 1, 0, pick.choice([1, 60])),
            commands.use(tube),
            commands.reserve(),
            commands.reserve_with_timeout(pick.randrange(2)),
            commands.reserve_job(job),
            commands.delete(job),
            commands.release(job, 1, pick.randrange(2)),
            commands.bury(job, 1),
            commands.touch(job),
            commands.watch(tube),
            commands.ignore(tube),
            commands.peek(job),
            commands.peek_ready(),
            commands.peek_delayed(),
            commands.peek_buried(),
            commands.kick(2),
            commands.kick_job(job),
            commands.stats(),
            commands.stats_job(job),
            commands.stats_tube(tube),
            commands.list_tubes(),
            commands.list_tube_used(),
            commands.list_tubes_watched(),
            commands.pause_tube(tube, pick.randrange(2)),
            extensions.put_in_tube(tube, b"z" * pick.choice([0, 9]), 1, 0, 60),
            extensions.put_unique(tube, b"z" * pick.choice([0, 9]), pick.choice([0, 5]), 1, 0, 60),
            extensions.list_jobs(pick.choice([tube, "nowhere"]), "ready"),
            extensions.truncate(pick.choice([tube, "nowhere"])),
            extensions.session(9),
            extensions.resume(f"t{pick.randrange(6)}"),
            extensions.list_times(pick.choice([tube, "nowhere"])),
            extensions.list_leases(),
            extensions.list_clients(),
            extensions.list_slow(),
            extensions.client_name(tube),
        ]
    )


def test_each_reply_a_server_can_write_is_read_by_a_client() -> None:
    assert commands.put(b"x").answer(replies.inserted(7)) == 7
    assert commands.use("a").answer(replies.using("a")) == "a"
    assert commands.watch("a").answer(replies.watching(3)) == 3
    assert commands.kick(9).answer(replies.kicked(4)) == 4
    job = commands.reserve_job(5).answer(replies.reserved(5, b"a\r\nb"))
    assert (job.id, job.body) == (5, b"a\r\nb")
    assert commands.peek(5).answer(replies.found(5, b"")).body == b""
    assert commands.list_tubes().answer(replies.ok(b"---\n- a\n")) == ["a"]
