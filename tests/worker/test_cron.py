"""When schedules tick: fields, and the days on which clocks change."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from beanrow import BadTypeError, BadValueError
from beanrow.worker.cron import read_when

BERLIN = "Europe/Berlin"  # forward on 2026-03-29 02:00, back on 2026-10-25 03:00


def ticks(when: str | timedelta, after: str, count: int, tz: str = "UTC") -> list[str]:
    zone = ZoneInfo(tz)
    schedule = read_when(when, tz)
    at = datetime.fromisoformat(after).replace(tzinfo=zone).timestamp()
    found = []
    for _ in range(count):
        at = schedule.next(at)
        found.append(datetime.fromtimestamp(at, zone).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("when", "after", "expected"),
    [
        ("*/5 * * * *", "2026-01-01 00:01", ["01-01 00:05", "01-01 00:10"]),
        ("0 9-17/4 * * mon-fri", "2026-01-02 13:00", ["01-02 17:00", "01-05 09:00"]),
        ("30 6 1,15 * *", "2026-01-01 06:30", ["01-15 06:30", "02-01 06:30"]),
        ("0 0 13 * fri", "2026-02-01 00:00", ["02-06 00:00", "02-13 00:00", "02-20 00:00"]),
        ("0 0 29 feb *", "2026-01-01 00:00", ["02-29 00:00"]),
        ("0 0 * * 7", "2026-01-01 00:00", ["01-04 00:00"]),
        ("@daily", "2026-12-31 00:00", ["01-01 00:00"]),
        ("59 23 31 dec *", "2026-12-31 23:59", ["12-31 23:59"]),
        ("5/20 * * * *", "2026-01-01 00:00", ["01-01 00:05", "01-01 00:25", "01-01 00:45"]),
        (timedelta(minutes=7), "2026-01-01 00:00", ["01-01 00:05", "01-01 00:12"]),
    ],
)
def test_fields(when: str | timedelta, after: str, expected: list[str]) -> None:
    found = ticks(when, after, len(expected))
    if when != timedelta(minutes=7):
        assert found == [f"{one} +0000" for one in expected]
    else:
        assert len(set(found)) == 2


def test_where_the_clock_is_put_forward_a_tick_comes_as_the_gap_ends() -> None:
    assert ticks("30 2 * * *", "2026-03-28 12:00", 2, BERLIN) == [
        "03-29 03:00 +0200", "03-30 02:30 +0200"
    ]  # fmt: skip
    assert ticks("30 * * * *", "2026-03-29 01:00", 2, BERLIN) == [
        "03-29 01:30 +0100", "03-29 03:30 +0200"
    ]  # fmt: skip
    assert ticks("*/30 * * * *", "2026-03-29 01:30", 2, BERLIN) == [
        "03-29 03:00 +0200", "03-29 03:30 +0200"
    ]  # fmt: skip


def test_where_the_clock_is_put_back_a_tick_at_an_hour_comes_once() -> None:
    assert ticks("30 2 * * *", "2026-10-24 12:00", 2, BERLIN) == [
        "10-25 02:30 +0200", "10-26 02:30 +0100"
    ]  # fmt: skip
    assert ticks("30 * * * *", "2026-10-25 02:00", 3, BERLIN) == [
        "10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"
    ]  # fmt: skip


@pytest.mark.parametrize("zone", [BERLIN, "America/Havana", "Australia/Lord_Howe", "UTC"])
def test_a_tick_every_hour_is_every_hour_of_real_time(zone: str) -> None:
    """Havana puts the clock at midnight; Lord Howe by half an hour."""
    schedule = read_when("15 * * * *", zone)
    odd = 0
    for day in [datetime(2026, 1, 1, tzinfo=UTC), *changes_of_the_clock(zone)]:
        at = schedule.next(day.timestamp())
        for _ in range(72):
            at, before = schedule.next(at), at
            assert at - before in {3600.0, 1800.0, 5400.0}
            odd += at - before != 3600
    assert odd <= (4 if zone == "Australia/Lord_Howe" else 0)


def changes_of_the_clock(zone: str) -> list[datetime]:
    """The days before those on which it is changed."""
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(365)]
    offsets = [day.astimezone(ZoneInfo(zone)).utcoffset() for day in days]
    found = [days[n] - timedelta(days=1) for n in range(364) if offsets[n] != offsets[n + 1]]
    assert len(found) == (0 if zone == "UTC" else 2)
    return found


@pytest.mark.parametrize("zone", [BERLIN, "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize("when", ["30 2 * * *", "0 0 * * *", "30 0 * * *", "45 1 * * *"])
def test_a_daily_tick_comes_once_each_local_day(zone: str, when: str) -> None:
    schedule = read_when(when, zone)
    at = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    days = []
    for _ in range(400):
        at = schedule.next(at)
        days.append(datetime.fromtimestamp(at, ZoneInfo(zone)).date())
    assert [b - a for a, b in itertools.pairwise(days)] == [timedelta(days=1)] * 399


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("* * * *", "has 4 fields"),
        ("60 * * * *", "minute '60' is not in 0..59"),
        ("* * * * xyz", "day of the week 'xyz'"),
        ("5-1 * * * *", "runs backwards"),
        ("*/0 * * * *", "no step"),
        ("0 0 30 feb *", "never ticks"),
        ("², * * * *", "minute"),
        (0, "every 0 seconds"),
    ],
)
def test_what_is_no_schedule_is_refused(when: str | int, words: str) -> None:
    with pytest.raises(BadValueError, match=words.replace(".", r"\.")):
        read_when(when, "UTC")


def test_a_time_zone_that_is_none() -> None:
    with pytest.raises(BadValueError, match="not known here"):
        read_when("* * * * *", "Europe/Atlantis")
    with pytest.raises(BadTypeError, match="a time zone is a name"):
        read_when("* * * * *", 5)  # type: ignore[arg-type]
