"""What systemd gives a service and wants to hear from it: sockets, and states.

Both are plain environment variables and sockets (sd_listen_fds(3), sd_notify(3)); without
them nothing here does anything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import MutableMapping

from beanrow.errors import BadValueError

__all__ = ["Notifier", "inherited_listeners"]

_FIRST = 3
"""The first descriptor that is handed over."""


def inherited_listeners(
    environment: MutableMapping[str, str], pid: int
) -> list[tuple[str, socket.socket]]:
    """Take the sockets that systemd has opened for this process, each with its name.

    The name is FileDescriptorName= of the socket unit. The variables are removed: no child
    is meant by them. BadValueError if one is not a stream socket that listens.
    """
    for_whom = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if for_whom != str(pid) or not count.isdigit():
        return []
    taken = []
    for place in range(int(count)):
        listener = socket.socket(fileno=_FIRST + place)
        listener.set_inheritable(False)
        if listener.type != socket.SOCK_STREAM or not _listens(listener):
            raise BadValueError(
                f"socket {place + 1} of {count} from systemd does not listen: "
                "the socket unit needs ListenStream=, and no Accept=yes"
            )
        taken.append((names[place] if place < len(names) else "", listener))
    return taken


def _listens(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


class Notifier:
    """Tells systemd what the service does, if it asked to hear it.

    ``watchdog`` is the nanoseconds within which it wants to hear ``alive``, 0 if never.
    """

    def __init__(self, environment: MutableMapping[str, str], pid: int) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        for_whom = environment.pop("WATCHDOG_PID", str(pid))
        self._path = f"\0{path[1:]}" if path.startswith("@") else path
        ours = interval.isdigit() and for_whom == str(pid)
        self.watchdog: int = int(interval) * 1000 if ours and path else 0

    @property
    def asked(self) -> bool:
        """Whether anybody listens."""
        return bool(self._path)

    def ready(self) -> None:
        """Tell that connections are accepted."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Tell that settings are read anew; ``ready`` tells that this is done."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Tell that the loop turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._path:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), self._path)
            except OSError:
                pass  # who does not listen is told nothing; the queue goes on all the same
