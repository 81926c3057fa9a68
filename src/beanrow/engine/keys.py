"""The keys of unique jobs: which job was put under which, and how long each stays taken.

Laws:
- A key is taken while its job exists, and until its lifetime is over; then nothing is left of it.
- No scan: a job that goes looks up its own key, and a key whose job is gone has an alarm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beanrow.engine.timers import NEVER, SECOND

if TYPE_CHECKING:
    from beanrow.engine.timers import Timers

__all__ = ["KEY_OVERHEAD", "Key", "Keys"]

KEY_OVERHEAD = 400
"""Bytes that a key takes besides its names, at most."""


class Key:
    """A key of a tube. ``lifetime`` in seconds; ``until`` in nanoseconds is when it is over.

    ``file`` is the number of the journal's file that holds it, 0 without a journal.
    """

    __slots__ = ("alarm", "file", "job_id", "lifetime", "name", "tube", "until")

    def __init__(self, tube: str, name: str, job_id: int, lifetime: int, until: int) -> None:
        self.tube: str = tube
        self.name: str = name
        self.job_id: int = job_id
        self.lifetime: int = lifetime
        self.until: int = until
        self.file: int = 0
        self.alarm: int = NEVER

    def __repr__(self) -> str:
        return f"<key {self.name} of job {self.job_id} in {self.tube}>"


class Keys:
    """All keys that are taken. ``of_job`` has those whose jobs exist, ``size`` is bytes of names."""

    __slots__ = ("_timers", "by_name", "of_job", "size")

    def __init__(self, timers: Timers) -> None:
        self.by_name: dict[tuple[str, str], Key] = {}
        self.of_job: dict[int, Key] = {}
        self.size: int = 0
        self._timers = timers

    @property
    def weight(self) -> int:
        """About how many bytes of memory all keys take."""
        return self.size + KEY_OVERHEAD * len(self.by_name)

    def holds(self, key: Key) -> bool:
        """Tell whether this very key is still known."""
        return self.by_name.get((key.tube, key.name)) is key

    def find(self, tube: str, name: str, now: int) -> Key | None:
        """Give the key if it is taken."""
        key = self.by_name.get((tube, name))
        return key if key is not None and (key.until > now or key.job_id in self.of_job) else None

    def take(self, tube: str, name: str, job_id: int, lifetime: int, now: int) -> Key:
        """Take a key that is free for a job that exists."""
        before = self.by_name.get((tube, name))
        if before is not None:  # over, but its alarm has still to go off
            self.drop(before)
        key = Key(tube, name, job_id, lifetime, now + lifetime * SECOND)
        self.put_back(key, has_job=True)
        return key

    def put_back(self, key: Key, *, has_job: bool) -> None:
        """Take a key as it was before."""
        self.by_name[key.tube, key.name] = key
        self.size += len(key.tube) + len(key.name)
        if has_job:
            self.of_job[key.job_id] = key
        else:
            self._timers.set(key, key.until)

    def let_go(self, job_id: int) -> None:
        """Hear that a job is gone: its key, if it has one, is left to its lifetime."""
        key = self.of_job.pop(job_id, None)
        if key is not None:
            self._timers.set(key, key.until)

    def drop(self, key: Key) -> None:
        """Forget a key without a job."""
        del self.by_name[key.tube, key.name]
        self.size -= len(key.tube) + len(key.name)
        self._timers.cancel(key)
