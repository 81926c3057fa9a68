"""Every command and every batch under every fault of a network, on both clients and servers.

What must hold in each case: no wait beyond the deadline; no wrong reply; nothing is put or
deleted twice, and nothing at all where the error says "never-sent"; what may be repeated succeeds
within the call; jobs whose connection is gone are lost, told once, and say so; used and watched
tubes are restored, and the client goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from beanrow import (
    BatchError,
    BeanstalkError,
    Client,
    CommandTimeoutError,
    ConnectionLostError,
    Job,
    JobLost,
    NotFoundError,
)
from beanrow.protocol import commands
from tests.client.blocking import Kind, opened
from tests.client.proxy import FAULTS, HARMLESS, SILENT, UNHEARD, CuttingProxy, Fault
from tests.servers import Server

TIMEOUT = 10.0
SHORT = 0.2
"""The timeout where only the deadline ends the wait."""

PAIRS: tuple[tuple[str, Kind], ...] = (
    ("beanstalkd", "sync"),
    ("beanrow", "async"),
    ("beanrow", "sync"),
    ("beanstalkd", "async"),
)


def under_each_fault(names: Iterable[str] = ("",)) -> pytest.MarkDecorator:
    """Run a test for each name under each fault, with each pair of a server and a client.

    The tests of every day run a third of the faults for each name, the pairs by turns; the long
    ones run the rest.
    """
    cases = []
    for row, name in enumerate(names):
        for column, fault in enumerate(FAULTS):
            if name == "reserve" and fault in SILENT:
                continue  # without a timeout of its own it would wait a minute, by design
            for turn, pair in enumerate(PAIRS):
                daily = (row + column) % 3 == 0 and turn == column % len(PAIRS)
                marks = () if daily else pytest.mark.long
                said = (name,) if name else ()
                cases.append(
                    pytest.param(
                        *pair, fault, *said, marks=marks, id="-".join((*pair, fault, *said))
                    )
                )
    named = ("name",) if cases and len(cases[0].values) == 4 else ()
    return pytest.mark.parametrize(("server", "kind", "fault", *named), cases, indirect=["server"])


def body(name: str) -> bytes:
    """A body that is easily cut in two."""
    return f"{name:.<300}".encode()


class Scene:
    """A client behind a proxy, another one that is not, and jobs for the first to act on.

    ``held`` is a job that the client holds; ``ready``, ``delayed`` and ``buried`` nobody does.
    ``lost`` and ``reconnects`` are what the hooks told.
    """

    def __init__(self, kind: Kind, tube: str, other: Client) -> None:
        self.kind, self.tube, self.other = kind, tube, other
        self.lost: list[list[int]] = []
        self.reconnects = 0

    def reconnected(self) -> None:
        self.reconnects += 1

    def prepare(self, client: Client) -> None:
        self.client = client
        client.use(self.tube)
        client.watch(self.tube)
        client.ignore("default")
        put = self.other.put
        self.buried = self.other.reserve_job(put(body("buried"), ttr=1000)).id
        self.other.bury(self.buried)
        self.delayed = put(body("delayed"), delay=1000)
        held = client.put(body("held"), ttr=1000, priority=2**31)  # behind the others
        self.ready = client.put(body("ready"))
        self.held = client.reserve_job(held)
        self.more = [put(body(f"more {number}")) for number in range(4)]
        self.jobs = self.other.stats_tube(self.tube).total_jobs


@contextmanager
def scene(
    kind: Kind, server: Server, tube: str, fault: Fault
) -> Iterator[tuple[Scene, CuttingProxy]]:
    with Client(server.address) as other, CuttingProxy(server.address) as proxy:
        other.use(tube)
        one = Scene(kind, tube, other)
        with opened(
            kind,
            proxy.address,
            timeout=SHORT if fault in SILENT else TIMEOUT,
            on_jobs_lost=one.lost.append,
            on_reconnect=one.reconnected,
        ) as client:
            one.prepare(client)
            yield one, proxy
        proxy.cut_all()
        other.watch(tube)
        while left := other.reserve_many(100):
            other.delete_many(left)
        for kicked in (100, 100):  # the buried, then the delayed
            other.kick(kicked)
            other.delete_many(other.reserve_many(100))


class Said(NamedTuple):
    """A command: what is armed for, how it is called, and whether its answer is right."""

    word: bytes
    call: Callable[[Client, Scene], Any]
    right: Callable[[Any, Scene], bool]


def is_job(number: Callable[[Scene], int], name: str) -> Callable[[Any, Scene], bool]:
    return lambda answer, at: (answer.id, answer.body) == (number(at), body(name))


def equals(value: object) -> Callable[[Any, Scene], bool]:
    return lambda answer, at: bool(answer == value)


SAFE: dict[str, Said] = {
    "use": Said(b"use ", lambda c, at: c.use(f"{at.tube}-b"), lambda x, at: x == f"{at.tube}-b"),
    "watch": Said(b"watch ", lambda c, at: c.watch(f"{at.tube}-b"), equals(2)),
    "ignore": Said(b"ignore ", lambda c, at: c.ignore("unwatched"), equals(1)),
    "peek": Said(b"peek ", lambda c, at: c.peek(at.ready), is_job(lambda at: at.ready, "ready")),
    "peek_ready": Said(
        b"peek-ready", lambda c, at: c.peek_ready(), is_job(lambda at: at.ready, "ready")
    ),
    "peek_delayed": Said(
        b"peek-delayed", lambda c, at: c.peek_delayed(), is_job(lambda at: at.delayed, "delayed")
    ),
    "peek_buried": Said(
        b"peek-buried", lambda c, at: c.peek_buried(), is_job(lambda at: at.buried, "buried")
    ),
    "stats": Said(b"stats\r", lambda c, at: c.stats(), lambda x, at: x.pid == at.other.stats().pid),
    "stats_job": Said(
        b"stats-job ", lambda c, at: c.stats_job(at.ready), lambda x, at: x.id == at.ready
    ),
    "stats_tube": Said(
        b"stats-tube ", lambda c, at: c.stats_tube(at.tube), lambda x, at: x.name == at.tube
    ),
    "list_tubes": Said(b"list-tubes\r", lambda c, at: c.list_tubes(), lambda x, at: at.tube in x),
    "list_tube_used": Said(
        b"list-tube-used", lambda c, at: c.list_tube_used(), lambda x, at: x == at.tube
    ),
    "list_tubes_watched": Said(
        b"list-tubes-watched", lambda c, at: c.list_tubes_watched(), lambda x, at: x == [at.tube]
    ),
    "pause_tube": Said(b"pause-tube ", lambda c, at: c.pause_tube(at.tube, 0), equals(None)),
    "reserve": Said(
        b"reserve-with-timeout ", lambda c, at: c.reserve(), is_job(lambda at: at.ready, "ready")
    ),
    "reserve_0": Said(
        b"reserve-with-timeout ",
        lambda c, at: c.reserve(timeout=0),
        is_job(lambda at: at.ready, "ready"),
    ),
    "reserve_many_first": Said(
        b"reserve-with-timeout ",
        lambda c, at: c.reserve_many(3),
        lambda x, at: [job.id for job in x] == [at.ready, *at.more[:2]],
    ),
    "reserve_many_rest": Said(
        b"reserve-with-timeout 0\r\nreserve",
        lambda c, at: c.reserve_many(3),
        lambda x, at: [job.id for job in x] == [at.ready, *at.more[:2]],
    ),
}
ONCE: dict[str, Said] = {
    "put": Said(
        b"put ",
        lambda c, at: c.put(body("put")),
        lambda x, at: at.other.peek(x).body == body("put"),
    ),
    "put_elsewhere": Said(
        b"put ",
        lambda c, at: c.put(body("put"), tube=f"{at.tube}-b"),
        lambda x, at: at.other.stats_job(x).tube == f"{at.tube}-b",
    ),
    "delete": Said(b"delete ", lambda c, at: c.delete(at.ready), equals(None)),
    "kick": Said(b"kick ", lambda c, at: c.kick(1), equals(1)),
    "kick_job": Said(b"kick-job ", lambda c, at: c.kick_job(at.buried), equals(None)),
    "reserve_job": Said(
        b"reserve-job ", lambda c, at: c.reserve_job(at.ready), is_job(lambda at: at.ready, "ready")
    ),
}
HELD: dict[str, Said] = {
    "delete": Said(b"delete ", lambda c, at: c.delete(at.held), equals(None)),
    "delete_id": Said(b"delete ", lambda c, at: c.delete(at.held.id), equals(None)),
    "release": Said(b"release ", lambda c, at: c.release(at.held), equals(True)),
    "bury": Said(b"bury ", lambda c, at: c.bury(at.held), equals(None)),
    "touch": Said(b"touch ", lambda c, at: c.touch(at.held), equals(None)),
    "touch_id": Said(b"touch ", lambda c, at: c.touch(at.held.id), equals(None)),
}


def timed(call: Callable[[Client, Scene], Any], at: Scene, fault: Fault) -> Any:
    """Give the answer or the error of a call, which must come in time."""
    began = time.monotonic()
    try:
        return call(at.client, at)
    except BeanstalkError as error:
        return error
    finally:
        took = time.monotonic() - began
        assert took < (SHORT if fault in SILENT else 1) + 1.5, "it waited beyond the deadline"


def check_what_is_left(
    at: Scene, fault: Fault, *, watched: int = 1, used: bool = True, on_its_line: bool = False
) -> None:
    """Check what must hold after a command under a fault, whatever it was.

    ``on_its_line``: the command went over the connection of the held job.
    """
    client, broken = at.client, fault not in HARMLESS
    assert len(client.list_tubes_watched()) == watched
    assert at.tube in client.list_tubes_watched()
    if used:
        assert client.list_tube_used() == at.tube
    if on_its_line or at.kind == "sync":
        if broken:
            assert at.lost == [[at.held.id]], "the lost job is told once"
            for call in (client.delete, client.release, client.bury, client.touch):
                with pytest.raises(JobLost, match="it was not sent") as told:
                    call(at.held)
                assert (told.value.job_id, told.value.outcome) == (at.held.id, "never-sent")
    elif fault != "half-close-out":
        assert at.lost == []
        client.touch(at.held)
    if broken and at.kind == "sync":
        assert at.reconnects == 1
    if not broken and fault != "half-close-out":
        assert (at.lost, at.reconnects) == ([], 0)
    job_id = client.put(body("afterwards"), tube=at.tube)
    assert at.other.peek(job_id).body == body("afterwards")
    job = client.reserve_job(job_id)
    assert (job.id, job.body) == (job_id, body("afterwards"))
    client.delete(job)


@under_each_fault(SAFE)
def test_what_may_be_repeated(
    server: Server, tube: str, kind: Kind, fault: Fault, name: str
) -> None:
    said = SAFE[name]
    with scene(kind, server, tube, fault) as (at, proxy):
        proxy.arm(said.word, fault)
        answer = timed(said.call, at, fault)
        assert proxy.faults == 1
        if fault in SILENT:
            assert isinstance(answer, CommandTimeoutError), answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            assert said.right(answer, at), answer
        done = not isinstance(answer, BaseException)
        check_what_is_left(
            at,
            fault,
            watched=2 if name == "watch" and done else 1,
            used=name != "use" or not done,
        )


@under_each_fault(ONCE)
def test_what_may_not_be_repeated(
    server: Server, tube: str, kind: Kind, fault: Fault, name: str
) -> None:
    said = ONCE[name]
    with scene(kind, server, tube, fault) as (at, proxy):
        at.other.watch(f"{tube}-b")  # that it lives and counts
        proxy.arm(said.word, fault)
        answer = timed(said.call, at, fault)
        assert proxy.faults == 1
        if fault in HARMLESS:
            if isinstance(answer, BaseException):
                raise answer
            assert said.right(answer, at), answer
        else:
            kind_of_error = CommandTimeoutError if fault in SILENT else ConnectionLostError
            assert type(answer) is kind_of_error, answer
            assert answer.outcome == "unknown"
        check_what_is_left(at, fault)
        done = 0 if fault in UNHEARD or fault == "cut-out" else 1
        stats = [at.other.stats_tube(one) for one in (tube, f"{tube}-b")]
        if name.startswith("put"):
            assert sum(one.total_jobs for one in stats) == at.jobs + done + 1
        if name == "delete":
            assert sum(one.cmd_delete for one in stats) == done + 1


@under_each_fault(HELD)
def test_what_needs_a_reservation(
    server: Server, tube: str, kind: Kind, fault: Fault, name: str
) -> None:
    said = HELD[name]
    with scene(kind, server, tube, fault) as (at, proxy):
        proxy.arm(said.word, fault)
        answer = timed(said.call, at, fault)
        assert proxy.faults == 1
        if fault in HARMLESS:
            if isinstance(answer, BaseException):
                raise answer
            assert said.right(answer, at), answer
        else:
            assert type(answer) is JobLost, answer
            assert (answer.job_id, answer.outcome) == (at.held.id, "unknown")
            assert isinstance(answer.__cause__, ConnectionLostError)
        if fault not in HARMLESS or name.startswith("touch"):
            check_what_is_left(at, fault, on_its_line=True)
        deletes = at.other.stats_tube(tube).cmd_delete
        assert deletes <= 2


# -- many at once -----------------------------------------------------------------


def results(answer: Any) -> list[Any]:
    """The result of each item of a batch."""
    if isinstance(answer, BatchError):
        return answer.results
    if isinstance(answer, BaseException):
        raise answer
    return list(answer)


GENTLE = HARMLESS - {"half-close-out"}
"""Harmless also to what comes after the command."""


def check_lost(one: Any, fault: Fault) -> None:
    assert fault not in GENTLE, one
    assert isinstance(one, ConnectionLostError)
    assert one.outcome == "unknown", "it was sent with the others"


def is_there(at: Scene, job_id: int) -> bool:
    try:
        at.other.peek(job_id)
    except NotFoundError:
        return False
    return True


@under_each_fault()
def test_put_many(server: Server, tube: str, kind: Kind, fault: Fault) -> None:
    bodies = [body(f"put {number}") for number in range(5)]
    with scene(kind, server, tube, fault) as (at, proxy):
        proxy.arm(b"put ", fault)
        answers = results(timed(lambda c, at: c.put_many(bodies), at, fault))
        assert proxy.faults == 1
        assert len(answers) == 5
        for one, sent in zip(answers, bodies, strict=True):
            if isinstance(one, int):
                assert at.other.peek(one).body == sent
            else:
                check_lost(one, fault)
        check_what_is_left(at, fault)
        count = at.other.stats_tube(tube).total_jobs - at.jobs - 1
        most = 2 if fault == "cut-out" else 0 if fault in UNHEARD else 5
        assert sum(isinstance(one, int) for one in answers) <= count <= most
        at.other.watch(tube)
        found = at.other.reserve_many(100)
        assert len({job.body for job in found}) == len(found), "put twice"
        at.other.delete_many(found)


@under_each_fault()
def test_delete_many(server: Server, tube: str, kind: Kind, fault: Fault) -> None:
    with scene(kind, server, tube, fault) as (at, proxy):
        jobs: list[Job | int] = [at.more[0], at.held, *at.more[1:]]
        proxy.arm(b"delete %d" % at.more[0], fault)
        answer = timed(lambda c, at: c.delete_many(jobs), at, fault)
        answers = results([None] * len(jobs) if answer is None else answer)
        assert proxy.faults == 1
        assert len(answers) == len(jobs)
        for one, job in zip(answers, jobs, strict=True):
            if one is None:
                assert not is_there(at, job.id if isinstance(job, Job) else job)
            else:
                assert isinstance(one, ConnectionLostError)
                assert fault not in GENTLE
                assert isinstance(one, JobLost) == isinstance(job, Job)
                assert one.outcome == "unknown" or is_there(
                    at, job if isinstance(job, int) else job.id
                )
        assert at.other.stats_tube(tube).cmd_delete <= len(jobs)
        assert len(at.client.list_tubes_watched()) == 1


@under_each_fault()
def test_a_pipeline(server: Server, tube: str, kind: Kind, fault: Fault) -> None:
    with scene(kind, server, tube, fault) as (at, proxy):
        proxy.arm(b"put ", fault)
        with at.client.pipeline() as pipe:
            put = pipe.add(commands.put(body("put")))
            peeked = pipe.add(commands.peek(at.ready))
            reserved = pipe.add(commands.reserve_job(at.ready))
            touched = pipe.add(commands.touch(at.held))
            deleted = pipe.add(commands.delete(at.more[0]))
        assert proxy.faults == 1
        pending: list[Any] = [put, peeked, reserved, touched, deleted]
        for one in pending:
            if one.error is not None and one is not touched:
                check_lost(one.error, fault)
        if put.error is None:
            assert at.other.peek(put.result()).body == body("put")
        if peeked.error is None:
            assert peeked.result().body == body("ready")
        if at.kind == "sync" and touched.error is not None:
            assert isinstance(touched.error, JobLost)
        if reserved.error is None and fault in GENTLE:
            at.client.touch(reserved.result())
        if reserved.error is None and fault not in HARMLESS:
            with pytest.raises(JobLost):
                at.client.touch(reserved.result())
        count = at.other.stats_tube(tube).total_jobs - at.jobs
        assert count <= 1
        if deleted.error is None:
            assert not is_there(at, at.more[0])
        assert at.other.stats_tube(tube).cmd_delete <= 1
        if fault not in HARMLESS and kind == "sync":
            assert at.lost != []
            assert at.reconnects == 0
        assert at.client.list_tubes_watched() == [tube]
        job_id = at.client.put(body("afterwards"))
        assert at.other.peek(job_id).body == body("afterwards")
