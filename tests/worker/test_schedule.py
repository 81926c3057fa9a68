"""Schedules: one put a tick, whoever and how many are there to put."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from beanrow import App, BadTypeError, BadValueError, Client
from beanrow.worker.schedule import Schedule
from beanrow.worker.threads import ThreadWorker
from tests.servers import Server
from tests.worker.conftest import Told, until, working

Talk = Any


def scheduled(app: App, tube: str, **settings: Any) -> tuple[Schedule, list[float]]:
    ran: list[float] = []

    @app.every(1, **settings)
    @app.task(tube=tube)
    def note() -> None:
        ran.append(time.time())

    schedule = app.tasks[f"{tube}.schedule"].schedule
    assert schedule is not None
    return schedule, ran


def carry(client: Client, talk: Talk) -> None:
    """Carry a talk through on a client's connection."""
    try:
        said = next(talk)
        while True:
            with client.pipeline() as pipe:
                pending = [pipe.add(one) for one in said]
            said = talk.send([one.error or one.result() for one in pending])
    except StopIteration:
        pass


def token(client: Client, tube: str) -> Any:
    """Reserve the token, whose tick need not be waited for."""
    client.use(f"{tube}.schedule")
    while (waiting := client.peek_delayed()) is not None:
        client.kick_job(waiting)
    client.watch(f"{tube}.schedule")
    job = client.reserve(timeout=5)
    assert job is not None
    return job


def jobs(client: Client, tube: str) -> int:
    if tube not in client.list_tubes():
        return 0
    return client.stats_tube(tube).current_jobs_ready


def test_a_tick_puts_one_job_and_the_next_token(app: App, client: Client, tube: str) -> None:
    schedule, _ = scheduled(app, tube)
    carry(client, schedule.look(100.5))
    carry(client, schedule.look(100.5))  # there is one already
    one = token(client, tube)
    assert json.loads(one.body) == {"tick": 101.0, "when": "every 1 s"}
    carry(client, schedule.tick(one.id, one.body, 101.2))
    assert jobs(client, tube) == 1
    two = token(client, tube)
    assert json.loads(two.body)["tick"] == 102.0


@pytest.mark.parametrize(("missed", "put"), [("one", 1), ("all", 61), ("none", 1)])
def test_missed_ticks(app: App, client: Client, tube: str, missed: str, put: int) -> None:
    schedule, _ = scheduled(app, tube, missed=missed)
    carry(client, schedule.look(100.5))
    one = token(client, tube)
    carry(client, schedule.tick(one.id, one.body, 161.5))
    assert jobs(client, tube) == put
    assert json.loads(token(client, tube).body)["tick"] == 162.0


def test_nothing_is_put_for_a_tick_long_ago_where_none_is_asked_for(
    app: App, client: Client, tube: str
) -> None:
    @app.every("0 0 1 1 *", missed="none")
    @app.task(tube=tube)
    def yearly() -> None: ...

    schedule = app.tasks[f"{tube}.schedule"].schedule
    assert schedule is not None
    client.put(json.dumps({"tick": 0.0, "when": "0 0 1 1 * UTC"}), tube=f"{tube}.schedule")
    one = token(client, tube)
    carry(client, schedule.tick(one.id, one.body, 1000.0))
    assert jobs(client, tube) == 0


@pytest.mark.parametrize("server", ["beanstalkd"], indirect=True)
def test_two_first_tokens_become_one_before_anything_is_put(
    app: App, client: Client, server: Server, tube: str
) -> None:
    """On a server without unique puts."""
    schedule, _ = scheduled(app, tube)
    body = json.dumps({"tick": 101.0, "when": "every 1 s"})
    for _ in range(3):
        client.put(body, tube=f"{tube}.schedule")
    with Client(server.address) as other:
        mine, theirs = token(client, tube), token(other, tube)
        carry(client, schedule.tick(mine.id, mine.body, 101.2))  # theirs is held: it steps back
        assert jobs(client, tube) == 0
        carry(other, schedule.tick(theirs.id, theirs.body, 101.2))  # mine waits: it goes
        assert jobs(client, tube) == 1
        assert client.stats_tube(f"{tube}.schedule").current_jobs_delayed == 1


ours = pytest.mark.parametrize("server", ["beanrow"], indirect=True)
"""The server with unique puts."""


@ours
def test_any_number_of_first_looks_put_one_token(
    app: App, client: Client, server: Server, tube: str
) -> None:
    schedule, _ = scheduled(app, tube)
    both = threading.Barrier(8)

    def look() -> None:
        with Client(server.address) as one:
            both.wait(20)
            carry(one, schedule.look(100.5))

    lookers = [threading.Thread(target=look) for _ in range(8)]
    for one in lookers:
        one.start()
    for one in lookers:
        one.join(20)
    assert client.stats_tube(f"{tube}.schedule").total_jobs == 1


