"""The lines of the live view: what fits, what is cut, and that nothing steers the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from beanrow.observe.snapshot import Snapshot, TubeRates
from beanrow.protocol.holders import Connected, Lease
from beanrow.protocol.stats import ServerStats, TubeStats
from beanrow.protocol.times import Histogram, TubeTimes
from beanrow.top.table import (
    COLUMNS,
    chosen_columns,
    cut,
    head_line,
    lease_lines,
    rate,
    short,
    span,
    sparkline,
    tube_line,
)
from beanrow.top.watched import TREND, TubeRow, Watched


def tube(name: str = "mail", **figures: int) -> TubeStats:
    keys = [*TubeStats.__annotations__][1:14]
    values: dict[str, Any] = {**dict.fromkeys(keys, 0), **figures}
    return TubeStats(name=name, **values)


def row(name: str = "mail", **figures: int) -> TubeRow:
    return TubeRow(name, tube(name, **figures), TubeRates(12.34, 0.0), (1.0, 2.0), None, None)


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (0, 4, "0"),
        (9999, 4, "9999"),
        (12345, 4, "12k"),
        (1234, 3, "1k"),
        (1_234_567, 6, "1235k"),
        (1_234_567, 4, "1.2M"),
        (2**32, 5, "4295M"),
        (2**32, 4, "4.3G"),
        (9_960, 3, "10k"),
    ],
)
def test_numbers_fit(number: int, width: int, text: str) -> None:
    assert short(number, width) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.04, "0.0"), (59.63, "59.6"), (99.96, "100"), (123456, "123k")]
)
def test_rates_fit(number: float, text: str) -> None:
    assert rate(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, "-"), (0, "0s"), (0.0004, "0ms"), (0.25, "250ms"), (119, "119s"), (120, "2m")),
        *((7300, "2h"), (200_000, "2d"), (10**9, "11574d")),
    ],
)
def test_durations_fit(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 4, 8], 5, plain=False) == "▁▂▃▅█"
    assert sparkline([0, 4, 8], 5, plain=True) == "  _+@"
    assert sparkline([5, 9, 9, 9], 3, plain=False) == "███"
    assert sparkline([0, 0], 4, plain=True) == "  __"
    assert sparkline([], 4, plain=True) == "    "


def test_a_long_name_loses_its_middle() -> None:
    assert cut("mail.welcome.de.priority", 12, plain=True) == "mail.w~ority"
    assert cut("mail.welcome.de.priority", 12, plain=False) == "mail.w…ority"
    assert cut("mail", 6, plain=True) == "mail  "


def test_a_name_does_not_steer_the_terminal() -> None:
    assert cut("a\x1b[2Jb\x07\r\n", 12, plain=True) == "a?[2Jb???   "


@pytest.mark.parametrize("width", [80, 100, 120, 200, 300])
def test_lines_are_as_wide_as_there_is_room(width: int) -> None:
    hostile = row("x" * 200, current_jobs_ready=10**12, total_jobs=10**12, current_waiting=10**9)
    line = tube_line(hostile, width, at_cursor=True, plain=True)
    head = head_line(width, "ready", falling=True)
    assert len(line) == len(head) <= width
    assert "x" * 5 in line
    assert " READY " in head


def test_the_narrow_view_has_what_matters_and_the_wide_one_has_all() -> None:
    narrow, name = chosen_columns(80)
    assert [one.title for one in narrow] == [
        *("ready", "held", "delay", "buried", "put/s", "done/s", "trend", "wait", "watch", "idle")
    ]
    assert name >= 14
    assert chosen_columns(200)[0] == list(COLUMNS)


def test_cursor_and_pause_are_signs() -> None:
    assert tube_line(row(), 80, at_cursor=False, plain=True).startswith("  mail ")
    assert tube_line(row(), 80, at_cursor=True, plain=True).startswith("> mail ")
    paused = row(pause=60, pause_time_left=59)
    assert tube_line(paused, 80, at_cursor=True, plain=True).startswith(">Pmail ")


def lease(**changes: object) -> Lease:
    values = (7, "mail", 3, "10.0.0.5:4711", "shop/12", 5, 55, 60, 1)
    return Lease(*values)._replace(**changes)  # type: ignore[arg-type]  # whatever the test says


def client(**changes: object) -> Connected:
    values = (3, "10.0.0.5:4711", "", False, True, True, "default", 1, ("mail",), 0)
    return Connected(*values)._replace(**changes)  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize("width", [80, 200])
def test_workers_and_what_they_hold(width: int) -> None:
    lines = lease_lines(
        [
            client(held=1),
            client(connection=4, watched=("mail", "index")),
            client(connection=5, waiting=False),
            client(connection=6, waiting=False, worker=False),
        ],
        [lease(tube="mail\x1b[2J")],
        width,
        plain=True,
    )
    assert len(lines) == 4
    assert all(len(one) <= width for one in lines)
    assert [one.split()[-1] for one in lines[:2]] == ["left", "55s"]
    assert "shop/12 10.0.0.5:4711" in lines[1]
    assert " works " in lines[1]
    assert "\x1b" not in lines[1]
    assert " waits " in lines[2]
    assert "mail index" in lines[2]
    assert " away " in lines[3]


def snapshot(at: float, deleted: int, waits: Histogram, pid: int = 1) -> Snapshot:
    stats = ServerStats(pid=pid, id="a", total_jobs=deleted)
    return Snapshot(
        at,
        stats,
        {"mail": tube(cmd_delete=deleted, total_jobs=deleted)},
        frozenset(),
        {"mail": TubeTimes("mail", waits, Histogram())},
    )


def test_what_is_known_after_some_looks() -> None:
    watched = Watched()
    assert watched.rows() == []
    watched.add(snapshot(1.0, 0, Histogram((0, 100), 0)))
    (first,) = watched.rows()
    assert (first.rates, first.trend, first.run) == (TubeRates(0.0, 0.0), (), None)
    assert first.wait is not None  # of all jobs there were
    watched.add(snapshot(3.0, 10, Histogram((0, 100), 0)))
    (second,) = watched.rows()
    assert (second.rates, second.trend) == (TubeRates(5.0, 5.0), (5.0,))
    assert second.wait is None  # of the last looks: nobody took a job
    watched.add(snapshot(4.0, 10, Histogram((0, 100, 0, 0, 0, 1), 0)))
    (third,) = watched.rows()
    assert third.trend == (5.0, 0.0)
    assert third.wait == pytest.approx(0.0327, rel=0.1)
    for second_more in range(TREND * 2):
        watched.add(snapshot(5.0 + second_more, 10, Histogram()))
    assert len(watched.rows()[0].trend) == TREND


def test_a_server_that_was_started_again_has_no_rates_at_first() -> None:
    watched = Watched()
    watched.add(snapshot(1.0, 50, Histogram((0, 9), 0)))
    watched.add(snapshot(2.0, 70, Histogram((0, 9), 0), pid=2))
    assert watched.rates is None
    (only,) = watched.rows()
    assert only.rates == TubeRates(0.0, 0.0)
    assert only.trend == ()


def test_a_tube_that_vanished_is_forgotten() -> None:
    watched = Watched()
    watched.add(snapshot(1.0, 0, Histogram()))
    watched.add(snapshot(2.0, 5, Histogram()))
    gone = snapshot(3.0, 5, Histogram())
    gone.tubes.clear()
    watched.add(gone)
    watched.add(snapshot(4.0, 9, Histogram()))
    assert [(one.name, one.trend) for one in watched.rows()] == [("mail", (9.0,))]
