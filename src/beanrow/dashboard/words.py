"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["brief", "count", "number", "rate", "seconds", "size", "when"]

_THIN = "\N{NARROW NO-BREAK SPACE}"


def number(value: float) -> str:
    """Write a whole number, its thousands apart."""
    return f"{value:,.0f}".replace(",", _THIN)


def count(value: int, what: str = "job") -> str:
    """Write a number of things: ``1 job``, ``2 jobs``."""
    return f"{number(value)} {what}{'' if value == 1 else 's'}"


def rate(value: float) -> str:
    """Write how many a second."""
    if value == 0:
        return "0"
    return number(value) if value >= 10 else f"{value:.1f}"


def size(value: int) -> str:
    """Write a number of bytes."""
    if value < 10_000:
        return count(value, "byte")
    return (
        f"{number(value / 1024)} KiB" if value < 10 * 1024**2 else f"{number(value / 1024**2)} MiB"
    )


def seconds(value: float) -> str:
    """Write a duration: ``5 s``, ``12 min``, ``3 h 20 min``, ``12 d 4 h``."""
    whole = int(value)
    if whole < 120:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{number(days)} d {hours % 24} h"


def brief(value: float) -> str:
    """Write a duration that may be short: ``0.4 ms``, ``12 ms``, ``3.1 s``, ``5 min``."""
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else seconds(value)


def when(at: float) -> str:
    """Write a time of the wall clock, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