@ours
def test_tokens_of_one_tick_put_its_job_once(
    app: App, client: Client, server: Server, tube: str
) -> None:
    schedule, _ = scheduled(app, tube)
    body = json.dumps({"tick": 101.0, "when": "every 1 s"})
    for _ in range(3):
        client.put(body, tube=f"{tube}.schedule")
    client.watch(f"{tube}.schedule")
    client.watch(tube)  # which keeps it, and its counts
    for one in client.reserve_many(3):
        carry(client, schedule.tick(one.id, one.body, 101.2))
    assert client.stats_tube(tube).total_jobs == 1
    assert client.stats_tube(f"{tube}.schedule").current_jobs_delayed == 1


@ours
@pytest.mark.parametrize("cut", range(6))
def test_a_write_that_was_cut_is_said_again(
    app: App, client: Client, server: Server, tube: str, cut: int
) -> None:
    """However much of it the server had carried out, and though the job is done meanwhile."""
    schedule, _ = scheduled(app, tube)
    carry(client, schedule.look(100.5))
    with Client(server.address) as first:
        one = token(first, tube)
        talk = schedule.tick(one.id, one.body, 101.2)
        said = next(talk)
        while not any(command.name == "delete" for command in said):
            with first.pipeline() as pipe:
                pending = [pipe.add(command) for command in said]
            said = talk.send([each.error or each.result() for each in pending])
        assert len(said) == 5
        with first.pipeline() as pipe:
            for command in said[:cut]:
                pipe.add(command)
    done = 0
    for _ in range(2):
        if jobs(client, tube):
            done += client.drain_tube(tube)
        if client.stats_tube(f"{tube}.schedule").current_jobs_ready:
            client.watch(f"{tube}.schedule")
            again = client.reserve(timeout=5)
            assert again is not None
            carry(client, schedule.tick(again.id, again.body, 101.3))
    assert done == 1
    assert json.loads(token(client, tube).body)["tick"] == 102.0
    assert jobs(client, f"{tube}.schedule") == 0


def test_the_token_of_a_far_tick_is_put_back(app: App, client: Client, tube: str) -> None:
    @app.every("0 0 1 1 *")
    @app.task(tube=tube)
    def yearly() -> None: ...

    schedule = app.tasks[f"{tube}.schedule"].schedule
    assert schedule is not None
    carry(client, schedule.look(100.0))
    one = token(client, tube)
    carry(client, schedule.tick(one.id, one.body, 100.0))
    stats = client.stats_job(one)
    assert (stats.state, stats.delay) == ("delayed", 86_400)
    assert jobs(client, tube) == 0


def test_a_changed_schedule_replaces_its_token(app: App, client: Client, tube: str) -> None:
    old, _ = scheduled(app, tube)
    client.put(
        json.dumps({"tick": 9e9, "when": "0 0 1 1 * UTC"}), tube=f"{tube}.schedule", delay=9999
    )
    carry(client, old.look(100.0))
    one = token(client, tube)
    assert json.loads(one.body) == {"tick": 101.0, "when": "every 1 s"}
    client.put("no token", tube=f"{tube}.schedule")
    client.delete(one)
    strange = token(client, tube)
    carry(client, old.tick(strange.id, strange.body, 100.0))
    assert jobs(client, tube) == 0  # it was not one of ours: the next tick is what counts
    assert json.loads(token(client, tube).body)["tick"] == 101.0


def test_what_cannot_be_scheduled(app: App, tube: str) -> None:
    @app.task(tube=tube)
    def needs(n: int) -> None: ...

    with pytest.raises(BadTypeError, match="missing a required argument"):
        app.every(5)(needs)
    with pytest.raises(BadValueError, match="missed 'some'"):
        app.every(5, missed="some")(app.task(tube=f"{tube}-2")(lambda: None))  # type: ignore[arg-type]


@pytest.mark.long
def test_many_workers_put_each_tick_once(
    app: App, client: Client, server: Server, tube: str, told: Told
) -> None:
    """Started all at once, and one after the other is taken away."""
    _, ran = scheduled(app, tube)
    workers = [ThreadWorker(app, 2) for _ in range(5)]
    starts = [threading.Thread(target=worker.start) for worker in workers]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    until(lambda: len(ran) >= 2)
    begin, seen = time.time(), len(ran)
    for worker in workers[1:]:
        time.sleep(1)  # ticks are what is waited for
        _end(worker)
    until(lambda: len(ran) >= seen + 6)
    passed = time.time() - begin
    _end(workers[0])
    assert abs(len(ran) - seen - passed) <= 1.5
    assert len({int(one) for one in ran}) >= len(ran) - 1


def test_a_scheduled_task_runs_in_each_kind_of_worker(
    app: App, client: Client, tube: str, told: Told
) -> None:
    import asyncio

    from beanrow.worker.tasks import TaskWorker

    _, ran = scheduled(app, tube)

    async def work() -> None:
        worker = TaskWorker(app, 2)
        worker.start()
        await asyncio.to_thread(until, lambda: len(ran) >= 1)
        worker.stop()
        assert await worker.wait(10)
        await worker.close()

    asyncio.run(work())
    seen = len(ran)
    with working(app, 2):
        until(lambda: len(ran) > seen)


def _end(worker: ThreadWorker) -> None:
    worker.stop()
    assert worker.wait(10)
    worker.close()
