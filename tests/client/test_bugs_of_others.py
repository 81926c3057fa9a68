"""Faults that clients of other projects have shown, each as a test that would fail there."""

from __future__ import annotations

import asyncio
import threading
import warnings

import pytest

from beanrow import (
    BadValueError,
    BeanstalkError,
    Client,
    CommandTimeoutError,
    JobTooBigError,
    NotFoundError,
)
from tests.client.loop import own_tube, run
from tests.client.proxy import CuttingProxy
from tests.client.scripted import ScriptedServer
from tests.servers import Server


def test_kick_job_kicks_and_warns_of_nothing(client: Client) -> None:
    """It was sent, but its reply never awaited: "coroutine was never awaited"."""
    job = client.reserve_job(client.put("x"))
    client.bury(job)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.kick_job(job)
    assert client.stats_job(job).state == "ready"
    client.delete(job)


def test_a_missing_tube_is_an_error_below_the_root(client: Client) -> None:
    """It was a bad reply, outside the tree of the library's errors."""
    with pytest.raises(BeanstalkError) as told:
        client.stats_tube("no-such-tube")
    assert type(told.value) is NotFoundError


def test_a_body_too_big_is_an_error_of_its_own(client: Client) -> None:
    """It was a bad reply."""
    with pytest.raises(BeanstalkError) as told:
        client.put(b"x" * 65536)
    assert type(told.value) is JobTooBigError


STATS_TUBE = """---
name: {}
current-jobs-urgent: 0
current-jobs-ready: 1
"""


@pytest.mark.parametrize("name", ["t", "my-tube", "12145", "1.5", "null", "true", "a.b", "---"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_names_in_statistics_stay_what_they_are(name: str, quote: str) -> None:
    """One kept the quotes of 1.13, one made my_tube of my-tube (and buried all its jobs)."""
    name = name if name != "---" else "$---"
    document = STATS_TUBE.format(f"{quote}{name}{quote}").encode()
    reply = b"OK %d\r\n%b\r\n" % (len(document), document)
    with (
        ScriptedServer([(f"stats-tube {name}\r\n".encode(), reply)]) as server,
        Client(server.address) as client,
    ):
        told = client.stats_tube(name)
    assert told.name == name
    assert told.current_jobs_ready == 1
    with pytest.raises(AttributeError, match="this server sent no 'pause'"):
        _ = told.pause


@pytest.mark.parametrize("name", ["12145", "1.5", "null", "true", "1e5", "a-b"])
def test_tube_lists_hold_text(server: Server, name: str) -> None:
    """A YAML parser makes numbers of "12145" and "1.5"."""
    with Client(server.address) as client:
        assert client.use(name) == name
        client.watch(name)
        assert client.list_tube_used() == name
        assert name in client.list_tubes()
        assert client.list_tubes_watched() == ["default", name]
        assert client.stats_tube(name).name == name


def test_the_ttr_is_the_callers(client: Client, tube: str) -> None:
    """A pool put every job with 120."""
    for ttr in (1, 7, 4294967295):
        job_id = client.put("x", ttr=ttr, tube=f"{tube}-b")
        assert client.stats_job(job_id).ttr == ttr
        client.delete(job_id)


def test_a_line_break_in_a_name_sends_no_second_command(client: Client, tube: str) -> None:
    """`use("x\\r\\ndelete 1")` deleted job 1."""
    job_id = client.put("x")
    with pytest.raises(BadValueError):
        client.use(f"x\r\ndelete {job_id}")
    with pytest.raises(BadValueError):
        client.use("a\r\nput 0 0 60 4\r\nevil")
    assert client.peek(job_id).body == b"x"
    assert client.stats_tube(tube).total_jobs == 1
    client.delete(job_id)


def test_the_longest_name_is_200_bytes(client: Client) -> None:
    """One refused 200 bytes, and took a leading hyphen."""
    name = "n" * 200
    job_id = client.put("x", tube=name)
    assert client.stats_tube(name).current_jobs_ready == 1
    assert client.stats_job(job_id).tube == name
    assert client.watch(name) == 2
    assert client.ignore(name) == 1
    client.pause_tube(name, 0)
    client.delete(job_id)
    with pytest.raises(BadValueError, match="begins with '-'"):
        client.use("-" + "n" * 10)


def test_after_a_timeout_a_client_is_usable(server: Server) -> None:
    """ "cannot read from timed out object", for ever."""
    silent = [(b"list-tubes\r\n", b"")]
    healthy = [(b"list-tubes\r\n", b"OK 14\r\n---\n- default\n\r\n")]
    with (
        ScriptedServer(silent, healthy) as scripted,
        Client(scripted.address, timeout=0.1) as client,
    ):
        with pytest.raises(CommandTimeoutError):
            client.list_tubes()
        assert client.list_tubes() == ["default"]


def test_a_reserve_that_timed_out_leaves_nothing_behind(client: Client) -> None:
    """The next put raised TimedOutError, and the next stats got INSERTED."""
    assert client.reserve(timeout=0) is None
    job_id = client.put("x")
    assert client.stats_job(job_id).id == job_id
    client.delete(job_id)


# -- the same for the async client -------------------------------------------------


def test_replies_with_bodies_asked_for_at_once_are_not_mixed(server: Server, tube: str) -> None:
    """The reply behind a body was swallowed into it: one failed, one hung."""

    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            for _ in range(50):
                stats, tubes, one = await asyncio.gather(
                    client.stats(), client.list_tubes(), client.stats_tube(tube)
                )
                assert stats.pid == server.pid
                assert tube in tubes
                assert one.name == tube

    run(test())


def test_five_puts_at_once_give_their_own_ids(server: Server, tube: str) -> None:
    """Four raised though all were stored, and the next put gave the id of another job."""

    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            ids = await asyncio.gather(*(client.put(f"{number}") for number in range(5)))
            ids.append(await client.put("5"))
            for number, job_id in enumerate(ids):
                assert (await client.peek(job_id)).text == f"{number}"
                await client.delete(job_id)

    run(test())


def test_wait_for_around_a_reserve_leaves_no_reply_behind(server: Server, tube: str) -> None:
    """The next put raised that it timed out, and the next statistics were INSERTED."""

    async def test() -> None:
        async with own_tube(server.address, tube) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reserve(), 0.05)
            job_id = await client.put("x")
            assert (await client.stats_job(job_id)).id == job_id
            await client.delete(job_id)

    run(test())


def test_a_watched_default_stays_watched_after_a_reconnect(server: Server, tube: str) -> None:
    """One ignored it on each new connection, another went back to it alone."""
    with CuttingProxy(server.address) as proxy, Client(proxy.address) as client:
        client.watch(tube)
        client.use(tube)
        proxy.cut_all()
        assert client.list_tubes_watched() == ["default", tube]
        assert client.list_tube_used() == tube


def test_a_reserve_may_wait_longer_than_a_command(server: Server, tube: str) -> None:
    """A receive timeout of 10 s for all ended every plain reserve on an empty tube."""
    with Client(server.address, timeout=0.2) as client, Client(server.address) as other:
        client.watch(tube)
        later = threading.Timer(0.7, lambda: other.put("x", tube=tube))
        later.start()
        job = client.reserve()
        client.delete(job)
        later.join()
