"""What a duration is, for programs that name the type.

Apart from ``values.py``, whose users all pay for what it imports: ``datetime`` costs a program
1 ms of its start and 0.4 MiB, and few give a timedelta.
"""

from __future__ import annotations

from datetime import timedelta

__all__ = ["Duration"]

Duration = int | float | timedelta
"""Seconds, or a timedelta. Rounded up to whole seconds: 0.2 is sent as 1, never as 0."""
