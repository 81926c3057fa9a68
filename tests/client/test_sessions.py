"""Jobs that outlive the connection that reserved them, in both clients, on a real server.

What must hold: a job of a session that was resumed is never lost and never somebody else's; one
whose session is over is lost and says so; and whoever leaves on purpose keeps nobody waiting.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beanrow import (
    BadValueError,
    BatchError,
    Client,
    ConnectionLostError,
    Job,
    JobLost,
    NotFoundError,
    NotOfferedError,
)
from beanrow.protocol import commands
from tests.client.blocking import Blocking, Kind, each_kind, opened
from tests.client.proxy import FAULTS, HARMLESS, SILENT, UNHEARD, CuttingProxy, Fault
from tests.client.test_fork import FINE, in_child
from tests.servers import Daemon, OurServer

GRACE = 3600
_numbers = itertools.count(1)
BODY = b"x" * 300
NOTICED = 0.02
"""Seconds after which a connection is looked at before something is said over it."""


@pytest.fixture(scope="module")
def serving() -> Iterator[OurServer]:
    with OurServer() as running:
        yield running


class Scene:
    """A client with a session behind a proxy, and another one that is not, in one tube.

    ``lost`` is what the hook told.
    """

    def __init__(self, client: Client, other: Client, proxy: CuttingProxy, tube: str) -> None:
        self.client, self.other, self.proxy, self.tube = client, other, proxy, tube
        self.lost: list[list[int]] = []
        for one in (client, other):
            one.use(tube)
            one.watch(tube)

    def reserved(self) -> Job:
        job = self.client.reserve(timeout=0)
        assert job is not None
        return job


@contextmanager
def scene(
    kind: Kind, server: OurServer, *, session: float = GRACE, timeout: float = 10.0
) -> Iterator[Scene]:
    lost: list[list[int]] = []
    with (
        Client(server.address) as other,
        CuttingProxy(server.address) as proxy,
        opened(
            kind,
            proxy.address,
            session=session,
            timeout=timeout,
            on_jobs_lost=lost.append,
        ) as client,
    ):
        one = Scene(client, other, proxy, f"tube-{next(_numbers)}")
        one.lost = lost
        yield one


def put(other: Client, count: int = 1) -> list[int]:
    return other.put_many([BODY] * count, ttr=1000)


# -- a connection that breaks while nothing is said -------------------------------


@each_kind
def test_a_job_is_held_over_a_lost_connection(kind: Kind, serving: OurServer) -> None:
    with scene(kind, serving) as one:
        put(one.other, 3)
        jobs = [one.reserved() for _ in range(3)]
        for _ in range(2):
            one.proxy.cut_all()
            assert one.other.reserve(timeout=0) is None
            one.client.touch(jobs[0])
        one.client.delete(jobs[0])
        one.proxy.cut_all()
        one.client.release(jobs[1].id)  # by its id
        one.client.bury(jobs[2])
        found = one.other.reserve(timeout=0)
        assert found is not None
        assert found.id == jobs[1].id
        stats = one.other.stats_job(found)
        assert (stats.reserves, stats.releases, stats.timeouts) == (2, 1, 0)
        assert one.other.stats_job(jobs[2]).state == "buried"
        assert one.lost == []
        with pytest.raises(NotFoundError):
            one.client.delete(jobs[0])


@each_kind
def test_a_batch_goes_on_too(kind: Kind, serving: OurServer) -> None:
    with scene(kind, serving) as one:
        put(one.other, 250)
        jobs = one.client.reserve_many(250)
        assert len(jobs) == 250
        one.proxy.cut_all()
        time.sleep(NOTICED)
        one.client.delete_many(jobs[:100])
        one.proxy.cut_all()
        time.sleep(NOTICED)
        with one.client.pipeline() as pipe:
            told = [pipe.add(commands.delete(job)) for job in jobs[100:200]]
        assert [one.error for one in told] == [None] * 100
        one.proxy.cut_all()
        one.client.delete_and_reserve(jobs[200], timeout=0)
        assert one.other.stats_tube(one.tube).current_jobs_reserved == 49
        assert one.lost == []


@each_kind
def test_a_reserve_goes_on_with_the_session_first(kind: Kind, serving: OurServer) -> None:
    with scene(kind, serving) as one:
        first, second = put(one.other, 2)
        job = one.reserved()
        one.proxy.cut_all()
        assert one.reserved().id == second
        one.client.delete(job)
        with pytest.raises(NotFoundError):
            one.other.peek(first)


def test_a_job_is_finished_by_another_thread(serving: OurServer) -> None:
    """Whichever thread comes first opens the heir; the other one goes on with it."""
    with scene("sync", serving) as one, ThreadPoolExecutor(1) as thread:
        put(one.other, 3)
        jobs = one.client.reserve_many(3)
        one.proxy.cut_all()
        thread.submit(one.client.delete, jobs[0]).result(20)
        one.client.touch(jobs[1])
        one.proxy.cut_all()
        one.client.delete(jobs[1])
        thread.submit(one.client.delete_many, jobs[2:]).result(20)
        assert one.lost == []


# -- a connection that breaks under a command -------------------------------------


@each_kind
@pytest.mark.parametrize("fault", FAULTS)
def test_a_delete_under_a_fault(kind: Kind, serving: OurServer, fault: Fault) -> None:
    """It is sent again where the session shows that it was not done; at the end it is, once."""
    with scene(kind, serving, timeout=0.3 if fault in SILENT else 10.0) as one:
        (job_id,) = put(one.other)
        job = one.reserved()
        one.proxy.arm(b"delete ", fault)
        outcome = outcome_of(one.client, job)
        if fault in SILENT:
            assert outcome == "unknown"
            outcome = outcome_of(one.client, job)
        if outcome:
            assert fault not in HARMLESS | UNHEARD
            assert one.lost == [[job_id]]  # it was done, as the server says
        with pytest.raises(NotFoundError):
            one.other.peek(job_id)
        assert one.other.stats_tube(one.tube).cmd_delete == 1


def outcome_of(client: Client, job: Job) -> str:
    """What is known of a delete that failed; nothing if it did not."""
    try:
        client.delete(job)
    except ConnectionLostError as error:
        return error.outcome
    return ""


@each_kind
def test_a_job_that_a_lost_reply_brought_goes_back(kind: Kind, serving: OurServer) -> None:
    with scene(kind, serving) as one:
        held, unknown = put(one.other, 2)
        job = one.reserved()
        assert job.id == held
        one.proxy.arm(b"reserve-with-timeout ", "close-after")
        if kind == "sync":  # the same connection
            assert one.reserved().id == unknown
        else:  # delete and reserve in one write, over the line of the job
            one.proxy.arm(b"reserve-with-timeout ", "close-after")
            with pytest.raises((BatchError, JobLost)):  # the delete was answered or not
                one.client.delete_and_reserve(job, timeout=0)
            assert one.reserved().id == unknown
        assert one.other.stats_job(unknown).releases == 1


@each_kind
def test_a_session_is_taken_over_while_the_server_sees_the_first_connection(
    kind: Kind, serving: OurServer
) -> None:
    with scene(kind, serving, timeout=0.3) as one:
        put(one.other)
        job = one.reserved()
        one.proxy.hold()  # as a cable that is pulled out: nobody is told
        with pytest.raises(ConnectionLostError):
            one.client.touch(job)
        assert one.other.stats_job(job).state == "reserved"
        one.client.touch(job)
        one.client.delete(job)


# -- sessions that are over -------------------------------------------------------


@each_kind
def test_a_job_is_lost_when_the_grace_is_over(kind: Kind, serving: OurServer) -> None:
    with scene(kind, serving, session=0.5) as one:
        (job_id,) = put(one.other)
        job = one.reserved()
        one.proxy.cut_all()
        found = one.other.reserve(timeout=10)
        assert found is not None
        assert found.id == job_id
        for call in (one.client.touch, one.client.delete):
            with pytest.raises(JobLost, match="the grace ran out"):
                call(job)
        assert one.lost == [[job_id]]
        assert one.other.stats_job(found).state == "reserved"
        one.other.release(found)
        again = one.reserved()
        with pytest.raises(JobLost):
            one.client.delete(job)  # the one of before
        one.client.delete(again)


@each_kind
def test_a_restarted_server_has_no_sessions(kind: Kind, tmp_path: Path) -> None:
    with (
        OurServer("--data", str(tmp_path)) as first,
        CuttingProxy(first.address) as proxy,
        opened(kind, proxy.address, session=GRACE) as client,
    ):
        job_id = client.put("x", ttr=1000)
        job = client.reserve(timeout=0)
        assert job is not None
        first.process.kill()
        first.process.wait()
        with OurServer("--data", str(tmp_path)) as second:
            proxy._port = second.port
            proxy.cut_all()
            with pytest.raises(JobLost, match="not among those of the session"):
                client.delete(job)
            again = client.reserve(timeout=10)
            assert again is not None
            assert again.id == job_id
            client.delete(again)


@each_kind
def test_a_server_without_sessions_is_refused(kind: Kind, daemon: Daemon) -> None:
    told = r"'session'.*lost with its connection; leave session= out"
    client: Any = (Client if kind == "sync" else Blocking)(daemon.address, session=5)
    with pytest.raises(NotOfferedError, match=told):
        client.reserve(timeout=0)
    if kind == "async":
        client.end()


@pytest.mark.parametrize("session", [-1, 86_401, float("nan")])
def test_a_grace_is_a_day_at_most(session: float) -> None:
    with pytest.raises(BadValueError, match="session"):
        Client("localhost", session=session)


# -- leaving on purpose -----------------------------------------------------------


@each_kind
def test_who_leaves_keeps_nobody_waiting(kind: Kind, our_server: OurServer) -> None:
    with Client(our_server.address) as other:
        put(other, 2)
        for leave in ("close", "quit"):
            with opened(kind, our_server.address, session=GRACE) as client:
                assert client.reserve(timeout=0) is not None
                getattr(client, leave)()
            found = other.reserve(timeout=10)
            assert found is not None
            other.delete(found)


def test_a_thread_that_ends_gives_its_jobs_back(serving: OurServer) -> None:
    with scene("sync", serving) as one:
        for cut in (False, True):
            put(one.other)
            jobs: list[Job] = []
            thread = threading.Thread(target=_reserve, args=(one.client, jobs, one.proxy, cut))
            thread.start()
            thread.join(20)
            found = one.other.reserve(timeout=10)
            assert found is not None
            assert found.id == jobs[0].id
            with pytest.raises(JobLost):
                one.client.delete(jobs[0])
            one.other.delete(found)


def _reserve(client: Client, jobs: list[Job], proxy: CuttingProxy, cut: bool) -> None:
    job = client.reserve(timeout=0)
    assert job is not None
    if cut:
        proxy.cut_all()
        client.touch(job)
    jobs.append(job)


def test_a_reserve_that_is_cancelled_leaves_what_is_held(our_server: OurServer) -> None:
    import asyncio

    blocking = Blocking(our_server.address, session=GRACE)
    with Client(our_server.address) as other:
        put(other)
        job = blocking.reserve(timeout=0)

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(blocking.client.reserve(), 0.1)

        blocking.do(give_up())
        put(other)
        assert other.reserve(timeout=10) is not None
        blocking.delete(job)
        blocking.end()


def test_a_forked_process_does_not_take_the_session(serving: OurServer) -> None:
    with scene("sync", serving) as one:
        put(one.other)
        job = one.reserved()
        one.proxy.cut_all()
        with pytest.raises(ConnectionLostError):
            _say_over(one.client, job)

        def delete() -> None:
            with pytest.raises(JobLost, match="held by the process"):
                one.client.delete(job)

        assert in_child(delete) == FINE
        one.client.delete(job)


def _say_over(client: Client, job: Job) -> None:
    """Have the client notice that its connection is gone, and no more."""
    holder: Any = job.holder
    end = time.monotonic() + 10
    while time.monotonic() < end:
        holder.converse(b"touch %d\r\n" % job.id, lambda *_: None)
        time.sleep(0.02)


# -- secrets ----------------------------------------------------------------------


@each_kind
def test_no_log_has_a_token(
    kind: Kind, our_server: OurServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "beanrow.wire")
    with Client(our_server.address) as other, CuttingProxy(our_server.address) as proxy:
        put(other)
        with opened(kind, proxy.address, session=GRACE, trace=True) as client:
            job = client.reserve(timeout=0)
            assert job is not None
            token = job.holder.token  # type: ignore[attr-defined]
            assert len(token) == 32
            proxy.cut_all()
            client.delete(job)
            assert "resume ..." in caplog.text
            assert "SESSION ..." in caplog.text
            assert token not in caplog.text


# -- a bad network ----------------------------------------------------------------


class Ledger:
    """Who has which job in hand, and which were done: nobody may have one that another has."""

    def __init__(self) -> None:
        self.in_hand: set[int] = set()
        self.done: set[int] = set()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def take(self, job: int) -> None:
        with self._lock:
            if job in self.in_hand:
                self.wrong.append(f"{job} is in two hands")
            if job in self.done:
                self.wrong.append(f"{job} was done before")
            self.in_hand.add(job)

    def end(self, job: int) -> None:
        with self._lock:
            self.in_hand.discard(job)
            self.done.add(job)


def _work(client: Client, ledger: Ledger, chance: random.Random) -> None:
    """Take jobs, hold them for a while, and finish them, until there are no more."""
    while True:
        try:
            jobs = client.reserve_many(chance.choice([1, 1, 3]), timeout=1)
        except ConnectionLostError:
            continue
        if not jobs:
            return
        for job in jobs:
            ledger.take(job.id)
        for job in jobs:
            time.sleep(chance.choice([0, 0.001, 0.02]))
            for finish in (client.touch, client.delete)[chance.randrange(2) :]:
                _say_until_told(finish, job, ledger)
            ledger.end(job.id)


def _say_until_told(finish: Callable[[Job], object], job: Job, ledger: Ledger) -> None:
    while True:
        try:
            finish(job)
        except JobLost as error:
            if error.outcome == "never-sent" and finish.__name__ == "touch":
                ledger.wrong.append(f"{error}")  # nothing can have taken it away
        except ConnectionLostError:
            continue
        return


@each_kind
def test_a_network_that_is_cut_all_the_time(kind: Kind, serving: OurServer, tube: str) -> None:
    chance, ledger = random.Random(7), Ledger()
    with Client(serving.address) as other, CuttingProxy(serving.address) as proxy:
        other.use(tube)
        ids = other.put_many([b"x"] * 60, ttr=1000)
        over = threading.Event()

        def cut() -> None:
            while not over.wait(chance.choice([0.003, 0.02, 0.05])):
                proxy.cut_all()

        def work(number: int) -> None:
            with opened(kind, proxy.address, session=GRACE) as client:
                client.watch(tube)
                client.ignore("default")
                everyone.wait(20)
                _work(client, ledger, random.Random(number))

        cutter = threading.Thread(target=cut)
        everyone = threading.Barrier(3, cutter.start)
        try:
            with ThreadPoolExecutor(3) as pool:
                for done in [pool.submit(work, number) for number in range(3)]:
                    done.result(50)
        finally:
            over.set()
            cutter.join()
        assert ledger.wrong == []
        assert ledger.done == set(ids)
        assert other.stats_tube(tube).current_jobs_reserved == 0
        assert other.stats_tube(tube).cmd_delete == 60
