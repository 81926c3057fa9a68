"""When a schedule ticks: the five fields of cron in a time zone, or every so many seconds.

Laws:
- Pure: given an instant (seconds since 1970, UTC), it gives the next one after it.
- Where the clock is put forward, a tick whose local time is left out comes as the gap ends; one
  that comes every hour has its next one there anyway and is not moved. Where the clock is put
  back, a tick at a given hour comes once, the first time; one that comes every hour comes each
  time.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from math import floor
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from beanrow.errors import BadTypeError, BadValueError
from beanrow.protocol.values import Duration, seconds

__all__ = ["Cron", "Interval", "When", "read_when"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_SHORT = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MOST_DAYS = 8 * 366 + 1
"""Days looked through: the 29th of February is up to eight years away."""


class When(Protocol):
    """A schedule."""

    def next(self, after: float) -> float:
        """Give the first tick after this instant."""


class Interval:
    """Every so many seconds, counted from 1970 so that all schedulers agree."""

    def __init__(self, every: Duration) -> None:
        self.every: int = seconds(every, "the interval of a schedule")
        if not self.every:
            raise BadValueError("a schedule cannot tick every 0 seconds; give 1 or more")

    def next(self, after: float) -> float:
        """Give the first tick after this instant."""
        return float((floor(after / self.every) + 1) * self.every)

    def __str__(self) -> str:
        return f"every {self.every} s"


class Cron:
    """The five fields: minute, hour, day of the month, month, day of the week (0 and 7 Sunday).

    Each is ``*``, a number, a name (``mon``, ``jan``), a range ``1-5``, a list ``1,15``, with a
    step behind a ``/``. Where both days are given, either will do.
    """

    def __init__(self, text: str, tz: tzinfo) -> None:
        self._text = text
        self._tz = tz
        fields = _SHORT.get(text.strip().lower(), text).split()
        if len(fields) != 5:
            raise BadValueError(
                f"schedule {text!r} has {len(fields)} fields, not the five of cron: minute, hour, "
                "day of the month, month, day of the week"
            )
        minutes, hours, days, months, weekdays = (
            _field(text, field, *limits) for field, limits in zip(fields, _FIELDS, strict=True)
        )
        self._times = [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]
        self._every_hour = fields[1].startswith("*")
        self._days = None if fields[2].startswith("*") else days
        self._months = months
        self._weekdays = None if fields[4].startswith("*") else {day % 7 for day in weekdays}
        self.next(0.0)  # one that never ticks is refused now

    def next(self, after: float) -> float:
        """Give the first tick after this instant; BadValueError if there is none in years."""
        # The day before too: where the clock is put back at midnight it begins twice.
        day = datetime.fromtimestamp(after, self._tz).date() - timedelta(days=1)
        found: list[float] = []
        for _ in range(_MOST_DAYS):
            if self._is_on(day):
                found += [one for at in self._times for one in self._instants(day, at)]
                found = [one for one in found if one > after]
                if found and min(found) < _midnight_after(day, self._tz) - 7200:
                    break
            elif found:
                break
            day += timedelta(days=1)
        if not found:
            raise BadValueError(f"schedule {self._text!r} never ticks: there is no such day")
        return min(found)

    def _is_on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        monthly = self._days is not None and day.day in self._days
        weekly = self._weekdays is not None and day.isoweekday() % 7 in self._weekdays
        if self._days is not None and self._weekdays is not None:
            return monthly or weekly
        return (self._days is None or monthly) and (self._weekdays is None or weekly)

    def _instants(self, day: date, at: time) -> list[float]:
        """Give the instants at which a clock on the wall shows this: one, none, or two."""
        local = datetime.combine(day, at)
        early, late = (local.replace(tzinfo=self._tz, fold=fold).timestamp() for fold in (0, 1))
        if early == late:
            return [early]
        if early < late:  # put back: it comes twice
            return [early, late] if self._every_hour else [early]
        return [] if self._every_hour else [self._gap_end(late, early)]

    def _gap_end(self, before: float, after: float) -> float:
        """Give the instant between these two at which the clock is put forward."""
        low, high = int(before), int(after)
        old = self._offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == old:
                low = middle
            else:
                high = middle
        return float(high)

    def _offset(self, instant: int) -> timedelta | None:
        return datetime.fromtimestamp(instant, self._tz).utcoffset()

    def __str__(self) -> str:
        return f"{self._text} {self._tz}"


def _midnight_after(day: date, tz: tzinfo) -> float:
    return datetime.combine(day + timedelta(days=1), time(), tz).timestamp()


def _field(
    text: str, field: str, name: str, low: int, high: int, names: tuple[str, ...]
) -> set[int]:
    """Read one field into the numbers that it stands for."""
    found: set[int] = set()

    def number(word: str) -> int:
        if word.lower() in names:
            return names.index(word.lower()) + low
        value = int(word) if word.isascii() and word.isdigit() else -1
        if not low <= value <= high:
            raise BadValueError(f"schedule {text!r}: {name} {word!r} is not in {low}..{high}")
        return value

    for part in field.split(","):
        span, slash, step = part.partition("/")
        width = int(step) if step.isascii() and step.isdigit() else 0
        if slash and not width:
            raise BadValueError(f"schedule {text!r}: {name} {part!r} has no step behind the /")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = number(first)
            end = number(last) if dash else (high if slash else begin)
        if begin > end:
            raise BadValueError(f"schedule {text!r}: {name} {part!r} runs backwards")
        found.update(range(begin, end + 1, width or 1))
    return found


def read_when(when: str | Duration, tz: str | tzinfo) -> When:
    """Read a schedule: cron's five fields or @daily and the like, or an interval."""
    if not isinstance(when, str):
        return Interval(when)
    if isinstance(tz, str):
        try:
            zone: tzinfo = timezone.utc if tz == "UTC" else ZoneInfo(tz)  # noqa: UP017
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise BadValueError(f"time zone {tz!r} is not known here: {error}") from None
    elif isinstance(tz, tzinfo):
        zone = tz
    else:
        raise BadTypeError(f"a time zone is a name such as Europe/Berlin or a tzinfo, not {tz!r}")
    return Cron(when, zone)
