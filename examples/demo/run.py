"""One run of the demo: put every page of a web site as a job, let workers do them, account.

Laws:
- A tube that holds jobs of others, or that others watch, is left alone.
- What the run put it also removes, by id, however it ends; it removes nothing else.
- Ctrl-C sets ``stop`` and interrupts nothing half-way, so that the id of every put is known.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from beanrow import BeanstalkError, Client, ConnectionLostError, NotFoundError, TubeStats
from examples.demo.accounting import Account, Report, ServerSide, find_problems, settle
from examples.demo.processes import Crew, WebSite
from examples.put_urls import TUBE, put_urls

__all__ = ["JobsLeftError", "Progress", "Run", "StalledError", "StoppedError", "TubeTakenError"]

STALL_SECONDS = 30
ASK_SECONDS = 1
ANSWER_SECONDS = 3  # for a server on this machine or near, and for one that begins again
REMOVE_SECONDS = 5
LOOK_SECONDS = 0.1


class TubeTakenError(Exception):
    """Others use the tube."""


class StalledError(Exception):
    """The jobs are not being done."""


class StoppedError(Exception):
    """The user asked for the end."""


class JobsLeftError(Exception):
    """Jobs of ours that could not be removed."""


@dataclass
class Progress:
    """How far the run is."""

    pages: int
    put: int = 0
    reports: list[Report] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    last_by: dict[int, Report] = field(default_factory=dict)
    """The last report of each worker, by its number."""
    first_report: float = 0.0
    last_report: float = 0.0

    def add(self, report: Report) -> None:
        """Count a report, which came just now."""
        self.last_report = time.monotonic()
        self.first_report = self.first_report or self.last_report
        self.reports.append(report)
        self.outcomes[report.outcome] += 1
        self.last_by[report.worker] = report

    @property
    def seconds(self) -> float:
        """The time from the first report to the last one."""
        return self.last_report - self.first_report


class Run:
    """A run of the demo on the server at ``address``; the end of the ``with`` block cleans up.

    ``show`` is called with the progress some ten times a second.
    """

    def __init__(
        self,
        address: str,
        site: WebSite,
        workers: int,
        stop: threading.Event,
        show: Callable[[Progress, Crew], None],
    ) -> None:
        self._client = Client(address, timeout=ANSWER_SECONDS)
        self._client.connect()
        self._address = address
        self._urls = site.urls
        self._workers = workers
        self._stop = stop
        self._show = show
        self._shown = 0.0
        self._jobs: dict[int, str] = {}
        self.progress = Progress(len(self._urls))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._remove_jobs()
        finally:
            self._client.close()

    def go(self) -> tuple[Account, list[str], Crew]:
        """Do it; gives the account, what is wrong with it, and the workers, all ended.

        TubeTakenError before anything is put; StalledError, StoppedError or what client and
        workers raise at any time.
        """
        self._client.use(TUBE)  # for the whole run: an unused tube goes, and its counters with it
        before = self._client.stats_tube(TUBE)
        self._refuse_others(before)
        with Crew(self._workers, self._address) as crew:
            self._put(crew)
            self._follow(crew)
            account = settle(self.progress.reports, crew.died)
            problems = find_problems(self._urls, self._jobs, account, self._server_side(before))
            self._show(self.progress, crew)
        return account, problems, crew

    def _refuse_others(self, tube: TubeStats) -> None:
        counts = {
            "ready": tube.current_jobs_ready,
            "reserved": tube.current_jobs_reserved,
            "delayed": tube.current_jobs_delayed,
            "buried": tube.current_jobs_buried,
        }
        held = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        others = max(tube.current_watching, tube.current_using - 1)  # one user is this run
        if held:
            trouble = f"holds jobs of others ({held}): finish or delete them first"
        elif others:
            trouble = f"is in use by others ({others} connected): stop them first"
        else:
            return
        raise TubeTakenError(
            f"tube {TUBE} on {self._address} {trouble}, or start the demo without a server, "
            "then it brings its own"
        )

    def _put(self, crew: Crew) -> None:
        for job, url in zip(put_urls(self._client, self._urls), self._urls, strict=True):
            self._jobs[job] = url
            self.progress.put += 1
            self._look(crew, 0)

    def _follow(self, crew: Crew) -> None:
        """Take in reports until every worker has left."""
        heard = asked = time.monotonic()
        while True:
            is_running = crew.is_running  # asked first: what it said last is read after that
            if self._look(crew, LOOK_SECONDS):
                heard = asked = time.monotonic()
            elif not is_running:
                return
            elif time.monotonic() > asked + ASK_SECONDS:
                self._ask_server()
                asked = time.monotonic()
            elif time.monotonic() > heard + STALL_SECONDS:
                raise StalledError(
                    f"no worker has reported anything for {STALL_SECONDS} s; is tube {TUBE} on "
                    f"{self._address} paused, or does somebody else reserve from it?"
                )

    def _ask_server(self) -> None:
        """See that the server is there: the workers would wait for it longer than people do."""
        try:
            self._client.stats_tube(TUBE)
        except ConnectionLostError as error:
            raise StalledError(f"the queue server is gone: {error}") from error

    def _look(self, crew: Crew, wait: float) -> bool:
        """Take in the next report and show the progress; tells whether there was a report."""
        if self._stop.is_set():
            raise StoppedError
        report = crew.next_report(wait)
        if report is not None:
            self.progress.add(report)
        now = time.monotonic()
        if now > self._shown + LOOK_SECONDS:
            self._shown = now
            self._show(self.progress, crew)
        return report is not None

    def _server_side(self, before: TubeStats) -> ServerSide:
        left = {}
        for job in self._jobs:
            try:
                left[job] = self._client.stats_job(job).state
            except NotFoundError:
                continue
        now = self._client.stats_tube(TUBE)
        return ServerSide(
            left,
            put=now.total_jobs - before.total_jobs,
            deleted=now.cmd_delete - before.cmd_delete,
            ready=now.current_jobs_ready,
            reserved=now.current_jobs_reserved,
            delayed=now.current_jobs_delayed,
            buried=now.current_jobs_buried,
        )

    def _remove_jobs(self) -> None:
        """Delete what is left of our jobs; one whose worker has just ended may take a moment."""
        end = time.monotonic() + REMOVE_SECONDS
        left = dict(self._jobs)
        try:
            while left := {job: url for job, url in left.items() if not self._remove(job, url)}:
                if time.monotonic() > end:
                    raise JobsLeftError(
                        f"{len(left)} jobs of the demo are reserved by others on {self._address} "
                        f"and stay there: {list(left)[:20]}"
                    )
                time.sleep(0.02)  # the server has yet to notice that a worker is gone
        except BeanstalkError as error:
            raise JobsLeftError(
                f"jobs of the demo may be left in tube {TUBE} on {self._address}, which could not "
                f"be asked to delete them: {error}"
            ) from error

    def _remove(self, job: int, url: str) -> bool:
        """Delete this job; tells whether it is gone. The same id with another body is not ours."""
        try:
            if self._client.peek(job).body != url.encode():
                return True  # the server was started anew and counts from 1 again
        except NotFoundError:
            return True
        try:
            self._client.delete(job)
        except NotFoundError:
            return False  # reserved
        return True
