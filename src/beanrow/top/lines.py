"""A list of lines of which only those in sight are written: 5,000 tubes cost what 20 do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp
from textual.widget import Widget

__all__ = ["Lines"]

Write = Callable[[int, int, bool], str]
"""``write(index, width, at_cursor)``: one line."""


class Lines(Widget, can_focus=True):
    """A list with a cursor; ``show`` gives it lines, which it asks for as they come in sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "to_end(-1)", show=False),
        Binding("end,G", "to_end(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.cursor: int = 0
        self._top = 0
        self._count = 0
        self._write: Write = lambda _index, _width, _at_cursor: ""

    def show(self, count: int, write: Write, cursor: int) -> None:
        """Show so many lines, the cursor on one of them."""
        self._count, self._write = count, write
        self._put_cursor(cursor)

    def _put_cursor(self, cursor: int) -> None:
        self.cursor = max(0, min(cursor, self._count - 1))
        height = max(1, self.size.height)
        self._top = max(min(self._top, self.cursor, self._count - height), self.cursor - height + 1)
        self._top = max(0, self._top)
        self.refresh()

    def action_move(self, lines: int) -> None:
        """Move the cursor."""
        self._put_cursor(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is in sight."""
        self._put_cursor(self.cursor + pages * max(1, self.size.height - 1))

    def action_to_end(self, end: int) -> None:
        """Move the cursor to the first or the last line."""
        self._put_cursor(0 if end < 0 else self._count - 1)

    def on_mouse_scroll_up(self, _event: MouseScrollUp) -> None:
        """Move the cursor up."""
        self.action_move(-1)

    def on_mouse_scroll_down(self, _event: MouseScrollDown) -> None:
        """Move the cursor down."""
        self.action_move(1)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._put_cursor(self.cursor)

    def render(self) -> Text:
        """Write what is in sight; the cursor's line is reversed, and marked for who sees no colour."""
        width, height = self.size
        text = Text(no_wrap=True, overflow="crop")
        last = min(self._count, self._top + height)
        for index in range(self._top, last):
            at_cursor = index == self.cursor
            line = self._write(index, width, at_cursor).ljust(width)
            text.append(line + ("\n" if index < last - 1 else ""), "reverse" if at_cursor else "")
        return text
