"""Several gateways on one engine are one queue, also when one of them dies."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from beanrow import Client, DrainingError, Job, OutOfMemoryError
from tests.cluster.waiter import await_waiter
from tests.engines import Engine
from tests.server.talk import Talk, until
from tests.servers import GatewayServer

Two = tuple[GatewayServer, GatewayServer]


def test_what_one_takes_the_other_gives(two_gateways: Two, tube: str) -> None:
    with Client(two_gateways[0].address) as one, Client(two_gateways[1].address) as other:
        job_id = one.put("x", tube=tube, priority=7)
        other.watch(tube)
        job = other.reserve(timeout=5)
        assert job is not None
        assert (job.id, job.body) == (job_id, b"x")
        assert one.stats_job(job_id).state == "reserved"
        other.release(job, priority=3)
        assert one.stats_job(job_id).pri == 3
        one.delete(job_id)
        assert other.reserve(timeout=0) is None


def test_a_job_wakes_who_waits_at_the_other(two_gateways: Two, tube: str) -> None:
    """At once, and not when the waiting ones are looked after."""
    with Talk(two_gateways[0]) as waiting, Client(two_gateways[1].address) as other:
        waiting.ask(b"watch %b\r\n" % tube.encode())
        waits = []
        for _ in range(10):
            waiting.send(b"reserve\r\n")
            await_waiter(two_gateways[0], tube)
            begun = time.monotonic()
            job_id = other.put("x", tube=tube)
            assert waiting.reply() == b"RESERVED %d 1\r\nx\r\n" % job_id
            waits.append(time.monotonic() - begun)
            assert waiting.ask(b"delete %d\r\n" % job_id) == b"DELETED\r\n"
        assert sorted(waits)[5] < 0.4, waits


def test_a_delay_that_ends_wakes_who_waits_at_the_other(two_gateways: Two, tube: str) -> None:
    with Talk(two_gateways[0]) as waiting, Client(two_gateways[1].address) as other:
        waiting.ask(b"watch %b\r\n" % tube.encode())
        waiting.send(b"reserve\r\n")
        await_waiter(two_gateways[0], tube)
        job_id = other.put("x", tube=tube, delay=1)
        assert waiting.reply() == b"RESERVED %d 1\r\nx\r\n" % job_id


def test_word_of_a_job_is_passed_on_by_who_has_nobody_left(two_gateways: Two, tube: str) -> None:
    """The first gateway is told, but its waiter has gone meanwhile."""
    name = tube.encode()
    for _ in range(20):
        with Talk(two_gateways[0]) as leaving, Talk(two_gateways[1]) as staying:
            for talk in (leaving, staying):
                talk.ask(b"watch %b\r\n" % name)
                talk.send(b"reserve\r\n")
            await_waiter(two_gateways[0], tube)
            await_waiter(two_gateways[1], tube)
            leaving.close()
            with Client(two_gateways[0].address) as client:
                job_id = client.put("x", tube=tube)
            assert staying.reply() == b"RESERVED %d 1\r\nx\r\n" % job_id
            assert staying.ask(b"delete %d\r\n" % job_id) == b"DELETED\r\n"


def test_no_word_of_a_job_is_lost(two_gateways: Two, tube: str) -> None:
    """Whoever waits in several tubes hears of all of them: the look after lost words is for deaths."""
    waits: list[float] = []
    done = threading.Event()

    def work(number: int) -> None:
        with Client(two_gateways[number % 2].address) as client:
            for place in range(3):
                client.watch(f"{tube}-{(number + place) % 5}")
            while not done.is_set():
                if (job := client.reserve(timeout=1)) is not None:
                    waits.append(time.monotonic() - float(job.text))
                    client.delete(job)

    with ThreadPoolExecutor(10) as pool:
        working = [pool.submit(work, number) for number in range(10)]
        with Client(two_gateways[0].address) as one, Client(two_gateways[1].address) as other:
            for number in range(300):
                putting = (one, other)[number % 2]
                putting.put(str(time.monotonic()), tube=f"{tube}-{number % 5}")
                time.sleep(0.002)  # so that somebody waits again
        end = time.monotonic() + 20
        while len(waits) < 300 and time.monotonic() < end:
            time.sleep(0.01)
        done.set()
        for one_of_them in working:
            one_of_them.result()
    assert len(waits) == 300
    assert sum(wait > 0.8 for wait in waits) < 4, sorted(waits)[-5:]  # a machine may stall


def test_jobs_leave_by_priority_over_tubes_of_many_partitions(two_gateways: Two, tube: str) -> None:
    pick = random.Random(7)
    with Client(two_gateways[0].address) as one, Client(two_gateways[1].address) as other:
        tubes = [f"{tube}-{number}" for number in range(12)]
        wanted = []
        for name in tubes:
            other.watch(name)
            for _ in range(4):
                priority = pick.randrange(1000)
                wanted.append((priority, one.put("x", tube=name, priority=priority)))
        got = []
        while (job := other.reserve(timeout=0)) is not None:
            got.append(job.id)
            other.delete(job)
        priorities = {job_id: priority for priority, job_id in wanted}
        assert [priorities[job_id] for job_id in got] == sorted(priorities.values())


def test_both_tell_the_same_statistics(two_gateways: Two, tube: str) -> None:
    """What another gateway counts is told a second late at most."""
    with Client(two_gateways[0].address) as one, Client(two_gateways[1].address) as other:
        for client in (one, other):
            client.use(tube)
            client.watch(tube)
        one.put("x")
        deadline = time.monotonic() + 10
        while True:
            seen = [client.stats_tube(tube) for client in (one, other)]
            if all((told.current_using, told.current_watching) == (2, 2) for told in seen):
                break
            assert time.monotonic() < deadline, seen
        assert seen[0] == seen[1]
        while one.stats().cmd_put != other.stats().cmd_put:
            assert time.monotonic() < deadline
        one.delete_many([job for job in [one.peek_ready()] if job])


def test_a_gateway_that_ends_gives_back_what_it_held(
    two_gateways: Two, start_gateway: Callable[..., GatewayServer], engine: Engine, tube: str
) -> None:
    third = start_gateway(store=engine.url)
    with Client(two_gateways[0].address) as staying, Client(third.address) as held_there:
        put_before = staying.stats().cmd_put
        held_there.watch(tube)
        job_id = held_there.put("x", tube=tube)
        assert held_there.reserve(timeout=5) is not None
        staying.watch(tube)
        os.kill(third.pid, signal.SIGTERM)
        job = staying.reserve(timeout=10)
        assert isinstance(job, Job)
        assert job.id == job_id
        third.process.wait(10)
        assert staying.stats_job(job).timeouts == 0
        deadline = time.monotonic() + 10
        while staying.stats().cmd_put != put_before + 1:  # it has left what it had counted
            assert time.monotonic() < deadline
        staying.delete(job)


def test_a_gateway_that_dies_loses_its_leases_to_the_others(
    two_gateways: Two, start_gateway: Callable[..., GatewayServer], engine: Engine, tube: str
) -> None:
    dying = start_gateway(store=engine.url)
    with Client(two_gateways[1].address) as staying, Client(dying.address) as holder:
        holder.watch(tube)
        ids = {holder.put("x", tube=tube, ttr=600) for _ in range(20)}
        held = {job.id for job in holder.reserve_many(20)}
        assert held == ids
        staying.watch(tube)
        os.kill(dying.pid, signal.SIGKILL)
        begun = time.monotonic()
        again: set[int] = set()
        while again != ids:
            job = staying.reserve(timeout=20)
            assert job is not None, f"{len(again)} of {len(ids)} came back"
            again.add(job.id)
        assert time.monotonic() - begun < 10
        staying.delete_many(ids)


def test_a_gateway_that_was_given_up_closes_its_clients(
    two_gateways: Two, start_gateway: Callable[..., GatewayServer], engine: Engine, tube: str
) -> None:
    """It was stopped for longer than it may be silent, and does not know it."""
    stopped = start_gateway(store=engine.url)
    with Talk(stopped) as holder, Client(two_gateways[0].address) as staying:
        job_id = staying.put("x", tube=tube, ttr=600)
        holder.ask(b"watch %b\r\n" % tube.encode())
        assert holder.ask(b"reserve\r\n") == b"RESERVED %d 1\r\nx\r\n" % job_id
        os.kill(stopped.pid, signal.SIGSTOP)
        staying.watch(tube)
        assert staying.reserve(timeout=20) is not None
        holder.send(b"delete %d\r\n" % job_id)
        os.kill(stopped.pid, signal.SIGCONT)
        assert holder.reply() in (b"NOT_FOUND\r\n", b"")
        while "gave this gateway" not in stopped.told():
            time.sleep(0.05)
        with Talk(stopped) as again:
            assert again.ask(b"peek %d\r\n" % job_id).startswith(b"FOUND")
        staying.delete(job_id)


def test_an_engine_without_memory_refuses_puts_and_nothing_else(
    fresh_engine: Engine, start_gateway: Callable[..., GatewayServer], tube: str
) -> None:
    gateway = start_gateway(store=fresh_engine.url)
    with Client(gateway.address) as client:
        client.use(tube)
        client.watch(tube)
        job_id = client.put("x")
        fresh_engine.ask("CONFIG", "SET", "maxmemory", "1mb")
        try:
            client.put("y" * 10000)
        except OutOfMemoryError:
            pass
        else:
            raise AssertionError("a put was taken for which there is no memory")
        job = client.reserve(timeout=5)
        assert job is not None
        assert job.id == job_id
        client.touch(job)
        client.bury(job)
        assert client.kick(1) == 1
        client.delete(job_id)
        fresh_engine.ask("CONFIG", "SET", "maxmemory", "0")
        client.delete(client.put("z"))


def test_all_gateways_can_be_drained_at_once(
    fresh_engine: Engine, start_gateway: Callable[..., GatewayServer]
) -> None:
    gateways = [start_gateway(store=fresh_engine.url) for _ in range(2)]
    library = fresh_engine.ask("FUNCTION", "LIST")[0][1].decode().removeprefix("beanrow_")
    for state in (b"true", b"false"):
        fresh_engine.ask("FCALL", f"bean{library}_drain", 1, b"br{460}:", int(state == b"true"))
        for gateway in gateways:
            with Talk(gateway) as talk:
                while b"draining: %b\n" % state not in talk.ask(b"stats\r\n"):
                    time.sleep(0.05)
    with Client(gateways[0].address) as client:
        os.kill(gateways[0].pid, signal.SIGUSR1)
        with Talk(gateways[0]) as talk:
            while b"draining: true" not in talk.ask(b"stats\r\n"):
                time.sleep(0.01)
        try:
            client.put("x")
        except DrainingError:
            pass
        else:
            raise AssertionError("a gateway that drains has taken a job")
        with Client(gateways[1].address) as other:
            other.delete(other.put("x"))


def test_what_an_engine_forgot_is_loaded_again(
    fresh_engine: Engine, start_gateway: Callable[..., GatewayServer]
) -> None:
    gateway = start_gateway(store=fresh_engine.url)
    fresh_engine.ask("FUNCTION", "FLUSH")
    with Client(gateway.address) as client:
        client.delete(client.put("x"))


def test_an_engine_that_restarts_is_waited_for(
    fresh_engine: Engine, start_gateway: Callable[..., GatewayServer], tube: str
) -> None:
    """A put that comes meanwhile is held until it is back; who waits waits on."""
    gateway = start_gateway(store=fresh_engine.url)
    with Talk(gateway) as waiting, Client(gateway.address) as client:
        waiting.ask(b"watch %b\r\n" % tube.encode())
        before = client.put("before", tube=tube)
        assert waiting.ask(b"reserve\r\n").startswith(b"RESERVED %d" % before)
        assert waiting.ask(b"delete %d\r\n" % before) == b"DELETED\r\n"
        waiting.send(b"reserve\r\n")
        await_waiter(gateway, tube)
        time.sleep(1.1)  # for the append-only file, which is synced each second
        fresh_engine.kill()
        fresh_engine.start()
        job_id = client.put("after", tube=tube)
        assert job_id > before
        assert waiting.reply() == b"RESERVED %d 5\r\nafter\r\n" % job_id


def test_a_connection_is_counted_where_it_is(two_gateways: Two) -> None:
    with Talk(two_gateways[0]) as talk:
        before = talk.figure("current-connections")
        with Talk(two_gateways[0]) as other:
            other.ask(b"list-tube-used\r\n")
            until(talk, "current-connections", before + 1)
        until(talk, "current-connections", before)
