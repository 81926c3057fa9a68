from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from examples.demo.accounting import BadReportError, Report, ServerSide, find_problems, settle

PUT = {1: "http://site/1", 2: "http://site/2", 3: "http://site/3"}
REPORTS = [
    Report(1, 1, "http://site/1", "done", "One"),
    Report(2, 2, "http://site/2", "released", error="HTTP 404"),
    Report(1, 2, "http://site/2", "buried", error="HTTP 404"),
    Report(2, 3, "http://site/3", "done", "Three"),
]
SERVER = ServerSide({2: "buried"}, put=3, deleted=2, ready=0, reserved=0, delayed=0, buried=1)


def problems(
    reports: list[Report] = REPORTS,
    server: ServerSide = SERVER,
    died: frozenset[int] = frozenset(),
    put: Mapping[int, str] = PUT,
) -> list[str]:
    return find_problems(list(PUT.values()), put, settle(reports, died), server)


def test_a_run_that_adds_up_has_no_problem() -> None:
    assert problems() == []


def test_releases_are_counted_and_ends_sorted() -> None:
    account = settle(REPORTS, set())
    assert account.retried == 1
    assert [report.job for report in account.with_outcome("done")] == [1, 3]
    assert [report.error for report in account.with_outcome("buried")] == ["HTTP 404"]


def test_a_job_that_nobody_reports_is_told_with_its_url() -> None:
    told = problems(REPORTS[:-1])
    assert "job 3 (http://site/3): no worker reported its end; the server has it no more" in told
    assert "the server counts 2 deleted, and it should be 1" in told
    assert "put 3 is not deleted 1 + buried 1" in told


def test_a_release_is_no_end() -> None:
    told = problems([*REPORTS[:2], REPORTS[3]])
    assert "job 2 (http://site/2): no worker reported its end; the server has it buried" in told


def test_a_job_reported_done_that_the_server_still_has() -> None:
    server = dataclasses.replace(SERVER, left={2: "buried", 3: "ready"}, deleted=1, ready=1)
    assert problems(server=server) == [
        "job 3 (http://site/3): worker 2 reported it done; the server has it ready",
        "the server counts 1 deleted, and it should be 2",
        "the server counts 1 ready, and it should be 0",
    ]


def test_a_job_reported_buried_that_is_gone() -> None:
    server = dataclasses.replace(SERVER, left={}, deleted=3, buried=0)
    told = problems(server=server)
    assert "job 2 (http://site/2): worker 1 reported it buried; the server has it no more" in told


@pytest.mark.parametrize("state", ["put", "deleted", "ready", "reserved", "delayed", "buried"])
def test_each_sum_of_the_server_counts(state: str) -> None:
    counted: dict[str, Any] = {state: getattr(SERVER, state) + 1}
    told = problems(server=dataclasses.replace(SERVER, **counted))
    assert len(told) == 1
    assert f"{counted[state]} {state}" in told[0]


def test_a_job_done_twice_by_living_workers() -> None:
    told = problems([*REPORTS, Report(2, 1, "http://site/1", "done")])
    assert told == ["job 1 (http://site/1): done by worker 2 after it was done by worker 1"]


def test_a_job_released_after_it_was_done() -> None:
    told = problems([*REPORTS, Report(2, 1, "http://site/1", "released")])
    assert told == ["job 1 (http://site/1): released by worker 2 after it was done by worker 1"]


def test_the_last_job_of_a_dead_worker_may_be_done_again() -> None:
    again = [*REPORTS, Report(1, 3, "http://site/3", "done")]
    assert problems(again, died=frozenset({2})) == []
    assert settle(again, {2}).repeated == 1


def test_an_earlier_job_of_a_dead_worker_may_not() -> None:
    again = [*REPORTS, Report(2, 1, "http://site/1", "done")]
    told = problems(again, died=frozenset({1}))  # worker 1 lived on after job 1, and buried job 2
    assert told == ["job 1 (http://site/1): done by worker 2 after it was done by worker 1"]


def test_a_job_of_somebody_else() -> None:
    told = problems([*REPORTS, Report(1, 9, "http://other/", "done")])
    assert told[0] == "job 9 (http://other/) was taken by a worker and is none of this run"


def test_a_job_done_as_another_url() -> None:
    told = problems([dataclasses.replace(REPORTS[0], url="http://site/7"), *REPORTS[1:]])
    assert told == ["job 1: put as http://site/1, done as http://site/7"]


def test_a_url_never_put_and_one_put_twice() -> None:
    told = problems(put={**PUT, 3: "http://site/2"})
    assert "http://site/2: 1 on the site, put 2 times" in told
    assert "http://site/3: 1 on the site, put 0 times" in told


def test_a_report_is_read_from_a_line() -> None:
    line = {"job": 7, "url": "http://site/7", "outcome": "done", "title": "A", "links": ["/b"]}
    report = Report.read(3, json.dumps(line))
    assert report == Report(3, 7, "http://site/7", "done", "A", ("/b",))


@pytest.mark.parametrize(
    "line", ["Traceback", "[]", "null", "{}", '{"job": 1, "url": "x"}', '"text"']
)
def test_a_line_that_is_no_report(line: str) -> None:
    with pytest.raises(BadReportError, match="worker 3 printed no report"):
        Report.read(3, line)


def test_an_outcome_that_nobody_knows() -> None:
    with pytest.raises(BadReportError, match="unknown outcome"):
        Report.read(3, '{"job": 1, "url": "x", "outcome": "lost"}')
