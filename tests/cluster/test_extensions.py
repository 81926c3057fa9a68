"""The extensions that a gateway knows, through our own client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from beanrow import Client, ExistingId
from tests.need import need
from tests.server.talk import Talk
from tests.servers import GatewayServer


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayServer]:
    need("redis")
    with GatewayServer() as running:
        yield running


@pytest.fixture
def client(gateway: GatewayServer, tube: str) -> Iterator[Client]:
    with Client(gateway.address) as client:
        client.use(tube)
        client.watch(tube)
        client.ignore("default")
        yield client


def test_what_it_offers(client: Client) -> None:
    assert client.capabilities() == {
        *("jobs-with-tube", "list-jobs", "more-stats", "put-in-tube", "put-unique", "truncate")
    }


def test_a_key_is_taken_while_its_job_exists_and_for_its_lifetime(client: Client) -> None:
    first = client.put_unique("a", "x")
    assert not isinstance(first, ExistingId)
    again = client.put_unique("a", "y")
    assert isinstance(again, ExistingId)
    assert again == first
    job = client.reserve(timeout=5)
    assert job is not None
    assert job.body == b"x"
    client.delete(job)
    second = client.put_unique("a", "z", lifetime=100)
    assert not isinstance(second, ExistingId)
    client.delete(second)
    assert client.put_unique("a", "z") == second


@pytest.mark.parametrize("state", ["ready", "delayed", "reserved", "buried"])
def test_jobs_are_listed_by_pages(client: Client, tube: str, state: str) -> None:
    ids = [
        client.put("x" * number, priority=50 - number, delay=100 if state == "delayed" else 0)
        for number in range(25)
    ]
    if state in ("reserved", "buried"):
        held = client.reserve_many(25)
        for job in held if state == "buried" else []:
            client.bury(job)
    found = []
    after = 0
    for _ in range(3):
        page = client.list_jobs(tube, state, after=after, limit=10)
        found += page
        after = page[-1].id
    assert [job.id for job in found] == ids
    assert [job.bytes for job in found] == list(range(25))
    assert {job.tube for job in found} == {tube}
    assert {job.state for job in found} == {state}
    for job_id in ids:
        client.delete(job_id)


def test_all_that_nobody_holds_is_truncated(client: Client, tube: str) -> None:
    client.put_many("x" for _ in range(1500))
    client.put("d", delay=100)
    with contextlib.closing(client):
        held = client.reserve(timeout=5)
        assert held is not None
        assert client.truncate(tube) == 1500
        assert client.stats_tube(tube).cmd_delete == 1500
        client.delete(held)


def test_the_tube_of_a_job_and_the_promise_are_told_who_asks(
    gateway: GatewayServer, tube: str
) -> None:
    with Talk(gateway) as talk:
        assert b"promise" not in talk.ask(b"stats\r\n")
        talk.ask(b"capabilities jobs-with-tube more-stats put-in-tube\r\n")
        stats = talk.ask(b"stats\r\n")
        assert b"\nstore: redis\n" in stats
        assert b"\npromise: master\n" in stats
        job = talk.ask(b"put-in-tube %b 0 0 60 1\r\nx\r\n" % tube.encode()).split()[1]
        assert talk.ask(b"peek %b\r\n" % job) == b"FOUND %b 1 %b\r\nx\r\n" % (job, tube.encode())
        talk.ask(b"watch %b\r\n" % tube.encode())
        reserved = b"RESERVED %b 1 %b\r\nx\r\n" % (job, tube.encode())
        assert talk.ask(b"reserve\r\n") == reserved
        assert talk.ask(b"delete %b\r\n" % job) == b"DELETED\r\n"
