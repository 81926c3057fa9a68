"""The clock of a test server: time passes when the test says so, for everybody."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from datetime import timedelta

import pytest

from beanrow import App, BadValueError, DeadlineSoon, Job, Retry
from beanrow.testing import Beanstalk


def test_time_stands_still(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("x", ttr=2)
    job = client.reserve(timeout=0)
    assert job is not None
    before = beanstalk.clock.now
    time.sleep(0.01)
    assert beanstalk.clock.now == before == 0
    assert client.stats_job(job).time_left == 1


def test_an_hour_of_ttr_passes_at_once(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("x", ttr=3600)
    job = client.reserve(timeout=0)
    assert job is not None
    beanstalk.clock.advance(3599)
    beanstalk.assert_jobs("default", reserved=1)
    with pytest.raises(DeadlineSoon):
        client.reserve(timeout=0)
    beanstalk.clock.advance(1)
    beanstalk.assert_jobs("default", ready=1)
    assert client.stats_job(job).timeouts == 1
    assert beanstalk.clock.now == 3600


def test_things_happen_in_their_order(beanstalk: Beanstalk) -> None:
    """Delays of 30 and 10: who waits gets the job of 10 first, however far the clock jumps."""
    client = beanstalk.client()
    for delay in (30, 10, 20):
        client.put(str(delay), delay=delay, priority=100 - delay)
    got: list[str] = []

    def take() -> None:
        with beanstalk.client() as taker:
            got.append(taker.reserve().text)

    takers = [threading.Thread(target=take) for _ in range(3)]
    for place, taker in enumerate(takers):
        taker.start()
        beanstalk.wait_for("default", waiting=place + 1)
    beanstalk.clock.advance(timedelta(days=1))
    for taker in takers:
        taker.join()
    assert sorted(got) == ["10", "20", "30"]
    assert client.stats().job_timeouts == 3  # each was held for a minute, on the way


def test_the_clock_moves_after_all_that_was_said_before(beanstalk: Beanstalk) -> None:
    host, _, port = beanstalk.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as talk:
        for n in range(1, 20):
            talk.sendall(b"put 0 10 60 1\r\nx\r\n")  # and nobody waits for the answer
            beanstalk.clock.advance(10)
            beanstalk.assert_jobs("default", ready=n)


def test_the_clock_moves_after_what_a_new_connection_said(beanstalk: Beanstalk) -> None:
    host, _, port = beanstalk.address.rpartition(":")
    for n in range(1, 20):
        with socket.create_connection((host, int(port)), timeout=10) as talk:
            talk.sendall(b"put 0 10 60 1\r\nx\r\n" * 100)
            beanstalk.clock.advance(10)
            beanstalk.assert_jobs("default", ready=100 * n)


def test_a_client_that_never_pauses_does_not_stop_the_clock(beanstalk: Beanstalk) -> None:
    client, over = beanstalk.client(), threading.Event()

    def chatter() -> None:
        while not over.is_set():
            client.put_many(["x"] * 500)

    talking = threading.Thread(target=chatter)
    talking.start()
    try:
        for _ in range(20):
            beanstalk.clock.advance(1)
    finally:
        over.set()
        talking.join()


def test_a_pause_passes(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("x")
    client.pause_tube("default", 100)
    assert client.reserve(timeout=0) is None
    beanstalk.clock.advance(100)
    assert client.reserve(timeout=0) is not None


def test_a_wait_of_a_sync_client_ends_with_the_clock(beanstalk: Beanstalk) -> None:
    got: list[Job | None] = []
    client = beanstalk.client()
    waiting = threading.Thread(target=lambda: got.append(client.reserve(timeout=60)))
    waiting.start()
    beanstalk.wait_for("default", waiting=1)
    beanstalk.clock.advance(60)
    waiting.join(10)
    assert got == [None]


def test_a_wait_ends_in_real_time_too(beanstalk: Beanstalk) -> None:
    began = time.monotonic()
    assert beanstalk.client().reserve(timeout=1) is None
    assert time.monotonic() - began >= 0.9
    assert beanstalk.clock.now == 0


def test_a_real_end_is_that_of_its_own_wait(beanstalk: Beanstalk) -> None:
    """A wait of a second is answered early; its end must not end the waits that follow."""
    host, _, port = beanstalk.address.rpartition(":")
    producer = beanstalk.client()
    with socket.create_connection((host, int(port)), timeout=10) as talk:
        for request in (b"reserve-with-timeout 1\r\n", b"reserve-with-timeout 30\r\n"):
            talk.sendall(request)
            beanstalk.wait_for("default", waiting=1)
            producer.put("x")
            assert talk.recv(100).startswith(b"RESERVED")
        talk.sendall(b"reserve\r\n")
        time.sleep(1.1)
        beanstalk.wait_for("default", waiting=1)
        producer.put("x")
        assert talk.recv(100).startswith(b"RESERVED 3 ")


def test_it_may_run(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("x", delay=1)
    beanstalk.clock.run()
    assert client.reserve(timeout=5) is not None
    beanstalk.clock.hold()
    held = beanstalk.clock.now
    assert held >= 1
    assert beanstalk.clock.now == held


@pytest.mark.parametrize("time", [-1, timedelta(seconds=-1), float("nan")])
def test_it_never_goes_back(beanstalk: Beanstalk, time: float | timedelta) -> None:
    with pytest.raises(BadValueError, match="time"):
        beanstalk.clock.advance(time)
    assert beanstalk.clock.now == 0


def test_asyncio(beanstalk: Beanstalk) -> None:
    async def main() -> None:
        async with beanstalk.async_client() as client:
            await client.put("x", delay=3600)
            reserving = asyncio.create_task(client.reserve(timeout=60))
            await asyncio.to_thread(beanstalk.wait_for, "default", waiting=1)
            beanstalk.clock.advance(60)
            assert await reserving is None
            beanstalk.clock.advance(3540)
            job = await client.reserve(timeout=0)
            assert job is not None
            beanstalk.clock.advance(60)
            assert (await client.stats_job(job)).timeouts == 1

    asyncio.run(main())


def test_a_worker_tries_again_after_an_hour(beanstalk: Beanstalk) -> None:
    app = App()
    runs: list[int] = []

    @app.task(tube="emails", retry=Retry(attempts=3, delay=3600))
    def send(n: int) -> None:
        runs.append(n)
        if len(runs) < 3:
            raise ValueError("not yet")

    with beanstalk.working(app):
        send.put(1)
        for _ in range(2):
            beanstalk.wait_for("emails", delayed=1)
            beanstalk.clock.advance(3600)
        beanstalk.wait_for("emails", deleted=1)
    assert runs == [1, 1, 1]


def test_a_worker_whose_lease_is_lost(beanstalk: Beanstalk) -> None:
    """The job is given to somebody else while it runs, and the worker does not delete it."""
    app, began, go_on = App(), threading.Event(), threading.Event()

    @app.task(tube="slow", ttr=120)
    def slow(n: int) -> None:
        if not began.is_set():
            began.set()
            go_on.wait(10)

    with beanstalk.working(app):
        slow.put(1)
        assert began.wait(10)
        beanstalk.clock.advance(120)
        go_on.set()
        beanstalk.wait_for("slow", deleted=1)
    assert beanstalk.client().stats().job_timeouts == 1
