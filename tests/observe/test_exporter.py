"""The exporter: real servers, scraped as Prometheus scrapes them."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from beanrow import Client
from beanrow.client.address import read_address
from beanrow.observe.exporter import Exporter, ExporterServer
from beanrow.observe.exposition import Naming
from beanrow.observe.snapshot import ALL_TUBES, Tubes
from beanrow.protocol import commands
from tests.servers import Daemon, OurServer, Server

# What davidtannock/beanstalkd_exporter v2 tells.
TANNOCK_SERVER = {
    *(
        f"cmd_{command}_total"
        for command in [
            "bury",
            "delete",
            "ignore",
            "kick",
            "list_tube_used",
            "list_tubes",
            "list_tubes_watched",
            "pause_tube",
            "peek",
            "peek_buried",
            "peek_delayed",
            "peek_ready",
            "put",
            "release",
            "reserve",
            "reserve_with_timeout",
            "stats",
            "stats_job",
            "stats_tube",
            "touch",
            "use",
            "watch",
        ]
    ),
    *(
        f"current_{what}_count"
        for what in [
            "connections",
            "jobs_buried",
            "jobs_delayed",
            "jobs_ready",
            "jobs_reserved",
            "jobs_urgent",
            "producers",
            "tubes",
            "waiting",
            "workers",
        ]
    ),
    *("job_timeouts_count", "total_connections_count", "total_jobs_count"),
    *("up", "exporter_scrapes_total"),
}
TANNOCK_TUBE = {
    *("tube_cmd_delete_total", "tube_cmd_pause_tube_total", "tube_total_jobs_count"),
    *("tube_pause_seconds_total", "tube_pause_time_left_seconds_total"),
    *(
        f"tube_current_jobs_{state}_count"
        for state in ["buried", "delayed", "ready", "reserved", "urgent"]
    ),
    *(f"tube_current_{what}_count" for what in ("using", "waiting", "watching")),
}


@pytest.fixture(params=["beanrow", "beanstalkd"])
def quiet(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that only this test knows."""
    with OurServer() if request.param == "beanrow" else Daemon() as running:
        yield running


@contextmanager
def exporting(
    *servers: Server, tubes: Tubes = ALL_TUBES, naming: Naming = "davidtannock"
) -> Iterator[Callable[[], str]]:
    """An exporter of these servers; gives what scrapes it."""
    exporter = Exporter([read_address(one.address) for one in servers], tubes, naming)
    with ExporterServer("127.0.0.1", 0, exporter) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield partial(scraped, web)
        finally:
            web.shutdown()
            thread.join()
            exporter.close()


def scraped(web: ExporterServer) -> str:
    return fetch(web, "/metrics")[1].decode()


