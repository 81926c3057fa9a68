"""What the demo shows: the progress while it runs, the summary, what does not add up.

On a terminal the progress is drawn in place; elsewhere it is a plain line a second.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.demo.accounting import Account, Report
from examples.demo.processes import Crew
from examples.demo.run import Progress

__all__ = ["Screen"]

LINE_SECONDS = 1.0
MOST_PROBLEMS = 20


class Screen:
    """The demo's terminal, or whatever standard output is."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._is_drawn = self._console.is_terminal and not self._console.is_dumb_terminal
        self._began = self._lined = time.monotonic()
        self._named = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, progress: Progress, crew: Crew) -> None:
        """Show how far the run is."""
        if not self._named:
            self._named = True
            pids = ", ".join(str(worker.pid) for worker in crew.workers)
            self.say(f"{len(crew.workers)} workers, process ids {pids}")
        now = time.monotonic()
        if self._is_drawn:
            self._live.start()
            self._live.update(self._drawing(progress, crew), refresh=True)
        elif now > self._lined + LINE_SECONDS:
            self._lined = now
            self.say(f"{now - self._began:5.1f} s  {_counts(progress)}")

    def _drawing(self, progress: Progress, crew: Crew) -> Group:
        finished = progress.outcomes["done"] + progress.outcomes["buried"]
        workers = Table.grid(padding=(0, 2))
        for worker in crew.workers:
            last = progress.last_by.get(worker.number)
            state = worker.fate or ("" if worker.is_running else "left")
            workers.add_row(
                f"worker {worker.number}",
                str(worker.pid),
                Text(state or (_told(last) if last else "starting"), overflow="ellipsis"),
            )
        return Group(
            Text(f"{time.monotonic() - self._began:5.1f} s  {_counts(progress)}"),
            ProgressBar(total=progress.pages, completed=finished),
            workers,
        )

    def summarize(self, progress: Progress, account: Account, crew: Crew) -> None:
        """Print the summary of a run."""
        self._live.stop()
        done, buried = account.with_outcome("done"), account.with_outcome("buried")
        rate = len(account.ends) / max(progress.seconds, 0.001)
        self.say(
            f"\n{progress.put} put = {len(done)} deleted + {len(buried)} buried"
            if progress.put == len(account.ends)
            else f"\n{progress.put} put, {len(done)} deleted, {len(buried)} buried"
        )
        self.say(f"{rate:.0f} jobs per second, {progress.seconds:.1f} s from first to last")
        self.say(f"{account.retried} times a page failed and its job was released for another try")
        self.say(f"{sum(len(report.links) for report in done)} links found")
        if account.repeated:
            self.say(f"{account.repeated} done again, since their worker died before the delete")
        self._console.print(_worker_table(progress, crew))
        if buried:
            self._console.print(_reason_table(buried))

    def complain(self, problems: list[str]) -> None:
        """Print what does not add up."""
        self.say("The jobs do not add up:")
        for problem in problems[:MOST_PROBLEMS]:
            self.say(f"- {problem}")
        if len(problems) > MOST_PROBLEMS:
            self.say(f"- and {len(problems) - MOST_PROBLEMS} more")


def _counts(progress: Progress) -> str:
    outcomes = progress.outcomes
    return (
        f"{progress.put} of {progress.pages} put, {outcomes['done']} done, "
        f"{outcomes['released']} released for another try, {outcomes['buried']} buried"
    )


def _told(report: Report) -> str:
    return f"{urlsplit(report.url).path}  {report.title or f'{report.outcome}: {report.error}'}"


def _worker_table(progress: Progress, crew: Crew) -> Table:
    table = Table(title="Workers", title_justify="left", box=box.SIMPLE)
    for heading in ("worker", "process", "done", "released", "buried", "jobs/s"):
        table.add_column(heading, justify="right")
    table.add_column("how it ended")
    for worker in crew.workers:
        own = [report.outcome for report in progress.reports if report.worker == worker.number]
        finished = own.count("done") + own.count("buried")
        table.add_row(
            str(worker.number),
            str(worker.pid),
            *(str(own.count(outcome)) for outcome in ("done", "released", "buried")),
            f"{finished / max(progress.seconds, 0.001):.0f}",
            escape(worker.fate or "left in order"),
        )
    return table


def _reason_table(buried: list[Report]) -> Table:
    """Group the buried jobs by their reason."""
    pages: dict[str, list[str]] = {}
    for report in buried:
        pages.setdefault(report.error, []).append(report.url.rpartition("/")[2])
    table = Table(title="Buried", title_justify="left", box=box.SIMPLE)
    table.add_column("reason", overflow="fold")
    table.add_column("jobs", justify="right")
    table.add_column("pages", overflow="fold")
    for reason, numbers in sorted(pages.items(), key=lambda item: -len(item[1])):
        table.add_row(escape(reason), str(len(numbers)), " ".join(numbers))
    return table
