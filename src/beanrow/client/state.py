"""What a client wants of its connections, apart from what they happen to be set to.

Law: pure. It tells which commands a fresh connection needs; others send them.
"""

from __future__ import annotations

from typing import Any

from beanrow.protocol import commands
from beanrow.protocol.commands import Command

__all__ = ["DEFAULT_TUBE", "State"]

DEFAULT_TUBE = "default"
"""The tube that a server gives to every new connection, to use and to watch."""


class State:
    """The tube a client uses and the tubes it watches, in the order it began to."""

    __slots__ = ("used", "watched")

    def __init__(self) -> None:
        self.used = DEFAULT_TUBE
        self.watched = [DEFAULT_TUBE]

    def watch(self, tube: str) -> None:
        """Note that this tube is watched."""
        if tube not in self.watched:
            self.watched.append(tube)

    def ignore(self, tube: str) -> None:
        """Note that this tube is watched no longer."""
        if tube in self.watched:
            self.watched.remove(tube)

    def setup(self) -> list[Command[Any]]:
        """Give the commands that make a fresh connection watch these tubes.

        The used tube is not among them: it is brought back by the first command that
        depends on it.
        """
        watches = [commands.watch(tube) for tube in self.watched if tube != DEFAULT_TUBE]
        if DEFAULT_TUBE in self.watched:
            return watches
        return [*watches, commands.ignore(DEFAULT_TUBE)]