def fetch(web: ExporterServer, path: str, **headers: str) -> tuple[str, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{web.server_address[1]}{path}", headers=headers
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read()


def samples(text: str) -> Iterator[tuple[str, Metric, Sample]]:
    """Each sample by its name in the text; the library's own parser judges that.

    It appends ``_total`` to the name of each counter that ends otherwise.
    """
    said = set(re.findall(r"^([a-z_]+)[ {]", text, re.MULTILINE))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            yield name if name in said else name.removesuffix("_total"), family, sample


def families(text: str) -> dict[str, Metric]:
    """By the names of the samples."""
    return {name: family for name, family, _ in samples(text)}


def value(text: str, name: str, **labels: str) -> float | None:
    for said, _, sample in samples(text):
        if (said, sample.labels) == (name, labels):
            return sample.value
    return None


def test_the_names_are_those_of_davidtannock(quiet: Server) -> None:
    with Client(quiet.address) as client, exporting(quiet) as scrape:
        client.put("x", tube="mail")
        text = scrape()
    found = families(text)
    assert {f"beanstalkd_{name}" for name in TANNOCK_SERVER | TANNOCK_TUBE} <= found.keys()
    assert all(name.startswith("beanstalkd_") for name in found)
    for name in TANNOCK_TUBE:
        family = found[f"beanstalkd_{name}"]
        assert {one.labels["tube"] for one in family.samples} == {"default", "mail"}


def test_counters_are_counters(quiet: Server) -> None:
    with Client(quiet.address) as client, exporting(quiet) as scrape:
        client.put("x", tube="mail")
        text = scrape()
    found = families(text)
    kinds = {name: family.type for name, family in found.items()}
    counters = (
        "cmd_put_total",
        "total_jobs_count",
        "job_timeouts_count",
        "total_connections_count",
        "tube_total_jobs_count",
        "tube_cmd_delete_total",
        "rusage_utime_seconds_total",
        "exporter_scrapes_total",
    )
    gauges = ("current_jobs_ready_count", "tube_pause_seconds_total", "up", "draining")
    assert {kinds[f"beanstalkd_{name}"] for name in counters} == {"counter"}
    assert {kinds[f"beanstalkd_{name}"] for name in gauges} == {"gauge"}


def test_what_it_tells_is_so(quiet: Server) -> None:
    with Client(quiet.address) as client, exporting(quiet) as scrape:
        client.put_many(["x"] * 3, tube="mail")
        client.put("y", tube="mail", delay=600)
        client.pause_tube("mail", 300)
        text = scrape()
        assert value(text, "beanstalkd_tube_current_jobs_ready_count", tube="mail") == 3
        assert value(text, "beanstalkd_tube_current_jobs_delayed_count", tube="mail") == 1
        assert value(text, "beanstalkd_tube_pause_seconds_total", tube="mail") == 300
        assert value(text, "beanstalkd_current_jobs_ready_count") == 3
        assert value(text, "beanstalkd_cmd_put_total") == 4
        assert value(text, "beanstalkd_up") == 1
        (info,) = families(text)["beanstalkd_version_info"].samples
        assert info.labels["version"] == client.stats().version
        assert value(scrape(), "beanstalkd_exporter_scrapes_total") == 2
    assert "nan" not in text.lower()


def test_our_server_tells_more() -> None:
    with OurServer() as server, Client(server.address) as client, exporting(server) as scrape:
        client.put_many(["x"] * 3, tube="mail")
        client.watch("mail")
        for _ in range(2):
            client.delete(client.reserve())
        text = scrape()
    assert value(text, "beanstalkd_tube_wait_seconds_count", tube="mail") == 2
    assert value(text, "beanstalkd_tube_run_seconds_bucket", tube="mail", le="+Inf") == 2
    assert value(text, "beanstalkd_tube_jobs_bytes", tube="mail") == 1
    assert value(text, "beanstalkd_tube_oldest_ready_age_seconds", tube="mail") == 0
    assert families(text)["beanstalkd_tube_wait_seconds_sum"].type == "histogram"
    assert value(text, "beanstalkd_tube_wait_seconds_count", tube="default") is None


def test_the_names_of_messagebird(quiet: Server) -> None:
    with (
        Client(quiet.address) as client,
        exporting(quiet, naming="messagebird") as scrape,
    ):
        client.put("x", tube="mail")
        text = scrape()
        stats, tube = client.stats(), client.stats_tube("mail")
    where = {"instance": quiet.address}
    numbers = {
        key.replace("-", "_")
        for key, one in stats.as_dict().items()
        if isinstance(one, int | float) and key != "pid"
    }
    found = families(text)
    assert numbers <= found.keys()
    assert {
        f"tube_{key.replace('-', '_')}" for key, one in tube.as_dict().items() if key != "name"
    } <= found.keys()
    assert value(text, "current_jobs_ready", **where) == 1
    assert value(text, "tube_total_jobs", tube="mail", **where) == 1
    assert value(text, "beanstalkd_exporter_requests_total", outcome="success", **where) == 1
    assert found["cmd_put"].type == "counter"


def test_a_tube_that_is_gone_has_no_figures(quiet: Server) -> None:
    with Client(quiet.address) as client, exporting(quiet) as scrape:
        job = client.put("x", tube="mail")
        assert 'tube="mail"' in scrape()
        client.delete(job)
        client.use("default")
        assert 'tube="mail"' not in scrape()


def test_globs_choose_tubes(quiet: Server) -> None:
    with (
        Client(quiet.address) as client,
        exporting(quiet, tubes=Tubes(("mail*",), ("*.test",))) as scrape,
    ):
        for name in ("mail.de", "mail.test", "index"):
            client.put("x", tube=name)
        text = scrape()
    told = families(text)["beanstalkd_tube_total_jobs_count"].samples
    assert [one.labels["tube"] for one in told] == ["mail.de"]
    assert value(text, "beanstalkd_current_jobs_ready_count") == 3  # of the whole server


def test_several_servers_and_one_that_does_not_answer(
    start_ours: Callable[..., OurServer], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = start_ours(), start_ours()
    with Client(one.address) as client, exporting(one, other) as scrape:
        client.put("x")
        other.stop()
        text = scrape()
        assert value(text, "beanstalkd_up", server=one.address) == 1
        assert value(text, "beanstalkd_up", server=other.address) == 0
        assert value(text, "beanstalkd_exporter_scrape_errors_total", server=other.address) == 1
        ready = families(text)["beanstalkd_current_jobs_ready_count"].samples
        assert [(sample.labels, sample.value) for sample in ready] == [({"server": one.address}, 1)]
        scrape()
    said = capsys.readouterr().err
    assert said.count(other.address) == 1  # once, however long it lasts


def test_a_server_that_was_started_again_is_seen_again() -> None:
    with ExitStack() as running:
        first = running.enter_context(OurServer())
        scrape = running.enter_context(exporting(first))
        assert value(scrape(), "beanstalkd_up") == 1
        first.stop()
        assert value(scrape(), "beanstalkd_up") == 0
        running.enter_context(OurServer("-p", str(first.port)))
        assert value(scrape(), "beanstalkd_up") == 1


def test_what_a_peer_asks(our_server: OurServer) -> None:
    exporter = Exporter([read_address(our_server.address)], ALL_TUBES)
    with ExporterServer("127.0.0.1", 0, exporter) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kind, page = fetch(web, "/")
        assert b"/metrics" in page
        kind, packed = fetch(web, "/metrics?x=1", **{"Accept-Encoding": "gzip"})
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert b"beanstalkd_up 1" in gzip.decompress(packed)
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(web, "/etc/passwd")
        assert refused.value.code == 404
        refused.value.close()
        web.shutdown()
        thread.join()
    exporter.close()


def test_peers_that_say_nothing_do_not_pile_up(our_server: OurServer) -> None:
    exporter = Exporter([read_address(our_server.address)], ALL_TUBES)
    with ExporterServer("127.0.0.1", 0, exporter) as web, ExitStack() as idle:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        place = ("127.0.0.1", int(web.server_address[1]))
        peers = [idle.enter_context(socket.create_connection(place, 20)) for _ in range(16)]
        with socket.create_connection(place, 20) as one_more:
            assert one_more.recv(100) == b""  # closed at once
        peers[0].close()
        answer = b""
        while b"beanstalkd_up 1" not in answer:  # its place is free once its thread has seen it
            with contextlib.suppress(OSError):
                answer = fetch(web, "/metrics")[1]
        for peer in peers:
            peer.close()
        web.shutdown()
        thread.join()
    exporter.close()


@pytest.mark.long
def test_five_thousand_tubes(quiet: Server) -> None:
    with Client(quiet.address) as client, exporting(quiet) as scrape:
        with client.pipeline() as pipe:
            for number in range(5000):
                pipe.add(commands.use(f"tube-{number}"))
                pipe.add(commands.put(b"x"))
        text = scrape()
    assert text.count("beanstalkd_tube_total_jobs_count{") == 5001
