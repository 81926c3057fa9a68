"""A job on the whole screen: the next one of a tube in a state, and its body."""

from __future__ import annotations

import json
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from beanrow.errors import BeanstalkError
from beanrow.protocol import commands
from beanrow.protocol.values import Job
from beanrow.top.asking import Asking, using

__all__ = ["PeekScreen", "readable"]

_STATES = ("ready", "delayed", "buried")
_FIGURES = (
    ("pri", "age", "delay", "ttr", "time-left"),
    ("reserves", "timeouts", "releases", "buries", "kicks"),
)
_MOST = 64 * 1024
_KEYS = " r:ready d:delayed b:buried Esc:back"


def readable(body: bytes) -> str:
    """Write a body for a person: JSON with its lines, and nothing that could steer a terminal."""
    text = body[:_MOST].decode("utf-8", "backslashreplace")
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        pass  # it is none
    told = "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text[:_MOST]
    )
    return told if len(body) <= _MOST else f"{told}\n... {len(body)} bytes in all"


class PeekScreen(ModalScreen[None]):
    """Shows the next job of a tube; it is not reserved, and stays where it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss"),
        Binding("r", "look('ready')"),
        Binding("d", "look('delayed')"),
        Binding("b", "look('buried')"),
    ]
    DEFAULT_CSS: ClassVar[str] = """
    PeekScreen { background: ansi_default; color: ansi_default; }
    PeekScreen #about { height: 3; text-style: bold; }
    PeekScreen #keys { height: 1; text-style: reverse; }
    """

    def __init__(self, ask: Asking, tube: str) -> None:
        super().__init__()
        self._ask = ask
        self._tube = tube

    def compose(self) -> ComposeResult:
        """Give the parts."""
        yield Static(id="about", markup=False)
        with VerticalScroll():
            yield Static(id="body", markup=False)
        yield Static(_KEYS, id="keys", markup=False)

    async def on_mount(self) -> None:
        """Look for the first state that has a job."""
        for state in _STATES:
            if await self._find(state):
                return

    async def action_look(self, state: str) -> None:
        """Show the next job in a state."""
        await self._find(state)

    async def _find(self, state: str) -> bool:
        try:
            job = await self._next(state)
            stats = None
            if job is not None:
                job_id = job.id
                stats = await self._ask(lambda client: client.stats_job(job_id))
        except BeanstalkError as error:
            self._show(f"{self._tube}: {error}", "")
            return True
        if job is None or stats is None:
            self._show(f"{self._tube}: no {state} job", "")
            return False
        told = stats.as_dict()
        figures = ["  ".join(f"{key} {told[key]}" for key in keys) for keys in _FIGURES]
        about = f"{self._tube}: job {job.id}, {state}, {len(job.body)} bytes"
        self._show("\n".join([about, *figures]), readable(job.body))
        return True

    async def _next(self, state: str) -> Job | None:
        peek = {
            "ready": commands.peek_ready,
            "delayed": commands.peek_delayed,
            "buried": commands.peek_buried,
        }[state]
        return await self._ask(using(self._tube, peek()))

    def _show(self, about: str, body: str) -> None:
        self.query_one("#about", Static).update(Text(about))
        self.query_one("#body", Static).update(Text(body))
