"""A worker of threads, on each kind of server."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

import pytest

from beanrow import (
    App,
    Bury,
    Client,
    LeaseLost,
    Rate,
    Release,
    Retry,
    Run,
    TimeLimitExceeded,
    current_job,
)
from beanrow.worker.letters import read_letter
from beanrow.worker.slot import Slot
from tests.worker.conftest import PATIENCE, Told, is_gone, until, working


def test_each_job_runs_once_and_is_deleted(app: App, client: Client, tube: str, told: Told) -> None:
    ran: list[int] = []

    @app.task(tube=tube)
    def note(n: int) -> None:
        ran.append(n)

    ids = note.put_many((n,) for n in range(300))
    with working(app) as worker:
        told.wait_for("after", count=300)
        until(lambda: is_gone(client, ids[-1]))
    assert sorted(ran) == list(range(300))
    assert (worker.shared.counts.done, worker.shared.counts.lost) == (300, 0)
    assert (told.events[0], told.events[-1]) == (("start",), ("stop",))
    assert all(is_gone(client, job_id) for job_id in ids)


def test_several_tasks_in_one_worker_in_the_order_of_the_server(
    app: App, client: Client, tube: str, told: Told
) -> None:
    ran: list[str] = []

    @app.task(tube=f"{tube}-a")
    def a(word: str) -> None:
        ran.append(f"a {word}")

    @app.task(tube=f"{tube}-b", priority=1)
    async def b(word: str) -> None:
        await asyncio.sleep(0)
        ran.append(f"b {word} {current_job().tube}")

    a.put("one")
    a.put("two")
    b.put("three")
    with working(app, threads=1):
        told.wait_for("after", count=3)
    assert ran == [f"b three {tube}-b", "a one", "a two"]


def test_weights_share_the_turns(app: App, client: Client, tube: str, told: Told) -> None:
    ran: list[str] = []

    @app.task(tube=f"{tube}-a", weight=3)
    def a(n: int) -> None:
        ran.append("a")

    @app.task(tube=f"{tube}-b", priority=1)
    def b(n: int) -> None:
        ran.append("b")

    a.put_many((n,) for n in range(80))
    b.put_many((n,) for n in range(80))
    with working(app, threads=1):
        told.wait_for("after", count=160)
        assert 28 <= ran[:40].count("a") <= 32
        a.put(0)  # and one that comes while it waits for all of them
        told.wait_for("after", count=161)
    assert (ran.count("a"), ran.count("b")) == (81, 80)


def test_a_failure_without_a_policy_is_set_aside(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube, priority=77)
    def fail(n: int) -> None:
        raise ValueError("no good")

    job_id = fail.put(1)
    with working(app):
        told.wait_for("bury", job_id, "ValueError: no good")
    stats = client.stats_job(job_id)
    assert (stats.state, stats.pri, stats.buries) == ("buried", 77, 1)
    assert told.count("failure", job_id, "no good", 1) == 1


def test_attempts_are_the_servers_and_the_last_one_is_the_last(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube, retry=Retry(4, delay=0))
    def fail(n: int) -> None:
        raise ValueError("no good")

    job_id = client.put('{"n": 1}', tube=tube, priority=5)  # any producer's
    client.watch(tube)
    client.release(client.reserve_job(job_id), priority=5)  # any worker's attempt counts
    with working(app):
        told.wait_for("bury", job_id)
    assert [one[3] for one in told.events if one[0] == "failure"] == [2, 3, 4]
    assert told.count("retry", job_id, 0.0) == 2
    assert client.stats_job(job_id).pri == 5


def test_closed_connections_are_no_attempts_until_there_are_too_many(
    app: App, client: Client, server_address: str, tube: str, told: Told
) -> None:
    @app.task(tube=tube, retry=Retry(2, delay=0))
    def fail(n: int) -> None:
        raise ValueError("no good")

    jobs = fail.put(1), fail.put(2)
    for job_id, times in zip(jobs, (10, 11), strict=True):
        for _ in range(times):
            with Client(server_address) as worker:
                worker.reserve_job(job_id)
            until(lambda job_id=job_id: client.stats_job(job_id).state == "ready")  # type: ignore[misc]
    with working(app, threads=2):
        told.wait_for("bury", jobs[0])
        told.wait_for("bury", jobs[1], "WorkerKilled: 11 workers ended while they ran it")
    assert [one[3] for one in told.events if one[:2] == ("failure", jobs[0])] == [1, 2]
    assert told.count("failure", jobs[1]) == 0  # it did not run again


def test_release_and_bury_by_the_function(app: App, client: Client, tube: str, told: Told) -> None:
    @app.task(tube=tube)
    def choose(how: str, n: int) -> None:
        if how == "bury":
            raise Bury("as it asked")
        raise Release(delay=60, priority=3 if how == "urgent" else None)

    later, urgent, buried = choose.put("later", 1), choose.put("urgent", 1), choose.put("bury", 1)
    with working(app):
        told.wait_for("bury", buried, "as it asked")
        told.wait_for("release", later, 60.0)
        told.wait_for("release", urgent, 60.0)
    stats = client.stats_job(later)
    assert (stats.state, stats.delay, stats.pri, stats.releases) == ("delayed", 60, 65536, 1)
    assert client.stats_job(urgent).pri == 3


def test_an_unreadable_body_is_set_aside(app: App, client: Client, tube: str, told: Told) -> None:
    @app.task(tube=tube)
    def note(n: int) -> None: ...

    job_id = client.put(b"\xff\x00", tube=tube)
    with working(app):
        told.wait_for("bury", job_id)
    assert "cannot read its arguments" in told.events[-2][2]


def test_a_dead_letter_holds_the_job_and_its_history(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube, retry=Retry(2, delay=0), dead_letters=f"{tube}-dead", ttr=99)
    def fail(n: int) -> None:
        raise ValueError(f"no good {n}")

    good, binary = fail.put(1), client.put(b"\xff", tube=tube, ttr=99, priority=4)
    with working(app):
        told.wait_for("letter", good, f"{tube}-dead")
        told.wait_for("letter", binary)
        until(lambda: is_gone(client, good) and is_gone(client, binary))
    client.watch(f"{tube}-dead")
    client.ignore("default")
    letters = {}
    for _ in range(2):
        job = client.reserve(timeout=5)
        assert job is not None
        letters[json.loads(job.body)["job"]] = job
        client.delete(job)
    letter = json.loads(letters[good].body)
    assert (letter["tube"], letter["ttr"], letter["body"]) == (tube, 99, '{"n":1}')
    assert letter["error"]["text"] == "no good 1"
    assert "raise ValueError" in letter["error"]["traceback"]
    assert letter["history"]["releases"] == 1
    assert letter["history"]["errors"][0]["error"] == "ValueError: no good 1"
    again = read_letter(letters[binary].body)
    assert (again.body, again.tube, again.priority, again.ttr) == (b"\xff", tube, 4, 99)


def test_a_dead_letter_over_the_limit_is_buried_instead(
    app: App, client: Client, tube: str, told: Told
) -> None:
    @app.task(tube=tube, dead_letters=f"{tube}-dead")
    def fail(text: str, n: int = 0) -> None:
        raise ValueError("no good")

    job_id = fail.put("x" * 65_400)
    with working(app):
        told.wait_for("bury", job_id)
    assert "JOB_TOO_BIG" in told.events[-2][2]
    assert client.stats_job(job_id).state == "buried"


def test_a_job_longer_than_its_ttr_runs_once(
    app: App, client: Client, tube: str, told: Told
) -> None:
    ran: list[int] = []

    @app.task(tube=tube, ttr=1)
    def slow(n: int) -> None:
        ran.append(n)
        time.sleep(2.2)  # the server gives no fraction of a ttr

    job_id = slow.put(1)
    with working(app, threads=2):
        told.wait_for("after", job_id)
        until(lambda: is_gone(client, job_id))
    assert ran == [1]
    assert told.count("lost") == 0


def test_a_lost_lease_is_told_and_its_result_not_acknowledged(
    app: App, client: Client, tube: str, told: Told
) -> None:
    caught: list[str] = []
    slots: list[Slot] = []

    @app.task(tube=tube, ttr=60)
    def slow(n: int) -> None:
        line = slots[0].line
        assert line is not None
        line.interrupt()  # the network goes
        try:
            while True:
                current_job().check()
                time.sleep(0.01)
        except LeaseLost as error:
            caught.append(str(error))

    @app.task(tube=f"{tube}-later", ttr=60)
    async def slow_later(n: int) -> None:
        line = slots[0].line
        assert line is not None
        line.interrupt()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            caught.append("cancelled")
            raise

    for task in (slow, slow_later):
        caught.clear()
        with working(app, threads=1) as worker:
            slots[:] = worker.slots
            job_id = task.put(1)
            told.wait_for("lost", job_id)
            client.reserve_job(job_id)  # the server has put it back; nobody else takes it
        assert len(caught) == 1
        assert worker.shared.counts.lost == 1
        assert worker.shared.counts.done == 0
        client.delete(job_id)


def test_stopping_gives_waiting_slots_their_end_at_once(app: App, tube: str) -> None:
    @app.task(tube=tube)
    def note(n: int) -> None: ...

    with working(app, threads=20) as worker:
        until(lambda: all(slot.line is not None and slot.line._waiting for slot in worker.slots))
        began = time.monotonic()
    assert time.monotonic() - began < 5  # a reserve waits for a minute


def test_stopping_lets_a_job_end_and_takes_no_other(
    app: App, client: Client, tube: str, told: Told
) -> None:
    began, go_on = threading.Event(), threading.Event()

    @app.task(tube=tube)
    def slow(n: int) -> None:
        began.set()
        go_on.wait(10)

    first, second = slow.put(1), slow.put(2)
    with working(app, threads=1) as worker:
        assert began.wait(10)
        worker.stop()
        go_on.set()
    assert is_gone(client, first)
    stats = client.stats_job(second)
    assert (stats.state, stats.reserves) == ("ready", 0)


def test_what_runs_too_long_at_the_end_is_given_back_and_no_attempt(
    app: App, client: Client, tube: str, told: Told
) -> None:
    began, go_on = threading.Event(), threading.Event()

    @app.task(tube=tube)
    def slow(n: int) -> None:
        began.set()
        go_on.wait(10)

    job_id = slow.put(1)
    with working(app, threads=1) as worker:
        assert began.wait(10)
        worker.stop()
        assert not worker.wait(0.1)
        worker.give_back()
        until(lambda: client.stats_job(job_id).state == "ready")
        go_on.set()
    stats = client.stats_job(job_id)
    assert (stats.state, stats.releases, stats.timeouts, stats.reserves) == ("ready", 0, 0, 1)
    assert told.count("lost", job_id) == 1


def test_stopping_under_load_loses_and_doubles_nothing(
    app: App, client: Client, tube: str, told: Told
) -> None:
    ran: list[int] = []

    @app.task(tube=tube)
    def note(n: int) -> None:
        ran.append(n)

    note.put_many((n,) for n in range(3000))
    for _ in range(25):
        with working(app, threads=4):
            seen = len(ran)
            until(lambda seen=seen: len(ran) > min(seen + 40, 2999))  # type: ignore[misc]
    with working(app, threads=4):
        until(lambda: len(ran) >= 3000)
    assert sorted(ran) == list(range(3000))
    assert told.count("lost") == 0


def test_a_soft_time_limit_raises_in_the_function(
    app: App, client: Client, tube: str, told: Told
) -> None:
    caught: list[BaseException] = []

    @app.task(tube=tube, time_limit=0.3)
    def slow(n: int) -> None:
        try:
            while True:
                time.sleep(0.01)
        except TimeLimitExceeded as error:
            caught.append(error)
            raise

    @app.task(tube=f"{tube}-later", time_limit=0.3)
    async def slow_later(n: int) -> None:
        await asyncio.sleep(30)

    ids = slow.put(1), slow_later.put(1)
    with working(app):
        for job_id in ids:
            told.wait_for("bury", job_id)
    assert len(caught) == 1
    for job_id in ids:
        assert client.stats_job(job_id).state == "buried"


def test_a_hard_time_limit_takes_the_job_from_the_function(
    app: App, client: Client, tube: str, told: Told
) -> None:
    stuck, ran = threading.Event(), []

    @app.task(tube=tube, hard_time_limit=0.4)
    def slow(n: int) -> None:
        if n == 1:
            stuck.wait(15)  # a lock that no exception can break
        ran.append(n)

    job_id = slow.put(1)
    try:
        with working(app, threads=1):
            told.wait_for("bury", job_id, "TimeLimitExceeded: longer than 0.4 s")
            slow.put(2)  # in the slot that took its place
            until(lambda: ran == [2])
            stuck.set()
        assert client.stats_job(job_id).state == "buried"
    finally:
        stuck.set()


def test_at_once_and_rate_hold_in_one_worker(
    app: App, client: Client, tube: str, told: Told
) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    began: list[float] = []

    @app.task(tube=f"{tube}-two", at_once=2)
    def two(n: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1

    @app.task(tube=f"{tube}-rated", rate=Rate(20, per=1))
    def rated(n: int) -> None:
        began.append(time.monotonic())

    two.put_many((n,) for n in range(20))
    rated.put_many((n,) for n in range(6))
    start = time.monotonic()
    with working(app, threads=6):
        told.wait_for("after", count=26)
    assert most[0] == 2
    assert began[-1] - start > 5 * 0.049, "six at 20 a second"


def test_a_hook_that_fails(app: App, client: Client, tube: str, told: Told) -> None:
    class Broken(Told):
        def before(self, run: Run) -> None:
            if run.body == b"2":
                raise KeyError("the run's failure")

        def after(self, run: Run) -> None:
            raise KeyError("logged, and nothing else")

    app.middleware.append(Broken())

    @app.task(tube=tube)
    def note(body: bytes) -> None: ...

    one, two = note.put(b"1"), note.put(b"2")
    with working(app, threads=1):
        told.wait_for("bury", two, 'KeyError: "the run\'s failure"')
    assert is_gone(client, one)


def test_bodies_whose_last_bytes_come_in_a_read_of_their_own(
    app: App, client: Client, tube: str, told: Told
) -> None:
    """A read takes 65,536 bytes; what is left may be fewer than a read else waits for."""

    @app.task(tube=tube)
    def take(body: bytes) -> None: ...

    sizes = range(65_490, 65_536)
    take.put_many((b"x" * size,) for size in sizes)
    began = time.monotonic()
    with working(app, threads=1):
        told.wait_for("after", count=len(sizes))
    assert time.monotonic() - began < PATIENCE


@pytest.fixture
def server_address(app: App) -> str:
    return str(app.address)


def test_a_worker_tells_who_it_is(app: App, client: Client, tube: str, told: Told) -> None:
    began, go = threading.Event(), threading.Event()

    @app.task(tube=tube)
    def hold() -> None:
        began.set()
        go.wait(PATIENCE)

    job_id = hold.put()
    with working(app, threads=2):
        assert began.wait(PATIENCE)
        if "list-leases" in client.capabilities():
            (lease,) = [one for one in client.list_leases() if one.id == job_id]
            assert lease.client.endswith(f"/{os.getpid()}")

            def held() -> list[int]:
                named = [one for one in client.list_clients() if one.client == lease.client]
                return sorted(one.held for one in named)

            until(lambda: held() == [0, 1])  # the other thread may be on its way still
        go.set()
        until(lambda: is_gone(client, job_id))
