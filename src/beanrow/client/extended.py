"""The extensions of our server, for a client: asked for before one is used, never before.

Laws:
- A word is said only over a connection that has been told it and has switched it on: another
  server would take a body behind it for commands. So each connection asks for itself, once.
- A client that uses none of these methods sends not one byte for them.
- What a server does not offer is refused here, before a byte of it is sent. Nothing else is done
  in its place: the error names the other way, if there is one.
"""

from __future__ import annotations

from beanrow.client.batch import Batches
from beanrow.client.offered import unique_put
from beanrow.protocol import extensions
from beanrow.protocol.capabilities import (
    LIST_CLIENTS,
    LIST_JOBS,
    LIST_LEASES,
    LIST_SLOW,
    LIST_TIMES,
    PUT_UNIQUE,
    TRUNCATE,
)
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.holders import Connected, Lease, SlowCommand
from beanrow.protocol.listing import MAX_LISTED, ListedJob
from beanrow.protocol.times import TubeTimes
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    body_bytes,
    tube_name,
)

__all__ = ["Extended"]


class Extended(Batches):
    """The methods that need our server."""

    __slots__ = ()

    def capabilities(self) -> frozenset[str]:
        """Ask which words the server knows beyond the protocol; none if it knows no extensions.

        From then on each connection asks, and uses what there is: ``put`` with a ``tube`` is one
        command, ``Job.tube`` is filled, ``stats`` and ``stats_tube`` tell more.
        """
        return self._known_words()

    def put_unique(
        self,
        key: str,
        body: bytes | str,
        *,
        tube: str | None = None,
        lifetime: Duration = 0,
        priority: int = DEFAULT_PRIORITY,
        delay: Duration = 0,
        ttr: Duration = DEFAULT_TTR,
    ) -> int:
        """Put a job as ``put`` does, unless its key is taken in the tube; gives the job's id.

        A key is taken while the job that was put under it exists, and ``lifetime`` seconds at
        least; then the id of that job is given, as an ``ExistingId``, and nothing is put. It is
        spelled like a tube name. With a ``lifetime`` not below the client's timeout it is sent
        again after a lost connection, and the job is there once. NotOfferedError if the server
        knows no ``put-unique``; nothing is put then.
        """
        data = body_bytes(body, self._encoding)
        put = extensions.put_unique(key, data, lifetime, priority, delay, ttr)
        used = self._state.used if tube is None else tube
        tube_name(used)  # refused before anything is sent
        self._check_size(put, len(data))
        number = self._ask(unique_put(put, lifetime, self._timeout), used, word=PUT_UNIQUE)
        if isinstance(number, BuriedId):
            self._buried(number)
        return number

    def list_jobs(
        self, tube: str, state: str, *, after: int = 0, limit: int = MAX_LISTED
    ) -> list[ListedJob]:
        """List jobs of a tube by their ids: those in ``state`` with ids above ``after``.

        ``state`` is ``"ready"``, ``"reserved"``, ``"delayed"`` or ``"buried"``, ``limit`` 1 to
        1,000; the last job's id is the next ``after``, and fewer than ``limit`` are the last ones.
        Each is what ``stats_job`` tells, with ``bytes``, the size of its body. NotFoundError if
        there is no such tube; NotOfferedError if the server knows no ``list-jobs``: ``peek_ready``
        and its like show one job at a time.
        """
        jobs: list[ListedJob] = []
        command = extensions.list_jobs(tube, state, after, limit)
        while True:
            page = self._ask(command, word=LIST_JOBS)
            jobs += page.jobs
            if page.after is None or len(jobs) >= limit:
                return jobs
            command = extensions.list_jobs(tube, state, page.after, limit - len(jobs))

    def truncate(self, tube: str) -> int:
        """Delete all jobs of a tube that nobody has reserved, in one command; gives how many.

        NotFoundError if there is no such tube; NotOfferedError if the server knows no
        ``truncate``: ``drain_tube`` does the same with the commands of every server.
        """
        return self._ask(extensions.truncate(tube), word=TRUNCATE)

    def list_leases(self) -> list[Lease]:
        """Tell which jobs are reserved and who holds each, by their ids.

        NotOfferedError if the server knows no ``list-leases``; ForbiddenError without the right
        ``admin``.
        """
        page = self._ask(extensions.list_leases(), word=LIST_LEASES)
        leases = page.rows
        while page.after is not None:
            page = self._ask(extensions.list_leases(page.after), word=LIST_LEASES)
            leases += page.rows
        return leases

    def list_clients(self) -> list[Connected]:
        """Tell who is connected, and what each uses, watches and holds; in order of arrival.

        NotOfferedError if the server knows no ``list-clients``; ForbiddenError without the right
        ``admin``.
        """
        page = self._ask(extensions.list_clients(), word=LIST_CLIENTS)
        clients = page.rows
        while page.after is not None:
            page = self._ask(extensions.list_clients(page.after), word=LIST_CLIENTS)
            clients += page.rows
        return clients

    def list_slow(self, after: int = 0) -> list[SlowCommand]:
        """Tell which commands took long, those with numbers above ``after``: 128 at most.

        None where the server runs without ``--slow-log``. NotOfferedError if it knows no
        ``list-slow``; ForbiddenError without the right ``admin``.
        """
        return self._ask(extensions.list_slow(after), word=LIST_SLOW).rows

    def list_times(self, tube: str) -> TubeTimes:
        """Tell how long jobs of a tube waited and how long they were held, as histograms.

        NotFoundError if there is no such tube; NotOfferedError if the server knows no
        ``list-times``.
        """
        return self._ask(extensions.list_times(tube), word=LIST_TIMES)
