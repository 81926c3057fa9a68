"""How long jobs of a tube waited and how long they were held: histograms of ``list-times``.

Laws:
- A time is counted once, by whole numbers alone: a server counts how many bits its nanoseconds
  have, and pays a tenth of a microsecond for that.
- Bucket 0 has times below ``2**20`` nanoseconds (about a millisecond), each further one times below
  twice the end of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from beanrow.errors import StatsParsingError

__all__ = ["COUNTED_BITS", "Histogram", "TubeTimes", "bucket_end"]

COUNTED_BITS = 65
"""Times of 0 to 64 bits: 584 years."""
_FIRST_BITS = 20
_NANOSECONDS = 1_000_000_000


def bucket_end(bucket: int) -> float:
    """Tell the seconds below which the times of a bucket are."""
    return (1 << _FIRST_BITS + bucket) / _NANOSECONDS


class Histogram(NamedTuple):
    """Times by bucket, empty ones at the end left out; ``total`` is the sum, in nanoseconds."""

    counts: tuple[int, ...] = ()
    total: int = 0

    @classmethod
    def of_bits(cls, counts: Sequence[int], total: int) -> Histogram:
        """Make one of how many times have how many bits."""
        return cls._of([sum(counts[: _FIRST_BITS + 1]), *counts[_FIRST_BITS + 1 :]], total)

    @classmethod
    def _of(cls, counts: list[int], total: int) -> Histogram:
        while counts and not counts[-1]:
            counts.pop()
        return cls(tuple(counts), total)

    @property
    def number(self) -> int:
        """How many times were counted."""
        return sum(self.counts)

    @property
    def seconds(self) -> float:
        """The sum of all times, in seconds."""
        return self.total / _NANOSECONDS

    def below(self, bucket: int) -> int:
        """Tell how many times are below the end of a bucket."""
        return sum(self.counts[: bucket + 1])

    def quantile(self, share: float) -> float | None:
        """Tell the seconds below which this share (0 to 1) of the times is; None without any.

        A straight line within the bucket: at most twice or half of the true value.
        """
        rank = share * self.number
        seen = 0
        for bucket, count in enumerate(self.counts):
            if count and seen + count >= rank:
                begin = bucket_end(bucket - 1) if bucket else 0.0
                return begin + (bucket_end(bucket) - begin) * (rank - seen) / count
            seen += count
        return None

    def since(self, before: Histogram) -> Histogram:
        """Give what was counted after ``before``; all of it, if the tube came anew in between."""
        old = before.counts + (0,) * (len(self.counts) - len(before.counts))
        if len(old) > len(self.counts) or any(
            now < then for now, then in zip(self.counts, old, strict=True)
        ):
            return self
        counts = [now - then for now, then in zip(self.counts, old, strict=True)]
        return self._of(counts, self.total - before.total)


class TubeTimes(NamedTuple):
    """What ``list-times`` tells of a tube, since it came to be or the server started.

    ``waits`` is how long jobs that were reserved had been ready, pauses included; ``runs`` how long
    jobs were held until their holder deleted, released or buried them.
    """

    tube: str
    waits: Histogram
    runs: Histogram

    def write(self) -> bytes:
        """Write it as a line of JSON; a name of a tube holds nothing that it would escape."""
        waits, runs = self.waits, self.runs
        return (
            f'{{"tube":"{self.tube}",'
            f'"waits":{_numbers(waits.counts)},"waited-ns":{waits.total},'
            f'"runs":{_numbers(runs.counts)},"ran-ns":{runs.total}}}\n'
        ).encode("ascii")

    @classmethod
    def read(cls, document: bytes) -> TubeTimes:
        """Read such a line; StatsParsingError if it is none."""
        import json  # when it is needed: `import beanrow` takes a millisecond less

        try:
            told = json.loads(document)
            waits = Histogram(tuple(map(int, told["waits"])), int(told["waited-ns"]))
            runs = Histogram(tuple(map(int, told["runs"])), int(told["ran-ns"]))
            return cls(str(told["tube"]), waits, runs)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise StatsParsingError(document, "no times of a tube") from None


def _numbers(numbers: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, numbers))}]"
