"""Threads that share one client: each has its own replies, and the client's tubes hold on all."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from beanrow import (
    Client,
    ClientClosedError,
    CommandTimeoutError,
    ConnectionLostError,
    Job,
    JobLost,
    NotFoundError,
    NotIgnoredError,
)
from tests.client.proxy import CuttingProxy
from tests.client.scripted import ScriptedServer
from tests.servers import Daemon, Server


def in_thread(call: Callable[[], object]) -> threading.Thread:
    """Run it in a thread of its own, which then ends."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return thread


@contextlib.contextmanager
def beside(call: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Run it in a thread beside the block; gives what it raised, if anything."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield raised
    finally:
        thread.join(30)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)  # what is waited for is in another process


def reserved(client: Client) -> Job:
    job = client.reserve(timeout=10)
    assert job is not None
    return job


@pytest.mark.parametrize("seed", range(3))
def test_each_reply_belongs_to_its_caller(client: Client, tube: str, seed: int) -> None:
    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        ids: dict[int, str] = {}
        for step in range(60):
            known = chance.choice(list(ids)) if ids else 0
            what = chance.randrange(8) if known else 0
            if what == 0:
                text = f"{number} {step} " * chance.choice([1, 2000])
                ids[client.put(text, delay=1000)] = text
            elif what == 1:
                assert client.peek(known).text == ids[known]
            elif what == 2:
                assert client.stats_job(known).id == known
            elif what == 3:
                with pytest.raises(NotFoundError, match=f"peek {2**40 + known}: "):
                    client.peek(2**40 + known)
            elif what == 4:
                job = client.reserve_job(known)
                assert job.text == ids[known]
                client.touch(job)
                client.release(job, delay=1000)
            elif what == 5:
                texts = [f"{number} {step} {n}" for n in range(5)]
                ids.update(zip(client.put_many(texts, delay=1000), texts, strict=True))
            elif what == 6:
                assert client.list_tube_used() == tube
                assert client.list_tubes_watched() == [tube]
            else:
                client.delete(known)
                del ids[known]
        client.delete_many(ids)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert client.stats_tube(tube).current_jobs_delayed == 0


def test_tubes_hold_on_all_threads(client: Client, tube: str) -> None:
    started, chosen = threading.Barrier(4), threading.Event()

    def follow(_: int) -> None:
        assert client.list_tube_used() == tube  # each has a connection now
        started.wait(10)
        assert chosen.wait(10)
        assert client.list_tube_used() == f"{tube}-b"
        assert client.list_tubes_watched() == [f"{tube}-b"]
        assert client.stats_job(client.put("x", delay=1000)).tube == f"{tube}-b"  # nobody takes it
        client.put("x")
        client.delete(reserved(client))

    with ThreadPoolExecutor(3) as pool:
        following = pool.map(follow, range(3))
        started.wait(10)
        client.use(f"{tube}-b")
        client.watch(f"{tube}-b")
        client.ignore(tube)
        chosen.set()
        list(following)


def test_two_threads_cannot_ignore_the_last_tubes_of_each_other(client: Client, tube: str) -> None:
    """Each connection still watches one; together the client would watch none."""
    client.watch(f"{tube}-b")
    both = threading.Barrier(2)
    refused: list[NotIgnoredError] = []

    def ignore(name: str) -> None:
        assert len(client.list_tubes_watched()) == 2
        both.wait(10)
        try:
            client.ignore(name)
        except NotIgnoredError as error:
            refused.append(error)

    for _ in range(50):
        refused.clear()
        with beside(lambda: ignore(tube)) as raised:
            ignore(f"{tube}-b")
        assert raised == []
        assert len(refused) == 1
        assert len(client.list_tubes_watched()) == 1
        client.watch(tube)
        client.watch(f"{tube}-b")


def test_a_thread_that_ends_gives_its_jobs_back(server: Server, tube: str) -> None:
    lost: list[list[int]] = []
    jobs: list[Job] = []
    with Client(server.address, on_jobs_lost=lost.append) as client:
        client.watch(tube)
        job_id = client.put("x", tube=tube)
        connections = client.stats().current_connections
        in_thread(lambda: jobs.append(reserved(client)))
        until(lambda: client.stats_job(job_id).state == "ready")
        until(lambda: client.stats().current_connections == connections)
        for call in (client.delete, client.touch):
            for job in (jobs[0], job_id):
                with pytest.raises(JobLost, match="the thread that reserved it has ended") as told:
                    call(job)
                assert told.value.outcome == "never-sent"
        assert lost == [], "nothing broke"
        client.delete(reserved(client))


