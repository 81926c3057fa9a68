"""Statistics: typed, read as every daemon writes them, written as 1.13 does."""

from __future__ import annotations

import pytest

from beanrow import Client
from beanrow.errors import StatsParsingError
from beanrow.protocol.stats import (
    JobStats,
    ServerStats,
    Stats,
    TubeStats,
    read_list,
    write_list,
)
from tests.servers import Daemon

NAMES = ["t", "my-tube", "12145", "1.5", "null", "true", "~", "0x1f", "a:b"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["{}", '"{}"'])
def test_a_name_is_text_quoted_or_not(name: str, form: str) -> None:
    assert TubeStats.read(f"---\nname: {form.format(name)}\n".encode()).name == name
    assert JobStats.read(f"---\ntube: {form.format(name)}\n".encode()).tube == name


def test_types_follow_from_the_key() -> None:
    told = ServerStats.read(
        b'---\npid: 7\nversion: "1.13"\nrusage-utime: 0.250000\ndraining: true\nid: 0123\n'
        b'hostname: "123"\nos: #1 SMP\nplatform: x86_64\n'
    )
    assert (told.pid, told.version, told.rusage_utime, told.draining) == (7, "1.13", 0.25, True)
    assert (told.id, told.hostname, told.os) == ("0123", "123", "#1 SMP")


def test_unknown_keys_are_kept_and_missing_ones_are_told() -> None:
    told = TubeStats.read(b'---\nname: "t"\nother-figure: 5\nnew: "x y"\n')
    assert told.extra == {"other-figure": "5", "new": "x y"}
    assert told.as_dict() == {"name": "t", "other-figure": "5", "new": "x y"}
    with pytest.raises(AttributeError, match="this server sent no 'current-jobs-ready'"):
        _ = told.current_jobs_ready


@pytest.mark.parametrize(
    "stats",
    [
        TubeStats(name='a"b\\c', pause=3),
        JobStats(id=1, tube="12145", state="ready", pri=0),
        ServerStats(pid=1, version="1.13", rusage_utime=0.5, draining=False, id="ab", os="#1"),
    ],
)
def test_what_is_written_is_read_again(stats: Stats) -> None:
    assert type(stats).read(stats.write()) == stats


def test_written_as_1_13_does() -> None:
    assert TubeStats(name="t", pause=3).write() == b'---\nname: "t"\npause: 3\n'
    told = ServerStats(version="1", rusage_utime=0.5, draining=False, id="ab")
    assert told.write() == (b'---\nversion: "1"\nrusage-utime: 0.500000\ndraining: false\nid: ab\n')


@pytest.mark.parametrize(
    "document",
    [b"", b"pid: 1\n", b"---\npid\n", b"---\npid: many\n", b"---\nrusage-utime: x\n", b"--- \n"],
)
def test_what_are_no_statistics(document: bytes) -> None:
    with pytest.raises(StatsParsingError) as told:
        ServerStats.read(document)
    assert told.value.document == document


def test_lists() -> None:
    assert read_list(b"---\n") == []
    assert read_list(write_list(NAMES)) == NAMES
    assert read_list(b'---\n- "a"\n- b\n') == ["a", "b"]
    with pytest.raises(StatsParsingError, match="no '- name'"):
        read_list(b"---\na: b\n")


MORE = {"store", "promise", "oldest-ready-age", "jobs-bytes"}
"""What our server alone tells, and only who asked."""


def test_the_schema_is_the_daemons(daemon: Daemon, tube: str) -> None:
    """Every key it sends is typed, in its order, and none is missing."""
    with Client(daemon.address) as client:
        job_id = client.put("x", tube=tube)
        for told in (client.stats(), client.stats_tube(tube), client.stats_job(job_id)):
            assert told.extra == {}
            assert set(told.as_dict()) == set(told._schema) - MORE
        client.delete(job_id)
