"""Every command against the real daemon and ours: what it does and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from beanrow import (
    Client,
    ClientClosedError,
    DeadlineSoon,
    Job,
    JobTooBigError,
    NotFoundError,
    NotIgnoredError,
)
from tests.servers import Daemon, OurServer, Server

MISSING = 2**40

ON_GATEWAYS_TOO = True


def finish(client: Client, *jobs: Job | int) -> None:
    for job in jobs:
        client.delete(job)


def test_a_job_from_put_to_delete(client: Client) -> None:
    job_id = client.put(b"hello")
    job = client.reserve(timeout=0)
    assert job is not None
    assert (job.id, job.body, job.text) == (job_id, b"hello", "hello")
    client.delete(job)
    assert client.reserve(timeout=0) is None
    with pytest.raises(NotFoundError, match=f"delete {job_id}: NOT_FOUND") as told:
        client.delete(job)
    assert (told.value.command, told.value.status) == (f"delete {job_id}", "NOT_FOUND")


def test_put_says_priority_delay_and_ttr(client: Client, tube: str) -> None:
    job_id = client.put("x", priority=7, delay=timedelta(hours=1), ttr=100)
    told = client.stats_job(job_id)
    assert (told.pri, told.delay, told.ttr, told.state, told.tube) == (
        7,
        3600,
        100,
        "delayed",
        tube,
    )
    finish(client, job_id)


def test_put_has_the_defaults_of_the_field(client: Client) -> None:
    job_id = client.put("x")
    told = client.stats_job(job_id)
    assert (told.pri, told.delay, told.ttr) == (2**16, 0, 60)
    finish(client, job_id)


def test_put_into_a_tube_leaves_the_used_one(client: Client, tube: str) -> None:
    there = client.put("there", tube=f"{tube}-b")
    assert client.list_tube_used() == tube
    here = client.put("here")
    assert client.stats_job(there).tube == f"{tube}-b"
    assert client.stats_job(here).tube == tube
    finish(client, there, here)


def test_what_depends_on_the_used_tube_does_so_after_a_put_elsewhere(
    client: Client, tube: str
) -> None:
    ready, delayed = client.put("ready"), client.put("delayed", delay=1000)
    elsewhere = client.put("elsewhere", tube=f"{tube}-b")
    seen = client.peek_ready()
    assert seen is not None
    assert seen.id == ready
    again = client.put("elsewhere", tube=f"{tube}-b")
    seen = client.peek_delayed()
    assert seen is not None
    assert seen.id == delayed
    finish(client, again)
    again = client.put("elsewhere", tube=f"{tube}-b", delay=1000)
    assert client.kick(10) == 1
    assert client.stats_job(again).state == "delayed"
    finish(client, ready, delayed, elsewhere, again)


def test_use(client: Client, tube: str) -> None:
    assert client.use(f"{tube}-b") == f"{tube}-b"
    assert client.list_tube_used() == f"{tube}-b"
    job_id = client.put("x")
    assert client.stats_job(job_id).tube == f"{tube}-b"
    finish(client, job_id)


@pytest.mark.parametrize("body", [b"", b"\r\n", bytes(range(256)), b"x" * 65535])
def test_bodies_come_back_as_they_went(client: Client, body: bytes) -> None:
    client.put(body)
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.body == body
    client.delete(job)


@pytest.mark.parametrize("body", [bytearray(b"abc"), memoryview(b"abc")])
def test_whatever_holds_bytes_is_a_body(client: Client, body: bytes) -> None:
    client.put(body)
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.body == b"abc"
    client.delete(job)


def test_bodies_in_another_encoding(server: Server, tube: str) -> None:
    with Client(server.address, encoding="utf-16-le") as client:
        client.watch(tube)
        job_id = client.put("schön", tube=tube)
        assert client.peek(job_id).body == "schön".encode("utf-16-le")
        assert client.peek(job_id).text == "schön"
        job = client.reserve(timeout=0)
        assert job is not None
        assert job.text == "schön"
        client.delete(job)


def test_a_body_that_is_no_text_is_still_bytes(client: Client) -> None:
    client.put(b"\xff")
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.body == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        _ = job.text
    client.delete(job)


def test_reserve_gives_the_best_job_first(client: Client) -> None:
    late, early, late2 = (client.put("x", priority=pri) for pri in (5, 1, 5))
    got = []
    for _ in range(3):
        job = client.reserve(timeout=0)
        assert job is not None
        got.append(job.id)
        client.delete(job)
    assert got == [early, late, late2]


def test_reserve_without_timeout_gives_a_job(client: Client) -> None:
    job_id = client.put("x")
    job: Job = client.reserve()
    assert job.id == job_id
    client.delete(job)


def test_reserve_waits_as_long_as_it_was_told(client: Client) -> None:
    assert client.reserve(timeout=0) is None
    assert client.reserve(timeout=timedelta(milliseconds=1)) is None  # rounded up to a second
    assert client.stats().cmd_reserve_with_timeout >= 2


def test_reserve_by_id(client: Client, other: Client) -> None:
    job_id = client.put("x", delay=1000)
    job = other.reserve_job(job_id)
    assert (job.id, job.body) == (job_id, b"x")
    with pytest.raises(NotFoundError, match="reserved already"):
        other.reserve_job(job)
    with pytest.raises(NotFoundError):
        client.reserve_job(MISSING)
    other.delete(job)


def test_release_puts_a_job_back(client: Client) -> None:
    client.put("x")
    job = client.reserve(timeout=0)
    assert job is not None
    assert client.release(job) is True
    assert client.stats_job(job).pri == 2**16
    job = client.reserve(timeout=0)
    assert job is not None
    client.release(job, priority=3, delay=500)
    told = client.stats_job(job)
    assert (told.pri, told.delay, told.state, told.releases) == (3, 500, "delayed", 2)
    with pytest.raises(NotFoundError, match="does not hold it"):
        client.release(job)
    client.delete(job)


def test_bury_sets_a_job_aside_and_kick_brings_it_back(client: Client) -> None:
    assert client.peek_buried() is None
    client.put("x")
    job = client.reserve(timeout=0)
    assert job is not None
    client.bury(job, priority=9)
    seen = client.peek_buried()
    assert seen is not None
    assert seen.id == job.id
    told = client.stats_job(job)
    assert (told.state, told.pri, told.buries) == ("buried", 9, 1)
    assert client.kick(10) == 1
    assert client.kick(10) == 0
    assert client.stats_job(job).state == "ready"
    with pytest.raises(NotFoundError):
        client.bury(job)
    client.delete(job)


def test_kick_one_job(client: Client) -> None:
    job_id = client.put("x", delay=1000)
    client.kick_job(job_id)
    assert client.stats_job(job_id).state == "ready"
    with pytest.raises(NotFoundError, match="neither buried nor delayed"):
        client.kick_job(job_id)
    client.delete(job_id)


def test_touch_starts_the_ttr_anew(client: Client) -> None:
    client.put("x", ttr=1000)
    job = client.reserve(timeout=0)
    assert job is not None
    client.touch(job)
    assert client.stats_job(job).time_left in {998, 999}
    client.delete(job)
    with pytest.raises(NotFoundError, match="its ttr may have run out"):
        client.touch(job)


def test_only_the_connection_that_reserved_a_job_acts_on_it(client: Client, other: Client) -> None:
    client.put("x")
    job = client.reserve(timeout=0)
    assert job is not None
    acts: list[Callable[[int], object]] = [other.touch, other.release, other.bury, other.delete]
    for act in acts:
        with pytest.raises(NotFoundError):
            act(job.id)
    client.delete(job)


def test_watch_and_ignore(client: Client, tube: str) -> None:
    assert client.list_tubes_watched() == [tube]
    assert client.watch(f"{tube}-b") == 2
    assert client.watch(f"{tube}-b") == 2
    assert sorted(client.list_tubes_watched()) == sorted([tube, f"{tube}-b"])
    assert client.ignore("nobody-watches-this") == 2
    assert client.ignore(tube) == 1
    with pytest.raises(NotIgnoredError, match="the only tube watched"):
        client.ignore(f"{tube}-b")
    assert client.list_tubes_watched() == [f"{tube}-b"]


def test_peek(client: Client) -> None:
    assert client.peek_ready() is None
    assert client.peek_delayed() is None
    job_id = client.put("x")
    seen = client.peek(job_id)
    assert (seen.id, seen.body, seen.holder) == (job_id, b"x", None)
    ready = client.peek_ready()
    assert ready is not None
    assert ready.text == "x"
    client.delete(seen)
    with pytest.raises(NotFoundError, match=f"peek {job_id}: NOT_FOUND: no such job"):
        client.peek(job_id)


def test_pause_tube(client: Client, tube: str) -> None:
    client.pause_tube(tube, timedelta(minutes=1))
    assert client.stats_tube(tube).pause == 60
    job_id = client.put("x")
    assert client.reserve(timeout=0) is None
    client.pause_tube(tube, 0)
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.id == job_id
    client.delete(job)
    with pytest.raises(NotFoundError, match="no such tube"):
        client.pause_tube(f"{tube}-missing", 1)


def test_statistics_are_typed(client: Client, server: Server, tube: str) -> None:
    job_id = client.put("x", priority=5)
    of_job, of_tube, of_server = (
        client.stats_job(job_id),
        client.stats_tube(tube),
        client.stats(),
    )
    assert (of_job.id, of_job.tube, of_job.state, of_job.reserves) == (job_id, tube, "ready", 0)
    assert (of_tube.name, of_tube.current_jobs_urgent, of_tube.total_jobs) == (tube, 1, 1)
    assert (of_server.pid, of_server.max_job_size) == (server.pid, 65535)
    assert of_server.draining is False
    assert isinstance(of_server.rusage_utime, float)
    assert of_server.extra == of_tube.extra == of_job.extra == {}, "keys nobody reads as typed"
    client.delete(job_id)
    with pytest.raises(NotFoundError):
        client.stats_job(job_id)
    with pytest.raises(NotFoundError):
        client.stats_tube(f"{tube}-missing")


def test_list_tubes(client: Client, tube: str) -> None:
    tubes = client.list_tubes()
    assert tube in tubes
    assert "default" in tubes


def test_wherever_an_id_goes_a_job_goes_too(client: Client) -> None:
    job = client.peek(client.put("x", delay=100))
    client.kick_job(job)
    assert client.stats_job(job).id == client.peek(job).id == client.reserve_job(job).id
    client.touch(job)
    client.release(job)
    client.bury(client.reserve_job(job))
    client.delete(job)


def test_a_reserved_job_knows_its_connection(client: Client, other: Client) -> None:
    first, second = client.put("a"), client.put("b")
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.holder is not None
    assert job.holder is client.reserve_job(second).holder
    client.release(job)
    assert other.reserve_job(first).holder is not job.holder


def test_a_deadline_is_near(client: Client) -> None:
    client.put("x", ttr=1)
    job = client.reserve(timeout=0)
    assert job is not None
    with pytest.raises(DeadlineSoon, match="touch it, finish it or release it"):
        client.reserve(timeout=0)
    client.delete(job)  # and the connection goes on


def test_closing_gives_the_jobs_back(server: Server, tube: str) -> None:
    with Client(server.address) as client, Client(server.address) as other:
        client.watch(tube)
        job_id = client.put("x", tube=tube)
        assert client.reserve(timeout=0) is not None
        client.close()
        while other.stats_job(job_id).state != "ready":
            pass  # the server sees the end of the connection a moment later
        other.delete(job_id)


def test_a_closed_client_says_so(server: Server) -> None:
    client = Client(server.address)
    client.connect()
    client.connect()
    client.close()
    client.close()
    with pytest.raises(ClientClosedError, match=f"{server.address} was closed"):
        client.stats()
    with pytest.raises(ClientClosedError):
        client.put("x")
    with pytest.raises(ClientClosedError), client:
        pass


def test_quit_takes_leave(server: Server, other: Client) -> None:
    client = Client(server.address)
    client.connect()
    before = other.stats().current_connections
    client.quit()
    while other.stats().current_connections == before:
        pass  # the server sees it a moment later
    with pytest.raises(ClientClosedError):
        client.stats()
    Client(server.address).quit()  # never connected: nothing to say


def test_opened_by_the_first_command(server: Server) -> None:
    client = Client(server.address)
    assert "default" in client.list_tubes()
    client.close()


def test_the_limit_of_the_server_is_told_before_the_body_is_sent(
    start_daemon: Callable[..., Daemon], start_ours: Callable[..., OurServer]
) -> None:
    for server in (start_daemon("-z", "100"), start_ours("-z", "100")):
        with Client(server.address) as client:
            with pytest.raises(JobTooBigError, match=r"101 bytes .* at most 100; .* -z") as told:
                client.put(b"x" * 101, tube="t")
            assert (told.value.size, told.value.limit) == (101, 100)
            assert client.stats().cmd_put == 0
            assert client.list_tubes() == ["default"], "not even the tube was made"
            client.put(b"x" * 100)