def test_a_thread_that_ends_under_a_command_on_its_job(server: Server, tube: str) -> None:
    """The connection of a thread ends while another one waits for a reply over it."""
    with CuttingProxy(server.address) as proxy, Client(proxy.address) as client:
        client.watch(tube)
        client.put("x", tube=tube)
        jobs: list[Job] = []
        spoken = threading.Event()

        def hold() -> None:
            jobs.append(reserved(client))
            assert spoken.wait(10)

        with beside(hold):
            until(lambda: bool(jobs))
            proxy.arm(b"touch ", "drop-in")
            with beside(lambda: client.touch(jobs[0])) as raised:
                until(lambda: proxy.faults == 1)
                spoken.set()
        (told,) = raised
        assert isinstance(told, JobLost), told
        assert "the thread that reserved it has ended" in str(told)
        assert told.outcome == "unknown"


def test_a_job_is_finished_by_another_thread(client: Client) -> None:
    client.put("x")
    job = reserved(client)
    in_thread(lambda: client.delete(job))
    with pytest.raises(NotFoundError):
        client.peek(job)


def test_a_job_is_finished_while_its_own_thread_waits(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.watch(tube)
        client.put("x", tube=tube)
        jobs: list[Job] = []

        def hold_and_wait() -> None:
            jobs.append(reserved(client))
            client.reserve()

        with beside(hold_and_wait) as raised:
            until(lambda: bool(jobs))
            until(lambda: client.stats_tube(tube).current_waiting == 1)
            began = time.monotonic()
            client.touch(jobs[0])
            client.delete(jobs[0])
            assert time.monotonic() - began < 4, "a round each, and a busy machine"
            client.close()
        assert [type(one) for one in raised] == [ClientClosedError]


def test_a_thread_that_speaks_without_pause_keeps_nobody_out(client: Client) -> None:
    for number in range(20):
        client.put(f"{number}")
    jobs: list[Job] = []
    enough = threading.Event()

    def hold_and_talk() -> None:
        jobs.extend(reserved(client) for _ in range(20))
        while not enough.is_set():
            client.touch(jobs[0])

    with beside(hold_and_talk) as raised:
        until(lambda: len(jobs) == 20)
        began = time.monotonic()
        for job in jobs[1:]:
            client.touch(job)
            client.delete(job)
        took = time.monotonic() - began
        enough.set()
    assert raised == []
    assert took < 5, "38 turns; one that is kept out waits for its timeout of 10 s"


def test_turns_are_given_in_order() -> None:
    """Ten threads and one connection: what each says is answered within its own time."""
    script = [(b"reserve-with-timeout 0\r\n", b"RESERVED 7 1\r\nx\r\n")]
    script += [(b"touch 7\r\n", b"TOUCHED\r\n")] * 2000
    with ScriptedServer(script) as server, Client(server.address) as client:
        job = client.reserve(timeout=0)
        assert job is not None

        def touch(_: int) -> None:
            for _ in range(200):
                client.touch(job)

        with ThreadPoolExecutor(10) as pool:
            list(pool.map(touch, range(10)))


def test_a_connection_that_is_busy_too_long_is_told(server: Server, tube: str) -> None:
    with CuttingProxy(server.address) as proxy, Client(proxy.address, timeout=0.3) as client:
        client.watch(tube)
        client.put("x", tube=tube)
        job = reserved(client)
        proxy.arm(b"reserve-with-timeout", "drop")
        with beside(lambda: client.reserve(timeout=1)) as raised:
            pass
        assert isinstance(raised[0], CommandTimeoutError)
        proxy.arm(b"reserve-with-timeout", "drop")
        waiting = threading.Event()

        def wait_for_turn() -> None:
            assert waiting.wait(10)
            client.touch(job)

        with beside(wait_for_turn) as raised:
            waiting.set()
            with pytest.raises(ConnectionLostError):
                client.reserve(timeout=1)
        (told,) = raised
        assert isinstance(told, ConnectionLostError), told
        assert told.outcome == "never-sent"


def test_closing_ends_a_reserve_that_waits(server: Server, tube: str) -> None:
    client = Client(server.address)
    client.watch(tube)
    with Client(server.address) as other, beside(client.reserve) as raised:
        other.use(tube)
        until(lambda: other.stats_tube(tube).current_waiting == 1)
        began = time.monotonic()
        client.close()
    assert time.monotonic() - began < 2
    assert [type(one) for one in raised] == [ClientClosedError]
    assert isinstance(raised[0], ClientClosedError)
    assert raised[0].outcome == "unknown"


@pytest.mark.parametrize("call", ["reserve", "put", "stats", "touch", "put_many", "delete_many"])
def test_closing_under_a_call(server: Server, tube: str, call: str) -> None:
    calls: dict[str, Callable[[Client, Job], object]] = {
        "reserve": lambda client, job: client.reserve(),
        "put": lambda client, job: client.put("x"),
        "stats": lambda client, job: client.stats(),
        "touch": lambda client, job: client.touch(job),
        "put_many": lambda client, job: client.put_many(["x"] * 3),
        "delete_many": lambda client, job: client.delete_many([job]),
    }
    words = {"put_many": b"put ", "delete_many": b"delete "}
    with CuttingProxy(server.address) as proxy:
        client = Client(proxy.address)
        client.watch(tube)
        client.put("x", tube=tube)
        client.use(tube)
        jobs: list[Job] = []

        def run() -> None:
            client.put("x", tube=tube)  # the limit is known
            jobs.append(reserved(client))
            proxy.arm(words.get(call, call.encode()), "drop-in")
            calls[call](client, jobs[0])

        with beside(run) as raised:
            until(lambda: proxy.faults == 1)
            client.close()
        (told,) = raised
        results = getattr(told, "results", [told])
        for one in results:
            assert isinstance(one, ClientClosedError), one
            assert one.outcome == "unknown"


def test_a_dropped_client_leaves_nothing_behind(fresh_daemon: Daemon) -> None:
    with Client(fresh_daemon.address) as other:
        client = Client(fresh_daemon.address)
        client.watch("t")
        client.put("x", tube="t")
        job = reserved(client)
        connections, state = weakref.ref(client._connections), client._state
        assert state.held
        stay = threading.Event()

        def use(one: Client) -> None:
            one.stats()
            stay.wait(10)

        threads = [threading.Thread(target=use, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: other.stats().current_connections == 5)
        del client  # the threads hold it until they end
        stay.set()
        for thread in threads:
            thread.join()
        del threads, thread
        assert connections() is None, "without a collection: nothing holds itself"
        until(lambda: other.stats().current_connections == 1)
        assert other.stats_job(job).state == "ready"


def test_a_client_dropped_by_all_but_a_thread_that_goes_on(fresh_daemon: Daemon) -> None:
    """The thread has used it, and holds nothing of it any more."""
    stay = threading.Event()
    clients = [Client(fresh_daemon.address)]

    def use_it() -> None:
        clients[0].stats()
        clients.clear()
        stay.wait(10)

    with Client(fresh_daemon.address) as other, beside(use_it):
        until(lambda: not clients)
        until(lambda: other.stats().current_connections == 1)
        stay.set()


def test_many_threads_leave_nothing_behind(client: Client, server: Server) -> None:
    in_thread(client.stats)
    before = len(gc.get_objects())
    connections = client.stats().current_connections
    for _ in range(100):
        in_thread(client.stats)
    gc.collect()
    assert len(gc.get_objects()) - before < 200
    assert len(client._connections._open) == 1
    until(lambda: client.stats().current_connections == connections)


def test_hooks_may_call_the_client(server: Server, tube: str) -> None:
    told: list[str] = []

    def lost(job_ids: list[int]) -> None:
        told.append(f"lost {job_ids}, used {client.list_tube_used()}")
        client.put("from the hook")

    def again() -> None:
        told.append(f"watched {client.list_tubes_watched()}")

    with CuttingProxy(server.address) as proxy:
        client = Client(proxy.address, on_jobs_lost=lost, on_reconnect=again)
        with client:
            client.use(tube)
            client.watch(tube)
            client.ignore("default")
            client.put("x")
            job = reserved(client)
            proxy.arm(b"stats", "close-before")
            assert client.stats().pid == server.pid
            assert told == [f"watched ['{tube}']", f"lost [{job.id}], used {tube}"]
            assert client.stats_tube(tube).current_jobs_ready == 2
            client.delete_many(client.reserve_many(2))


def test_a_hook_may_close_the_client(server: Server, tube: str) -> None:
    with CuttingProxy(server.address) as proxy:
        client = Client(proxy.address, on_jobs_lost=lambda _: client.close())
        client.watch(tube)
        client.put("x", tube=tube)
        job = reserved(client)
        proxy.arm(b"touch", "close-before")
        with pytest.raises(ConnectionLostError):
            client.touch(job)
        with pytest.raises(ClientClosedError):
            client.stats()
        with Client(server.address) as other:
            until(lambda: other.stats_job(job).state == "ready")
            other.delete(job.id)


def test_ten_threads_over_a_line_that_is_cut_again_and_again(server: Server, tube: str) -> None:
    """Nothing is put twice, no id is another's, and only errors of ours come out."""
    with (
        Client(server.address) as other,
        CuttingProxy(server.address) as proxy,
        Client(proxy.address, timeout=20) as client,
    ):
        client.use(tube)
        other.use(tube)
        ids: dict[int, str] = {}
        failed: list[str] = []

        def work(number: int) -> None:
            for step in range(40):
                text = f"{number} {step}"
                try:
                    ids[client.put(text)] = text
                except ConnectionLostError:
                    failed.append(text)
                assert client.list_tube_used() == tube

        enough = threading.Event()

        def cut() -> None:
            while not enough.wait(0.01):
                proxy.cut_all()

        with beside(cut), ThreadPoolExecutor(10) as pool:
            try:
                list(pool.map(work, range(10)))
            finally:
                enough.set()
        other.watch(tube)
        found = {job.text: job.id for job in other.reserve_many(1000)}
        assert {text: job_id for job_id, text in ids.items()}.items() <= found.items()
        assert set(found) <= set(ids.values()) | set(failed)
        assert other.stats_tube(tube).total_jobs == len(found), "put twice"
        other.delete_many(found.values())
