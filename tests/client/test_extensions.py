"""Extensions in both clients: asked for before they are used, on the daemon and on ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import get_args

import pytest

from beanrow import (
    AsyncClient,
    BadValueError,
    Client,
    ConnectionLostError,
    ExistingId,
    NotFoundError,
    NotOfferedError,
)
from beanrow.client.offered import ASKED
from beanrow.protocol.capabilities import CAPABILITIES
from tests.client.scripted import ANY_STATS, Script, ScriptedServer, cut
from tests.client.ways import Kind, Way, opened
from tests.servers import Daemon, OurServer


@pytest.fixture(params=get_args(Kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def speaking_to(kind: Kind, address: str) -> Iterator[Way]:
    with opened(kind, lambda: Client(address), lambda: AsyncClient(address)) as way:
        yield way


@pytest.fixture
def way(kind: Kind, our_server: OurServer) -> Iterator[Way]:
    yield from speaking_to(kind, our_server.address)


@pytest.fixture
def plain(kind: Kind, daemon: Daemon) -> Iterator[Way]:
    """A client of a server without extensions."""
    yield from speaking_to(kind, daemon.address)


def words(*names: str) -> bytes:
    document = "---\n" + "".join(f"- {name}\n" for name in names)
    return f"OK {len(document)}\r\n{document}\r\n".encode()


# -- asking -----------------------------------------------------------------------


def test_capabilities(way: Way) -> None:
    assert way("capabilities") == CAPABILITIES


def test_a_server_without_extensions_has_none(plain: Way) -> None:
    assert plain("capabilities") == frozenset()


def test_truncate(way: Way) -> None:
    for _ in range(3):
        way("put", "x", tube="a")
    way("watch", "a")
    held = way("reserve", 0)
    assert way("truncate", "a") == 2
    way("delete", held)
    with pytest.raises(NotFoundError, match="no such tube"):
        way("truncate", "b")


def test_what_is_not_offered_is_refused_with_the_other_way(plain: Way, daemon: Daemon) -> None:
    way = plain
    way("put", "x", tube="not-offered")
    told = rf"truncate not-offered.*{daemon.address}.*'truncate'.*drain_tube"
    for _ in range(2):
        with pytest.raises(NotOfferedError, match=told):
            way("truncate", "not-offered")
    assert way("drain_tube", "not-offered") == 1


def test_each_connection_asks_once(kind: Kind) -> None:
    script: Script = [
        (ASKED.request, words("truncate")),
        (b"truncate a\r\n", b"TRUNCATED 1\r\n"),
        (b"truncate a\r\n", b"TRUNCATED 0\r\n"),
    ]
    with ScriptedServer(script) as server:
        for way in speaking_to(kind, server.address):
            assert [way("truncate", "a"), way("truncate", "a")] == [1, 0]


def test_a_new_connection_asks_anew_before_it_says_a_word(kind: Kind) -> None:
    """The second server knows no extensions: it hears no word of them."""
    first: Script = [
        (ASKED.request, words("truncate", "put-in-tube")),
        (b"truncate a\r\n", b"TRUNCATED 1\r\n"),
        (b"stats\r\n", cut),
    ]
    second: Script = [(b"stats\r\n", b"OK 4\r\n---\n\r\n"), (ASKED.request, b"UNKNOWN_COMMAND\r\n")]
    with ScriptedServer(first, second) as server:
        for way in speaking_to(kind, server.address):
            way("truncate", "a")
            way("stats")
            with pytest.raises(NotOfferedError):
                way("truncate", "a")


def test_jobs_know_their_tube_once_it_is_asked_for(way: Way) -> None:
    way("watch", "a")
    jobs = [way("put", "x" * size, tube="a") for size in (1, 5000, 3)]
    assert way("reserve", 0).tube is None
    assert way("capabilities") == CAPABILITIES
    assert way("reserve", 0).tube == "a"  # over a connection that was there before
    assert way("peek", jobs[2]).tube == "a"
    assert way("reserve_job", jobs[2]).tube == "a"


def test_a_server_without_extensions_tells_no_tube(plain: Way) -> None:
    plain("capabilities")
    plain("watch", "untold")
    plain("put", "x", tube="untold")
    job = plain("reserve", 0)
    assert job.tube is None
    assert plain("peek", job).tube is None
    figures = plain("stats_tube", "untold")
    assert (figures.oldest_ready_age, figures.jobs_bytes) == (None, None)
    assert plain("stats").store is None
    plain("delete", job)


def test_statistics_tell_more_once_it_is_asked_for(way: Way) -> None:
    way("put", "12345", tube="a")
    assert way("stats_tube", "a").jobs_bytes is None
    way("capabilities")
    figures = way("stats_tube", "a")
    assert figures.jobs_bytes == 5
    assert figures.oldest_ready_age in (0, 1, 2, 3, 4, 5)
    assert (way("stats").store, way("stats").promise) == ("memory", "none")


def test_every_thread_asks(our_server: OurServer) -> None:
    """Also one that has a connection already, and one that gets its first."""
    told: list[str | None] = []

    def look(client: Client, before: threading.Event, after: threading.Event) -> None:
        client.stats()
        before.set()
        assert after.wait(20)
        told.append(client.peek(1).tube)

    with Client(our_server.address) as client:
        before, after = threading.Event(), threading.Event()
        thread = threading.Thread(target=look, args=(client, before, after))
        thread.start()
        assert before.wait(20)
        client.put("x", tube="a")
        client.capabilities()
        after.set()
        late = threading.Thread(target=look, args=(client, threading.Event(), after))
        late.start()
        thread.join(20)
        late.join(20)
    assert told == ["a", "a"]


# -- unique jobs --------------------------------------------------------------------


def test_put_unique(way: Way) -> None:
    job = way("put_unique", "mail/7", "x", tube="a", lifetime=60, delay=100)
    assert way("stats_job", job).tube == "a"
    way("delete", job)
    again = way("put_unique", "mail/7", b"y", tube="a")
    assert again == job
    assert isinstance(again, ExistingId)
    assert not isinstance(way("put_unique", "mail/7", b"y"), ExistingId)  # another tube
    for key in ("", "a b", "-a", "ü"):
        with pytest.raises(BadValueError, match="a key is spelled like a tube name"):
            way("put_unique", key, "x")


def test_unique_jobs_are_never_put_without_their_key(plain: Way) -> None:
    with pytest.raises(NotOfferedError, match=r"'put-unique'.*no other command"):
        plain("put_unique", "k", "x", tube="never-put")
    with pytest.raises(NotFoundError):
        plain("stats_tube", "never-put")


def test_a_unique_put_is_sent_again_if_its_key_outlives_the_tries(kind: Kind) -> None:
    put = b"put-unique k %d 65536 0 60 1\r\nx\r\n"
    asked = [ANY_STATS, (ASKED.request, words("put-unique"))]
    first: Script = [*asked, (put % 10, cut)]
    second: Script = [asked[1], (put % 10, b"EXISTS 5\r\n"), ANY_STATS, (put % 9, cut)]
    with ScriptedServer(first, second) as server:
        for way in speaking_to(kind, server.address):
            assert way("put_unique", "k", "x", lifetime=10, priority=65536, ttr=60) == 5
            with pytest.raises(ConnectionLostError):
                way("put_unique", "k", "x", lifetime=9, priority=65536, ttr=60)


# -- listing -------------------------------------------------------------------------


def test_list_jobs(way: Way) -> None:
    ids = way("put_many", ["x"] * 12, tube="a")
    jobs = way("list_jobs", "a", "ready")
    assert [job.id for job in jobs] == ids
    assert (jobs[0].bytes, jobs[0].tube, jobs[0].state) == (1, "a", "ready")
    assert [job.id for job in way("list_jobs", "a", "ready", after=ids[3], limit=2)] == ids[4:6]
    assert way("list_jobs", "a", "buried") == []
    with pytest.raises(BadValueError, match="state 'gone' is none of ready"):
        way("list_jobs", "a", "gone")
    with pytest.raises(BadValueError, match="limit 0 asks for nothing"):
        way("list_jobs", "a", "ready", limit=0)


def test_a_page_that_ends_early_is_gone_on_with(kind: Kind) -> None:
    page = b'{"id":7,"state":"ready"}\n{"after-id":99}\n'
    rest = b'{"id":100,"state":"ready"}\n'
    script: Script = [
        (ASKED.request, words("list-jobs")),
        (b"list-jobs a ready 0 3\r\n", b"OK %d\r\n%b\r\n" % (len(page), page)),
        (b"list-jobs a ready 99 2\r\n", b"OK %d\r\n%b\r\n" % (len(rest), rest)),
    ]
    with ScriptedServer(script) as server:
        for way in speaking_to(kind, server.address):
            assert [job.id for job in way("list_jobs", "a", "ready", limit=3)] == [7, 100]


# -- put into another tube ----------------------------------------------------------


def test_put_into_another_tube_once_it_is_known(kind: Kind) -> None:
    script: Script = [
        (ASKED.request, words("put-in-tube")),
        ANY_STATS,
        (b"put-in-tube a 5 0 60 1\r\nx\r\n", b"INSERTED 1\r\n"),
        (b"put 5 0 60 1\r\nx\r\n", b"INSERTED 2\r\n"),
    ]
    with ScriptedServer(script) as server:
        for way in speaking_to(kind, server.address):
            way("capabilities")
            assert way("put", "x", tube="a", priority=5, ttr=60) == 1
            assert way("put", "x", priority=5, ttr=60) == 2


def test_who_uses_no_extension_asks_for_none(kind: Kind) -> None:
    script: Script = [
        ANY_STATS,
        (b"use a\r\nput 5 0 60 1\r\nx\r\n", b"USING a\r\nINSERTED 1\r\n"),
    ]
    with ScriptedServer(script) as server:
        for way in speaking_to(kind, server.address):
            assert way("put", "x", tube="a", priority=5, ttr=60) == 1


def test_put_falls_back_where_another_server_has_come(kind: Kind) -> None:
    first: Script = [
        (ASKED.request, words("put-in-tube")),
        ANY_STATS,
        (b"put-in-tube a 5 0 60 1\r\nx\r\n", cut),
    ]
    second: Script = [
        (ASKED.request, b"UNKNOWN_COMMAND\r\n"),
        ANY_STATS,
        (b"use a\r\nput 5 0 60 1\r\nx\r\n", b"USING a\r\nINSERTED 1\r\n"),
    ]
    with ScriptedServer(first, second) as server:
        for way in speaking_to(kind, server.address):
            way("capabilities")
            with pytest.raises(ConnectionError):
                way("put", "x", tube="a", priority=5, ttr=60)
            assert way("put", "x", tube="a", priority=5, ttr=60) == 1


def test_jobs_arrive(way: Way) -> None:
    way("capabilities")
    body = os.urandom(1000)
    job = way("put", body, tube="a", delay=1000)
    stats = way("stats_job", job)
    assert (stats.tube, stats.state) == ("a", "delayed")
    assert way("peek", job).body == body
    assert way("list_tube_used") == "default"


# -- who holds what ---------------------------------------------------------------


def test_leases_and_clients(way: Way, our_server: OurServer) -> None:
    with Client(our_server.address) as worker:
        way("put_many", ["x"] * 1200, tube="a", ttr=600)
        worker.watch("a")
        worker.ignore("default")
        worker.reserve_many(1000)
        worker.reserve_many(150)  # more than fit on a page
        leases = way("list_leases")
        assert [one.id for one in leases] == list(range(1, 1151))
        assert {(one.tube, one.ttr, one.client) for one in leases} == {("a", 600, "")}
        assert all(one.peer.startswith("127.0.0.1:") for one in leases)
        (holder,) = [one for one in way("list_clients") if one.held]
        assert (holder.held, holder.watched, holder.worker) == (1150, ("a",), True)
        assert {one.connection for one in leases} == {holder.connection}


def test_times(way: Way) -> None:
    way("put", "x", tube="a")
    way("watch", "a")
    way("delete", way("reserve"))
    times = way("list_times", "a")
    assert (times.tube, times.waits.number, times.runs.number) == ("a", 1, 1)
    assert way("list_slow") == []
    with pytest.raises(NotFoundError):
        way("list_times", "b")


@pytest.mark.parametrize("method", ["list_leases", "list_clients", "list_slow"])
def test_who_does_not_offer_it_is_not_asked(plain: Way, method: str) -> None:
    with pytest.raises(NotOfferedError, match=method.replace("_", "-")):
        plain(method)
