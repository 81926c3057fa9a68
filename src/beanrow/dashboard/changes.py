"""What was changed: who did it, how far it is, and what puts it back.

Laws:
- A change has a line in the audit log before it begins, and one with its outcome.
- A job is in the undo file before it is taken away; what undoes a change is one more change.
- A change goes on in a thread of its own, with a connection of its own, also when the page that
  asked for it is gone.
- Only the last ``_MOST`` are remembered. Without a directory for them their files end with the
  process.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from beanrow.client.sync import Client
from beanrow.dashboard.source import Source
from beanrow.dashboard.words import count
from beanrow.errors import BadValueError, BeanstalkError, BuriedJob
from beanrow.jobs.change import put_back, take
from beanrow.jobs.lines import Spec, job_line, read_spec
from beanrow.jobs.search import Found, NothingThereError
from beanrow.jobs.store import store, store_one
from beanrow.protocol.stats import JobStats
from beanrow.server.audit import Audit
from beanrow.server.log import Log

__all__ = ["Change", "Changes", "Work"]

_MOST = 200
_MOST_AT_ONCE = 4
_AT_ONCE = 100
_MOST_SECONDS_WAITED = 2.0


class Change:
    """One change of a server; ``what`` and ``told`` are what people read of it."""

    def __init__(
        self, number: int, who: str, source: Source, what: str, tubes: Iterable[str], undo: Path
    ) -> None:
        self.number = number
        self.who = who
        self.source = source
        self.what = what
        self.tubes: set[str] = set(tubes)
        """The tubes that it is about: who may not see all of them does not see it."""
        self.at: float = time.time()
        self.done: int = 0
        self.total = 0
        self.told: str = ""
        self.failed: bool = False
        self.running: bool = True
        self.undoing: bool = False
        """Whether it is being undone: twice at a time would put each job back twice."""
        self.put_back: int = 0
        """Lines of the undo file that were put back."""
        self.stopping = False
        self._path = undo
        self._file: BinaryIO | None = None
        self._kept = 0
        self._new_ids: dict[int, int] = {}
        self._spared: set[int] = set()

    # -- what it does -------------------------------------------------------------

    def keep(self, found: Found) -> None:
        """Write a job down, with its body, before it is taken away."""
        if self._file is None:
            self._file = self._path.open("ab")  # closed by end()
        self._file.write(job_line(found))
        self._file.flush()
        self._kept += 1

    def spare(self, id: int) -> None:
        """Take note that a job that was kept was not taken away."""
        self._spared.add(id)

    def became(self, old: int, new: int) -> None:
        """Take note that a job that was kept is there with another id, or with the same one."""
        self._new_ids[old] = new

    def advance(self, jobs: int = 1) -> None:
        """Count jobs that are done; BeanstalkError if the dashboard is about to end."""
        self.done += jobs
        if self.stopping:
            raise BeanstalkError("the dashboard was ended under it")

    def fail(self, error: Exception) -> None:
        """Take note of what ended it before its time."""
        self.failed = True
        before = [f"before that: {count(self.done)}"] if self.done else []
        self.told = "; ".join([str(error), *getattr(error, "__notes__", ()), *before])

    def end(self) -> None:
        """Take note that nothing more comes."""
        self.running = False
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- what undoes it -----------------------------------------------------------

    @property
    def left_to_put_back(self) -> int:
        """How many jobs can be put back as they were."""
        return 0 if self.running or self.undoing else self._left()

    def _left(self) -> int:
        return max(0, self._kept - len(self._spared) - self.put_back)

    def undone(self, client: Client, undoing: Change) -> str:
        """Put the jobs back as they were; tells how many. ``undoing`` was set by who asks for it.

        What a worker holds meanwhile, or has finished, stays as it is.
        """
        undoing.total = self._left()
        left: list[str] = []
        try:
            for some in self._kept_jobs():
                gone = [spec for id, spec in some if id not in self._new_ids]
                stored = store(client, gone)
                left += [str(one) for one in stored if isinstance(one, BeanstalkError)]
                for id, spec in some:
                    if id in self._new_ids:
                        left += _put_back(client, self._new_ids[id], spec)
                self.put_back += len(some)
                undoing.advance(len(some))
        finally:
            self.undoing = False
        told = f"{count(undoing.done - len(left))} put back as before"
        return f"{told}; {len(left)} not: {left[0]}" if left else told

    def _kept_jobs(self) -> Iterator[list[tuple[int, Spec]]]:
        """Read the jobs that are to be put back, each with the id that it had."""
        with self._path.open("rb") as file:
            kept = ((json.loads(line)["id"], read_spec(line, 1)) for line in file)
            there = ((id, spec) for id, spec in kept if spec and id not in self._spared)
            jobs = islice(there, self.put_back, None)
            while some := list(islice(jobs, _AT_ONCE)):
                yield some

    def forget(self) -> None:
        """Remove the undo file."""
        self._path.unlink(missing_ok=True)


def _put_back(client: Client, id: int, old: Spec) -> list[str]:
    """Make a job what it was before; tells why not, if so."""
    try:
        stats, job = take(client, id)
        if (stats.tube, stats.ttr, job.body) == (old.tube, old.ttr, old.body):
            put_back(client, stats, state=old.state, priority=old.priority, delay=old.delay)
        else:
            _replace(client, stats, old)
    except (NothingThereError, BeanstalkError) as error:
        return [str(error)]
    return []


def _replace(client: Client, held: JobStats, old: Spec) -> None:
    try:
        store_one(client, old)
    except BeanstalkError:
        put_back(client, held)
        raise
    client.delete(held.id)


Work = Callable[[Client, Change], str]
"""What a change does; it tells what was done."""


class Changes:
    """The changes of all servers, the newest last; ``directory`` keeps the undo files."""

    def __init__(self, directory: Path | None, audit: Audit, log: Log) -> None:
        self._log = log
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, "change")  # so that pages need not wait
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._directory = directory
        if directory is not None:
            _make(directory)
        self._audit = audit
        self._known: OrderedDict[int, Change] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self._begun = time.strftime("%Y%m%d-%H%M%S", time.gmtime())

    def newest(self) -> list[Change]:
        """Give those that are remembered, the newest first."""
        return list(reversed(self._known.values()))

    def find(self, number: int) -> Change | None:
        """Give one by its number."""
        return self._known.get(number)

    async def carry_out(
        self, who: str, peer: str, source: Source, what: str, tubes: Iterable[str], work: Work
    ) -> Change:
        """Begin a change and wait a moment for its end."""
        self._last += 1
        if self._directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="beanrow-undo-")
            self._directory = Path(self._temporary.name)
        undo = self._directory / f"{self._begun}-{self._last}.jsonl"
        change = Change(self._last, who, source, what, tubes, undo)
        self._known[change.number] = change
        self._drop_old()
        self._tell("change", change, peer)
        task = asyncio.create_task(self._run(change, peer, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=_MOST_SECONDS_WAITED)
        return change

    async def _run(self, change: Change, peer: str, work: Work) -> None:
        def in_thread() -> str:
            with Client(change.source.address.url, on_buried_job=_raise) as client:
                return work(client, change)

        try:
            loop = asyncio.get_running_loop()
            change.told = await loop.run_in_executor(self._threads, in_thread)
        except (BeanstalkError, NothingThereError, OSError) as error:
            change.fail(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours: whoever asked must be told too
            self._log.tell_fault(f"change {change.number} failed: {change.what}")
            change.fail(error)
        finally:
            change.end()
            self._tell("failed" if change.failed else "changed", change, peer, told=change.told)
            change.source.hurry()

    def _tell(self, event: str, change: Change, peer: str, **more: str) -> None:
        self._audit.tell(
            event,
            change=change.number,
            who=change.who,
            peer=peer,
            server=change.source.name,
            what=change.what,
            **more,
        )

    def _drop_old(self) -> None:
        while len(self._known) > _MOST:
            _, old = self._known.popitem(last=False)
            if self._temporary is not None:
                old.forget()

    async def close(self) -> None:
        """Stop what is under way, and remove what is not to be kept."""
        for change in self._known.values():
            change.stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown()
        if self._temporary is not None:
            self._temporary.cleanup()


def _make(directory: Path) -> None:
    """Make a directory that only its owner reads; what was there is left as it is."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadValueError(f"cannot keep anything in {directory}: {error.strerror}") from error


def _raise(signal: BuriedJob) -> None:
    raise signal
