"""Load a server that keeps its jobs for long, kill it now and then, and watch that nothing grows.

    python -m tests.soak --seconds 600

Producers and workers go on at an even pace, connections come and go. After each round the server is
killed and begins again: what was acknowledged must be there, and memory, descriptors and the
journal must not be larger than after the first rounds. A line tells each round.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from beanrow import BatchError, Client, ConnectionLostError, Job, NotFoundError
from tests.server.talk import bytes_in
from tests.servers import OurServer

BATCH = 50
MOST_WAITING = 2000
"""Jobs in the queue above which producers wait: it is to stay as it is."""
FIRST_ROUNDS = 2
_MIB = 1 << 20


class Fault(Exception):
    """Something that must not happen."""


class Books:
    """What was acknowledged, and what may or may not have been done when a connection broke."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: set[int] = set()
        self.in_doubt: set[int] = set()
        self.put = self.deleted = 0

    def check(self, client: Client) -> None:
        """Compare with a server that has begun again."""
        there = {job_id for job_id in self.waiting | self.in_doubt if _is_there(client, job_id)}
        lost = self.waiting - self.in_doubt - there
        if lost:
            raise Fault(f"{len(lost)} acknowledged jobs are lost: {sorted(lost)[:10]}")
        self.waiting &= there
        self.in_doubt.clear()


def _is_there(client: Client, job_id: int) -> bool:
    try:
        client.peek(job_id)
    except NotFoundError:
        return False
    return True


class Load:
    """Two producers and two workers, until the server dies."""

    def __init__(self, server: OurServer, books: Books, seed: int) -> None:
        self._server = server
        self._books = books
        self._threads = [
            threading.Thread(target=self._run, args=(work, random.Random(f"{seed} {number}")))
            for number, work in enumerate((self._produce, self._produce, self._work, self._work))
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for their end."""
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[Client, random.Random], None], chance: random.Random) -> None:
        try:
            while True:
                with Client(self._server.address, timeout=1) as client:
                    for _ in range(200):  # then a new connection
                        work(client, chance)
        except (ConnectionLostError, BatchError):
            pass  # the server was killed

    def _produce(self, client: Client, chance: random.Random) -> None:
        books = self._books
        if len(books.waiting) > MOST_WAITING:
            time.sleep(0.01)
            return
        bodies = [chance.randbytes(chance.choice([10, 100, 1000])) for _ in range(BATCH)]
        ids = client.put_many(bodies, tube=f"tube-{chance.randrange(1000)}", ttr=120)
        with books.lock:
            books.waiting.update(ids)
            books.put += BATCH

    def _work(self, client: Client, chance: random.Random) -> None:
        for tube in client.list_tubes():
            client.watch(tube)
        jobs: list[Job] = client.reserve_many(BATCH, timeout=1)
        books, ids = self._books, [job.id for job in jobs]
        with books.lock:
            books.in_doubt.update(ids)
        for job in jobs[: chance.randrange(3)]:
            client.release(job, delay=chance.choice([0, 0, 1]))
            ids.remove(job.id)
        client.delete_many(ids)
        with books.lock:
            books.in_doubt.difference_update(job.id for job in jobs)
            books.waiting.difference_update(ids)
            books.deleted += len(ids)


class Size(NamedTuple):
    """What must not grow: bytes of memory and of the journal, open descriptors."""

    memory: int
    journal: int
    descriptors: int

    @classmethod
    def of(cls, server: OurServer, directory: Path) -> Size:
        """Measure it."""
        pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE"),
            bytes_in(directory),
            len(os.listdir(f"/proc/{server.pid}/fd")),
        )

    def check(self, first: Size) -> None:
        """Compare with the largest of the first rounds."""
        most = Size(
            first.memory * 5 // 4 + 8 * _MIB, first.journal + 8 * _MIB, first.descriptors + 8
        )
        for name, found, bound in zip(self._fields, self, most, strict=True):
            if found > bound:
                raise Fault(f"{name} grew to {found}; it was {getattr(first, name)}")


def soak(seconds: float, a_round: float, seed: int) -> None:
    """Go on for so long; Fault tells what happened."""
    end, books, first, number = time.monotonic() + seconds, Books(), Size(0, 0, 0), 0
    with tempfile.TemporaryDirectory() as directory:
        while time.monotonic() < end:
            number += 1
            with OurServer("-b", directory, "--max-memory", str(256 * _MIB)) as server:
                with Client(server.address) as client:
                    books.check(client)
                load = Load(server, books, seed + number)
                time.sleep(min(a_round, max(1.0, end - time.monotonic())))
                size = Size.of(server, Path(directory))
                os.kill(server.pid, signal.SIGKILL)
                load.join()
            say(
                f"round {number}: {books.put} put, {books.deleted} deleted, {size.memory / _MIB:.0f} "
                f"MiB of memory, {size.journal / _MIB:.0f} of journal, {size.descriptors} descriptors"
            )
            if number <= FIRST_ROUNDS:
                first = Size(*map(max, first, size))
            else:
                size.check(first)
        with OurServer("-b", directory) as server, Client(server.address) as client:
            books.check(client)
    if not books.deleted:
        raise Fault("nothing was done")


def say(line: str) -> None:
    """Tell whoever waits."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all (default 600)")
    parser.add_argument("--round", type=float, default=30, help="until a kill (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the load (default 0)")
    options = parser.parse_args()
    try:
        soak(options.seconds, options.round, options.seed)
    except Fault as fault:
        say(f"{fault}; to repeat it: python -m tests.soak --seed {options.seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
