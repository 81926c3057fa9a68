"""One job changed: taken and put back, edited, moved, a dead letter sent back.

Laws:
- A job keeps its id where the protocol can change it: its priority, its delay. With another ttr,
  body or tube it is put again, and has another id.
- The new one is stored before the old one is deleted, and the old one is held meanwhile: no worker
  gets both. Whatever ends this in between leaves both, and never neither.
- A job that is edited keeps its state, and what is left of its delay.
"""

from __future__ import annotations

from typing import NamedTuple

from beanrow.client.sync import Client
from beanrow.errors import BadValueError, BeanstalkError, BuriedJob, NotFoundError
from beanrow.jobs.lines import Spec, spec_of
from beanrow.jobs.search import Found, ask, no_job
from beanrow.jobs.store import store_one
from beanrow.protocol import commands
from beanrow.protocol.stats import JobStats
from beanrow.protocol.values import Job
from beanrow.worker.letters import read_letter

__all__ = ["Edit", "Moved", "edit_held", "is_letter", "move_job", "put_back", "take"]


def take(client: Client, id: int) -> tuple[JobStats, Job]:
    """Reserve a job that nobody holds; its statistics are those from before.

    NothingThereError if there is none, BadValueError if somebody else holds it.
    """
    stats, job = ask(client, [commands.stats_job(id), commands.reserve_job(id)])
    if stats is None:
        raise no_job(id)
    if job is None:
        raise BadValueError(
            f"job {id} is held by another connection, and only that one can change it; "
            f"its time there ends in {stats.time_left} s"
        )
    return stats, job


def put_back(
    client: Client, stats: JobStats, *, state: str = "", priority: int | None = None, delay: int = 0
) -> None:
    """Give a job that was taken back to the state it was in, or to another one."""
    pri = stats.pri if priority is None else priority
    if not state:
        state, delay = stats.state, stats.time_left
    if state == "buried":
        client.bury(stats.id, priority=pri)
    elif not client.release(stats.id, priority=pri, delay=delay if state == "delayed" else 0):
        raise BuriedJob(stats.id)


class Edit(NamedTuple):
    """What of a job is to be another; None is as it was. A ``delay`` of 0 makes it ready."""

    priority: int | None = None
    delay: int | None = None
    ttr: int | None = None
    body: bytes | None = None

    def of(self, old: Spec) -> Spec:
        """Give what becomes of a job."""
        new = {name: value for name, value in self._asdict().items() if value is not None}
        if self.delay is not None:
            new["state"] = "delayed" if self.delay else "ready"
        return old._replace(**new)


def edit_held(client: Client, old: Found, edit: Edit) -> int:
    """Change a job that this client holds; its id, perhaps a new one."""
    spec, stats = edit.of(spec_of(old)), old.stats
    if edit.ttr is None and edit.body is None:
        put_back(client, stats, state=spec.state, priority=spec.priority, delay=spec.delay)
        return stats.id
    try:
        new = store_one(client, spec)
    except BeanstalkError:
        put_back(client, stats)
        raise
    try:
        client.delete(stats.id)
    except NotFoundError as error:
        error.add_note(f"the new job is there as {new}, and the old one may be too")
        raise
    return new


class Moved(NamedTuple):
    """A job that was moved: its old id, its new one, and the tube where it is."""

    old: int
    new: int
    tube: str


def is_letter(body: bytes) -> bool:
    """Tell whether a body is a dead letter."""
    try:
        read_letter(body)
    except BadValueError:
        return False
    return True


def move_job(client: Client, id: int, to: str | None) -> Moved | None:
    """Move a job to a tube, or the job in a dead letter to where it came from.

    None if it is not there, or somebody else has it; BadValueError if it is no letter.
    """
    try:
        if to is not None:
            return Moved(id, client.move(id, to), to)
        read_letter(client.peek(id).body)  # refused before it is taken
        return _unwrapped(client, client.reserve_job(id))
    except NotFoundError as error:
        if getattr(error, "__notes__", None):  # it is in its new place already
            raise
        return None


def _unwrapped(client: Client, job: Job) -> Moved:
    """Put the job in a dead letter again; BadValueError if it is none."""
    letter = read_letter(job.body)
    new = client.put(letter.body, tube=letter.tube, priority=letter.priority, ttr=letter.ttr)
    try:
        client.delete(job)
    except NotFoundError as error:
        error.add_note(f"its job is in tube {letter.tube} as {new}, and the letter is still there")
        raise
    return Moved(job.id, int(new), letter.tube)
