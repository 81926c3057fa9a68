"""A server without sockets: the tests named here run again with it, and no socket is opened."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from beanrow import App, CommandTimeoutError, ConnectionLostError
from beanrow.testing import Beanstalk
from tests.testing import test_beanstalk, test_clock, test_faults

client = test_faults.client

test_a_fault_of_its_own_is_told = test_beanstalk.test_a_fault_of_its_own_is_told
test_assert_jobs = test_beanstalk.test_assert_jobs
test_jobs_and_puts = test_beanstalk.test_jobs_and_puts
test_puts_of_every_kind_are_seen = test_beanstalk.test_puts_of_every_kind_are_seen
test_reset = test_beanstalk.test_reset
test_wait_for = test_beanstalk.test_wait_for
test_what_a_failed_assertion_tells = test_beanstalk.test_what_a_failed_assertion_tells

test_a_pause_passes = test_clock.test_a_pause_passes
test_a_wait_ends_with_the_clock = test_clock.test_a_wait_of_a_sync_client_ends_with_the_clock
test_an_hour_of_ttr_passes_at_once = test_clock.test_an_hour_of_ttr_passes_at_once
test_asyncio = test_clock.test_asyncio
test_things_happen_in_their_order = test_clock.test_things_happen_in_their_order
test_time_stands_still = test_clock.test_time_stands_still

test_a_client_gets_a_slow_body = test_faults.test_a_client_gets_a_slow_body
test_a_fault_waits_for_its_command = test_faults.test_a_fault_waits_for_its_command
test_cut_leaves_the_outcome_unknown = test_faults.test_cut_leaves_the_outcome_unknown
test_disconnect = test_faults.test_disconnect
test_drain = test_faults.test_drain
test_hang_is_ended_by_a_deadline = test_faults.test_hang_is_ended_by_the_deadline_of_a_client
test_out_of_memory = test_faults.test_out_of_memory


@pytest.fixture
def beanstalk() -> Iterator[Beanstalk]:
    with Beanstalk(sockets=False) as running:
        yield running


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "socketpair", refuse)


def test_no_socket_is_opened(no_sockets: None) -> None:
    with Beanstalk(sockets=False) as beanstalk:
        mine = beanstalk.client()
        mine.put_many([f"{n}" for n in range(1000)], tube="many")
        mine.watch("many")
        assert len(mine.reserve_many(1000)) == 1000
        beanstalk.assert_jobs("many", reserved=1000)
        mine.quit()
    assert repr(beanstalk) == "<Beanstalk without sockets>"


def test_it_has_no_address(beanstalk: Beanstalk) -> None:
    for ask in (lambda: beanstalk.address, lambda: beanstalk.use_for(App())):
        with pytest.raises(RuntimeError, match="without sockets"):
            ask()


def test_a_large_body_and_many_replies(beanstalk: Beanstalk) -> None:
    with Beanstalk(sockets=False, max_job_size=10_000_000) as large:
        mine = large.client()
        body = b"x" * 10_000_000
        mine.put(body)
        job = mine.reserve()
        assert job.body == body
        mine.delete(job)


def test_threads(beanstalk: Beanstalk) -> None:
    mine = beanstalk.client()
    done: list[int] = []

    def work() -> None:
        for n in range(50):
            mine.put(f"{n}")
            mine.delete(mine.reserve(timeout=5) or 0)
            done.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 200
    beanstalk.assert_jobs("default")


def test_a_silent_server_is_given_up(beanstalk: Beanstalk) -> None:
    mine = beanstalk.client(timeout=0.1)
    beanstalk.faults.hang("stats")
    with pytest.raises(CommandTimeoutError, match="unix:in-memory"):
        mine.stats()
    assert mine.stats().current_connections == 1


def test_many_tasks_share_a_client(beanstalk: Beanstalk) -> None:
    async def main() -> None:
        async with beanstalk.async_client() as mine:
            ids = await asyncio.gather(*(mine.put(f"{n}") for n in range(1000)))
            assert sorted(ids) == list(range(1, 1001))
            jobs = [await mine.reserve(timeout=0) for _ in range(10)]
            await asyncio.gather(*(mine.delete(job) for job in jobs if job))
            beanstalk.faults.cut("put")
            with pytest.raises(ConnectionLostError):
                await mine.put("cut")
            waiting = asyncio.create_task(mine.reserve())
            assert (await waiting).text == "10"

    asyncio.run(main())
    beanstalk.wait_for("default", ready=991)  # what was held is ready, and the cut one is there


def test_a_loop_that_ended_without_closing_its_client(beanstalk: Beanstalk) -> None:
    async def main() -> None:
        await beanstalk.async_client().put("x")

    asyncio.run(main())
    beanstalk.client().put("y")
    assert beanstalk.faults.disconnect() >= 1
    beanstalk.assert_put("default", count=2)
