"""The live view: what it shows, and what its keys do.

Laws:
- A server that does not answer is told and asked again; the view stays as it was.
- Nothing changes without a key, and what changes more than one thing asks how much first.
- Every line is text of ours or escaped: no markup is read out of names, bodies or errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from beanrow.client.address import Address
from beanrow.client.sync import Client
from beanrow.errors import BadValueError, BeanstalkError, NotFoundError
from beanrow.observe.snapshot import Snapshot, Tubes, take_snapshot
from beanrow.protocol import commands
from beanrow.protocol.capabilities import LIST_CLIENTS, LIST_LEASES
from beanrow.top.asking import Asking, using
from beanrow.top.lines import Lines
from beanrow.top.peek import PeekScreen
from beanrow.top.summary import summary_lines
from beanrow.top.table import COLUMNS, head_line, lease_lines, tube_line
from beanrow.top.watched import TubeRow, Watched

__all__ = ["TopApp"]

_KEYS = " q:quit /:filter <>:sort r:turn w:workers Enter:peek p:pause x:kick Space:hold"
_WORKER_KEYS = " q:quit t:tubes Space:hold"
_NOTICE_SECONDS = 5.0
_SORTS = ("tube", *(one.title for one in COLUMNS))
_KEY_OF = {one.title: one.key for one in COLUMNS}

Answer = Callable[[str], Awaitable[None]]


class TopApp(App[None]):
    """Looks at a server each ``interval`` seconds; ``plain`` draws in ASCII."""

    TITLE: str | None = "beanrow top"
    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("slash", "filter"),
        Binding("less_than_sign,comma", "sort(-1)"),
        Binding("greater_than_sign,full_stop", "sort(1)"),
        Binding("r", "turn"),
        Binding("w", "view('workers')"),
        Binding("t", "view('tubes')"),
        Binding("enter", "peek"),
        Binding("p", "pause"),
        Binding("x", "kick"),
        Binding("space", "hold"),
        Binding("escape", "leave"),
    ]
    CSS: ClassVar[str] = """
    Screen { background: ansi_default; color: ansi_default; }
    #summary { height: 3; }
    #head { height: 1; text-style: bold underline; }
    Lines { height: 1fr; }
    #message { height: 1; }
    #prompt { display: none; height: 1; border: none; padding: 0 1; background: ansi_default; color: ansi_default; }
    #keys { height: 1; text-style: reverse; }
    """

    def __init__(
        self, server: Address, tubes: Tubes, *, interval: float = 1.0, plain: bool = False
    ) -> None:
        super().__init__(ansi_color=True)
        self._server = server
        self._tubes = tubes
        self._interval = interval
        self._plain = plain
        self._asking = Asking(server.url)
        # Held here, not looked up: a look may end when the screen is gone already.
        self._lines = Lines()
        self._prompt = Input(id="prompt")
        self._parts = {
            name: Static(id=name, markup=False) for name in ("summary", "head", "message", "keys")
        }
        self._watched = Watched()
        self._filter = ""
        self._sorted_by, self._falling = "ready", True
        self._view = "tubes"
        self._held = False  # whether the view is held as it is
        self._error = ""
        self._rows: list[TubeRow] = []
        self._lease_lines: list[str] = []
        self._at = ""  # the tube that the cursor stays on; none while it is at the top
        self._question = ""
        self._answer: Answer | None = None
        self._notice = ""
        self._notice_ends = 0.0

    def compose(self) -> ComposeResult:
        """Give the parts."""
        yield self._parts["summary"]
        yield self._parts["head"]
        yield self._lines
        yield self._parts["message"]
        yield self._prompt
        yield self._parts["keys"]

    def on_mount(self) -> None:
        """Begin to look."""
        self._write("keys", _KEYS)
        self._lines.focus()
        self.run_worker(self._look_on(), exclusive=True)

    def on_unmount(self) -> None:
        """Close the connection."""
        self._asking.close()

    # -- looking ------------------------------------------------------------------

    async def _look_on(self) -> None:
        while True:
            begin = time.monotonic()
            if not self._held:
                await self.look()
            took = time.monotonic() - begin
            await asyncio.sleep(max(self._interval - took, took))  # half of the time at most

    async def look(self) -> None:
        """Look at the server once, and show it."""
        try:
            self._watched.add(await self._asking(self._take))
            if self._view == "workers":
                self._lease_lines = await self._look_at_workers()
            self._error = ""
        except BeanstalkError as error:
            self._error = f"no answer: {error}"
        self.show()

    def _take(self, client: Client) -> Snapshot:
        return take_snapshot(client, self._tubes)

    async def _look_at_workers(self) -> list[str]:
        """Tell who works, or why that is not known."""
        assert self._watched.snapshot is not None
        if not {LIST_CLIENTS, LIST_LEASES} <= self._watched.snapshot.words:
            return ["", " This server does not tell who holds a job; 'beanrow serve' does."]
        try:
            clients = await self._asking(Client.list_clients)
            leases = await self._asking(Client.list_leases)
        except BeanstalkError as error:
            return ["", f" {error}"]
        return lease_lines(clients, leases, self.size.width, plain=self._plain)

    # -- showing ------------------------------------------------------------------

    def show(self) -> None:
        """Write everything anew."""
        width = self.size.width
        lines = self._lines
        if self._rows and self._view == "tubes":
            self._at = self._rows[lines.cursor].name if lines.cursor else ""
        self._rows = self._chosen()
        told = summary_lines(str(self._server), self._watched, held=self._held)
        self._write("summary", "\n".join(line[:width] for line in told))
        self._write("message", self._message())
        if self._view == "workers":
            head, *rest = self._lease_lines or [""]
            self._write("head", head)
            lines.show(len(rest), lambda index, _width, _at: rest[index], lines.cursor)
            return
        self._write("head", head_line(width, self._sorted_by, falling=self._falling))
        names = [row.name for row in self._rows]
        cursor = names.index(self._at) if self._at in names else lines.cursor
        lines.show(len(self._rows), self._tube_line, cursor)

    def _tube_line(self, index: int, width: int, at_cursor: bool) -> str:
        return tube_line(self._rows[index], width, at_cursor=at_cursor, plain=self._plain)

    def _write(self, part: str, text: str) -> None:
        self._parts[part].update(Text(text, no_wrap=True, overflow="crop"))

    def _message(self) -> str:
        """Tell what matters most: a question, an error, what was just done, the filter."""
        if self._question:
            return f" {self._question}"
        if self._error:
            return f" {' '.join(self._error.split())}"
        if self._notice and time.monotonic() < self._notice_ends:
            return f" {self._notice}"
        if self._filter:
            return f" filter {self._filter}: {len(self._rows)} tubes; / and Enter shows all"
        return ""

    def _chosen(self) -> list[TubeRow]:
        """Filter and sort the tubes."""
        rows = self._watched.rows()
        if self._filter:
            glob = self._filter if set(self._filter) & set("*?[") else f"*{self._filter}*"
            rows = [row for row in rows if fnmatchcase(row.name, glob)]
        key = _KEY_OF.get(self._sorted_by)
        if key is None:
            rows.sort(key=lambda row: row.name, reverse=self._falling)
        else:
            rows.sort(key=key, reverse=self._falling)  # by name where equal: it is stable
        return rows

    # -- keys ---------------------------------------------------------------------

    def action_sort(self, step: int) -> None:
        """Sort by the next column, or by the one before."""
        place = _SORTS.index(self._sorted_by) + step
        self._sorted_by = _SORTS[place % len(_SORTS)]
        self._falling = self._sorted_by != "tube"
        self.show()

    def action_turn(self) -> None:
        """Turn the order round."""
        self._falling = not self._falling
        self.show()

    async def action_view(self, view: str) -> None:
        """Show tubes or workers."""
        self._view = view
        self._write("keys", _KEYS if view == "tubes" else _WORKER_KEYS)
        await self.look()

    def action_hold(self) -> None:
        """Hold the view as it is, or go on."""
        self._held = not self._held
        self.show()

    def action_filter(self) -> None:
        """Ask which tubes to show."""
        self._ask("show tubes with (glob, or a part of the name): ", self._filter, self._set_filter)

    async def _set_filter(self, text: str) -> None:
        self._filter = text.strip()

    def action_peek(self) -> None:
        """Show the next job of the tube at the cursor."""
        if (row := self._row()) is not None:
            self.push_screen(PeekScreen(self._asking, row.name))

    def action_pause(self) -> None:
        """Ask for how long to pause the tube at the cursor."""
        if (row := self._row()) is None:
            return
        name, usual = row.name, "0" if row.is_paused else "600"

        async def pause(text: str) -> None:
            seconds = _number(text)
            await self._asking(lambda client: client.pause_tube(name, seconds))
            self._notify(f"{name}: {f'paused for {seconds} s' if seconds else 'resumed'}")

        self._ask(f"pause {name} for seconds (0 resumes): ", usual, pause)

    def action_kick(self) -> None:
        """Ask how many jobs of the tube at the cursor to kick."""
        if (row := self._row()) is None:
            return
        name, stats = row.name, row.stats
        usual = stats.current_jobs_buried or stats.current_jobs_delayed
        what = "buried" if stats.current_jobs_buried else "delayed"
        if not usual:
            self._notify(f"{name}: no job is buried or delayed")
            self.show()
            return

        async def kick(text: str) -> None:
            kicked = await self._asking(using(name, commands.kick(_number(text))))
            self._notify(f"{name}: {kicked} kicked")

        self._ask(f"kick how many {what} jobs of {name}: ", str(usual), kick)

    def _row(self) -> TubeRow | None:
        if self._view != "tubes" or not self._rows:
            return None
        return self._rows[self._lines.cursor]

    def _notify(self, text: str) -> None:
        """Tell something for a few seconds."""
        self._notice = " ".join(text.split())
        self._notice_ends = time.monotonic() + _NOTICE_SECONDS

    # -- asking -------------------------------------------------------------------

    def _ask(self, question: str, usual: str, answer: Answer) -> None:
        """Ask for a line; Escape answers nothing."""
        self._question, self._answer = question, answer
        self._write("message", self._message())
        prompt = self._prompt
        prompt.value = usual
        prompt.cursor_position = len(usual)
        prompt.styles.display = "block"
        prompt.focus()

    def action_leave(self) -> None:
        """Take a question back."""
        self._end_question()
        self.show()

    def _end_question(self) -> None:
        self._question, self._answer = "", None
        self._prompt.styles.display = "none"
        self._lines.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the answer."""
        answer = self._answer
        self._end_question()
        if answer is None:
            return
        try:
            await answer(event.value)
        except NotFoundError:
            self._notify("this tube is gone")
        except BeanstalkError as error:
            self._notify(str(error))
        await self.look()


def _number(text: str) -> int:
    if not text.strip().isdecimal():
        raise BadValueError(f"{text!r} is no whole number")
    return int(text)
