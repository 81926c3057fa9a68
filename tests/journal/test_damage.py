"""Journals that rot in every way: whatever the bytes are, it is read, told, and nothing invented.

The dumb reference: a job that is found is one that was put, and one that is missing is named by a
line about its segment. A failing seed prints the command that repeats it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from beanrow.errors import JournalError
from beanrow.journal.codec import HEADER_SIZE
from beanrow.journal.lines import read_lines, write_lines
from beanrow.journal.offline import read_journal, write_journal

SEEDS = range(*map(int, os.environ.get("SEEDS", "0:300").split(":")))
BODIES = [b"body of job %d " % n * (n % 7) for n in range(1, 201)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """A journal's only segment."""
    path = tmp_path_factory.mktemp("sound") / "journal"
    lines = (b'{"id": %d, "body": "%b"}' % (n, body) for n, body in enumerate(BODIES, 1))
    write_journal(path, read_lines(lines, 0), print)
    (segment,) = path.glob("*.journal")
    return segment.name, segment.read_bytes().rstrip(b"\0")


def rotten(data: bytes, chance: random.Random) -> bytes:
    """The same with something wrong: bits, runs of other bytes, cuts, pieces moved."""
    rot = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 10, 100])):
        at, size = chance.randrange(len(rot)), chance.choice([1, 1, 4, 50, 2000])
        kind = chance.randrange(6)
        if kind == 0:
            rot[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            rot[at : at + size] = chance.randbytes(size)
        elif kind == 2:
            rot[at : at + size] = bytes(size)
        elif kind == 3:
            del rot[at : at + size]
        elif kind == 4:
            other = chance.randrange(len(rot))
            rot[at:at] = rot[other : other + size]
        else:
            del rot[max(at, 1) :]
        if len(rot) < 2:
            break
    return bytes(rot)


def read_rotten(path: Path, seed: int, sound: tuple[str, bytes]) -> None:
    name, data = sound
    rot = rotten(data, random.Random(seed))
    path.mkdir()
    (path / name).write_bytes(rot)
    try:
        engine, found = read_journal(path)
    except JournalError as error:
        if "newer" not in str(error):  # which is what the bytes of the version became
            raise
        return
    for job_id, job in engine.jobs.items():
        assert job.body == BODIES[job_id - 1], job_id
    told = found.damage + found.notes
    missing = set(range(1, len(BODIES) + 1)) - engine.jobs.keys()
    assert told or not missing or len(rot) < len(data), missing
    if rot[:HEADER_SIZE] == data[:HEADER_SIZE]:
        assert all(name in line or "lost" in line for line in told)
    list(write_lines(engine))


def read_all_rotten(path: Path, seeds: range, sound: tuple[str, bytes]) -> None:
    for seed in seeds:
        try:
            read_rotten(path / str(seed), seed, sound)
        except Exception as error:
            raise AssertionError(
                f"seed {seed}: {error!r}; to repeat it: "
                f"SEEDS={seed}:{seed + 1} python -m pytest tests/journal/test_damage.py"
            ) from error


def test_whatever_the_bytes_are(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    read_all_rotten(tmp_path, SEEDS, sound)


@pytest.mark.long
def test_whatever_many_bytes_are(tmp_path: Path, sound: tuple[str, bytes]) -> None:
    read_all_rotten(tmp_path, range(1000, 11_000), sound)
