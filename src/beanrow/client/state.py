"""What a client wants of its connections and knows of its jobs, apart from any socket.

Laws:
- Pure. It tells which commands a connection needs; others send them.
- A reservation belongs to the connection that made it (here any object): when that is
  gone, the job is lost, and stays so until it is reserved again.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

from beanrow.errors import JobLost
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.values import MAX_GRACE, Duration, Job, seconds

__all__ = ["BROKE", "DEFAULT_TUBE", "State", "grace_seconds", "holder_now"]

DEFAULT_TUBE = "default"
"""The tube that a server gives to every new connection, to use and to watch."""
BROKE = "the connection that held it broke, and the server gives it to the next worker"
_NOT_RESUMED = (
    "it was not among those of the session when that was resumed: its ttr or the grace ran out, or "
    "a command on it was carried out whose reply was lost"
)
_MOST_REMEMBERED = 10_000
"""Jobs of which it is known that they are held or lost. Those of a program that leaves its
jobs to their ttr and finishes none would else be remembered for ever."""


class Session(Protocol):
    """A connection whose session another one may go on with: ``heir``, and its ``handed`` jobs."""

    heir: Self | None
    handed: frozenset[int]


SessionT = TypeVar("SessionT", bound=Session)


def holder_now(holder: SessionT, job_id: int) -> SessionT:
    """Give the connection that holds a job which this one reserved, as far as that is known."""
    while holder.heir is not None and job_id in holder.handed:
        holder = holder.heir
    return holder


def grace_seconds(session: Duration) -> int:
    """Check the grace of a client's sessions: whole seconds up to a day, 0 for none."""
    return seconds(session, "session", MAX_GRACE)


class State:
    """The tubes a client uses and watches, and which jobs its connections hold.

    ``watched`` is in the order in which watching began; it is replaced, never changed.
    ``asks`` tells whether each connection asks its server for extensions, ``grace`` how many
    seconds a server keeps the jobs of one that is lost, 0 where it is not asked to. ``held`` maps the id
    of a reserved job to its connection, ``lost`` the id of one whose connection is gone to the
    reason.
    """

    __slots__ = ("asks", "grace", "held", "lost", "used", "watched")

    def __init__(self, grace: int = 0) -> None:
        self.used: str = DEFAULT_TUBE
        self.watched: tuple[str, ...] = (DEFAULT_TUBE,)
        self.asks: bool = grace > 0
        self.grace: int = grace
        self.held: dict[int, object] = {}
        self.lost: dict[int, str] = {}

    # -- tubes --------------------------------------------------------------------

    def watch(self, tube: str) -> None:
        """Note that this tube is watched."""
        if tube not in self.watched:
            self.watched = (*self.watched, tube)

    def ignore(self, tube: str) -> None:
        """Note that this tube is watched no longer."""
        self.watched = tuple(one for one in self.watched if one != tube)

    def ask(self) -> None:
        """Note that each connection is to ask its server for extensions."""
        if not self.asks:
            self.asks = True
            self.watched = (*self.watched,)  # another one: so each connection is set up anew

    def changes(self, watched: tuple[str, ...]) -> list[Command[Any]]:
        """Give the commands after which a connection watches these tubes and no others.

        The used tube is not among them: it is brought back by the first command that
        depends on it.
        """
        # Watched first: the last tube of a connection cannot be ignored.
        watches = [commands.watch(tube) for tube in self.watched if tube not in watched]
        return [*watches, *(commands.ignore(tube) for tube in watched if tube not in self.watched)]

    # -- jobs ---------------------------------------------------------------------

    def trim(self) -> None:
        """Forget the oldest of more jobs than any program means to hold."""
        remembered: tuple[dict[int, Any], ...] = (self.held, self.lost)
        for jobs in remembered:
            if len(jobs) > _MOST_REMEMBERED:
                for job_id in list(jobs)[:-_MOST_REMEMBERED]:
                    jobs.pop(job_id, None)

    def held_by(self, connection: object) -> list[int]:
        """Tell which jobs this connection holds."""
        return [job_id for job_id, holder in self.held.copy().items() if holder is connection]

    def lose(self, connection: object, why: str) -> list[int]:
        """Note that a connection is gone; gives the ids of the jobs it held."""
        job_ids = self.held_by(connection)
        for job_id in job_ids:
            self.held.pop(job_id, None)
            self.lost[job_id] = why
        return job_ids

    def hand_over(self, connection: object, heir: object, resumed: set[int]) -> list[int]:
        """Note that of the jobs of a lost connection ``heir`` holds those that were resumed.

        Gives the ids of the others, which are lost.
        """
        lost = []
        for job_id in self.held_by(connection):
            if job_id in resumed:
                self.held[job_id] = heir
            else:
                self.held.pop(job_id, None)
                self.lost[job_id] = _NOT_RESUMED
                lost.append(job_id)
        return lost

    def hold(self, job: Job, connection: object, encoding: str) -> None:
        """Note which connection reserved a job, and how its body is read."""
        job.encoding = encoding
        job.holder = connection
        self.held[job.id] = connection
        if self.lost:
            self.lost.pop(job.id, None)

    def refuse_lost(self, job_id: int, command: str) -> None:
        """Raise JobLost for a command on a job that was lost."""
        why = self.lost.get(job_id)
        if why is not None:
            raise JobLost(command, job_id, "never-sent", why)
