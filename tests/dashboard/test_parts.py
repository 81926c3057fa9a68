"""The parts that need no server: history, graphs, words, bodies."""

from __future__ import annotations

import gzip
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanrow.dashboard import words
from beanrow.dashboard.bodies import editable, from_form, read_body
from beanrow.dashboard.graph import HEIGHT, WIDTH, bars_of, graphs_of
from beanrow.dashboard.history import SPANS, Figures, History, Point, rates
from beanrow.errors import BadValueError
from beanrow.observe.snapshot import Snapshot
from beanrow.protocol.stats import ServerStats, TubeStats
from beanrow.protocol.times import Histogram


def seen(at: float, tubes: dict[str, int], puts: int = 0) -> Snapshot:
    """A server at a time, with so many ready jobs in each tube."""
    none = {f"current_jobs_{state}": 0 for state in ("reserved", "delayed", "buried")}
    counts: dict[str, Any] = {**none, "total_jobs": puts, "cmd_delete": 0}
    server = ServerStats(current_jobs_ready=sum(tubes.values()), **counts)
    return Snapshot(
        at,
        server,
        {name: TubeStats(name=name, current_jobs_ready=n, **counts) for name, n in tubes.items()},
    )


def test_a_tube_that_vanishes_is_forgotten() -> None:
    history = History()
    history.add(seen(0, {"a": 1, "b": 2}))
    history.add(seen(5, {"b": 2}))
    assert history.of_tube("a", 0) == []
    assert [point.at for point in history.of_tube("b", 0)] == [0, 5]


def test_a_stretch_of_equal_figures_is_its_two_ends() -> None:
    history = History()
    for at in range(0, 500, 5):
        history.add(seen(at, {"a": 1 if at < 250 else 2}))
    told = [(point.at, point.figures.ready) for point in history.of_tube("a", 0)]
    assert told == [(0, 1), (245, 1), (250, 2), (495, 2)]


def test_a_span_forgets_what_is_older() -> None:
    history = History()
    for at in range(0, 3000, 2):
        history.add(seen(at, {"a": at}))
    points = history.of_server(0)
    assert points[-1].at - points[0].at <= SPANS[0].length + 4
    assert len(points) <= SPANS[0].length / SPANS[0].step + 2
    assert history.of_server(1)[0].at == 0


def test_many_tubes_have_fewer_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beanrow.dashboard.history._MOST_POINTS", 1500)
    history = History()
    names = [f"tube-{number}" for number in range(50)]
    for at in range(0, 200, 2):
        history.add(seen(at, dict.fromkeys(names, at)))
    assert len(history.of_tube("tube-7", 0)) == 10
    assert len(history.of_server(0)) == 100


def point(at: float, puts: int, deletes: int = 0) -> Point:
    return Point(at, Figures(1, 2, 3, 4, puts, deletes))


def test_rates_are_differences_and_never_negative() -> None:
    told = rates([point(0, 10), point(2, 30, 4), point(3, 5)])
    assert told == [(2, 10.0, 2.0), (3, 0.0, 0.0)]


def test_a_graph_stays_within_its_frame_and_reaches_now() -> None:
    points = [point(at, at * at) for at in range(0, 2000, 2)]
    for one in graphs_of(points, 0, 2003.0):
        for line in one.lines:
            places = [tuple(map(float, pair.split(","))) for pair in line.points.split()]
            assert len(places) <= 302
            assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
            assert places[-1][0] == WIDTH
    assert [line.word for line in graphs_of([], 0, 5.0)[0].lines] == [
        "ready",
        "reserved",
        "delayed",
        "buried",
    ]


def test_bars_begin_with_the_first_that_is_not_empty() -> None:
    bars = bars_of(Histogram((0, 0, 5, 0, 10), 1))
    assert [(bar.number, bar.width) for bar in bars] == [(5, 50.0), (0, 0.0), (10, 100.0)]
    assert bars_of(Histogram()) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0 s"), (119.9, "119 s"), (120, "2 min"), (7200, "2 h 0 min"), (200_000, "2 d 7 h")],
)
def test_durations(value: float, told: str) -> None:
    assert words.seconds(value) == told


def test_other_words() -> None:
    assert words.number(1234567) == "1\u202f234\u202f567"
    assert [words.rate(one) for one in (0, 0.04, 2.55, 99.6)] == ["0", "0.0", "2.5", "100"]
    assert [words.size(one) for one in (1, 5000, 20_000, 2**25)] == [
        "1 byte",
        "5\u202f000 bytes",
        "20 KiB",
        "32 MiB",
    ]
    assert [words.brief(one) for one in (0.00104, 0.5, 3.21, 400)] == [
        "1.0 ms",
        "500 ms",
        "3.2 s",
        "6 min",
    ]
    assert words.when(0) == "1970-01-01 00:00:00 UTC"


@given(st.binary(max_size=60) | st.text("ab\r\n\t<&\0ä", max_size=30).map(str.encode))
def test_a_body_comes_back_from_a_form_as_it_was(body: bytes) -> None:
    text, how = editable(body)
    sent = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")  # as browsers do
    assert from_form(sent, how) == body


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(BadValueError, match="is edited as base64"):
        from_form("not base64!", "base64")


@given(st.binary(max_size=200))
def test_any_body_can_be_shown(body: bytes) -> None:
    for packed in (body, gzip.compress(body), b"\x80\x04" + body + b".", b"\x1f\x8b" + body):
        shown = read_body(packed)
        assert shown.kind
        assert isinstance(shown.text, str)


def test_what_unpacks_to_more_than_memory_has_is_cut() -> None:
    bomb = gzip.compress(b"x" * 50_000_000)
    shown = read_body(bomb)
    assert shown.kind == "gzip, in it text"
    assert len(shown.text) == 256 * 1024
    assert not shown.whole


class Armed:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_a_pickle_is_told_and_not_opened() -> None:
    shown = read_body(pickle.dumps(Armed()))
    assert shown.kind == "a Python pickle, told and not opened"
    assert "REDUCE" in shown.text
    assert "1/0" in shown.text


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]"])
def test_json_is_indented(text: str) -> None:
    assert read_body(text.encode()).kind == "JSON"


@pytest.mark.parametrize("text", ["12", "{", "word", "[" * 100_000])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert read_body(text.encode())[:2] == ("text", text)
