"""Server: listeners, what stats tells of the process, signals, and the end.

Law: what was started is ended: sockets are closed and a Unix socket's file is removed.
"""

from __future__ import annotations

import errno
import gc
import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage
from types import FrameType

from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.engine.limited import UNBOUNDED, LimitedEngine
from beanrow.server.limits import NO_LIMITS, Limits
from beanrow.server.log import Log
from beanrow.server.loop import Loop, wall_clock
from beanrow.version import __version__

__all__ = ["Server", "listen_tcp", "listen_unix"]

_BACKLOG = 1024


def listen_tcp(host: str, port: int) -> socket.socket:
    """Bind a TCP listener; port 0 takes any free one. OSError if it cannot be had."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: str) -> socket.socket:
    """Bind a Unix listener; the file of a server that is gone is replaced.

    OSError if the path is taken by something else, or by a server that answers.
    """
    if not path:  # which would be an address of Linux's own choice
        raise OSError(errno.EINVAL, "the path is empty")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead_socket(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_dead_socket(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def _host_facts(server_id: str, segment: int) -> Callable[[], HostFacts]:
    """Collect what does not change once; the rest at each call."""
    uname = os.uname()
    pid = os.getpid()

    def facts() -> HostFacts:
        usage = getrusage(RUSAGE_SELF)
        return HostFacts(
            pid=pid,
            version=f"beanrow {__version__}",
            rusage_utime=usage.ru_utime,
            rusage_stime=usage.ru_stime,
            id=server_id,
            hostname=uname.nodename,
            os=uname.version,
            platform=uname.machine,
            binlog_max_size=segment,
        )

    return facts


class Server:
    """A beanstalk server on the given listeners.

    ``max_job_size`` and ``segment`` (of a journal's file, told by ``stats``) are bytes.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        *,
        max_job_size: int,
        segment: int,
        limits: Limits = NO_LIMITS,
        log: Log | None = None,
    ) -> None:
        clock = wall_clock()
        host = _host_facts(secrets.token_hex(8), segment)
        self.log = log or Log()
        if limits.room == UNBOUNDED:
            self.engine = Engine(clock(), max_job_size=max_job_size, host=host)
        else:
            self.engine = LimitedEngine(
                clock(), room=limits.room, max_job_size=max_job_size, host=host
            )
        self._loop = Loop(self.engine, clock, limits=limits, log=self.log)
        self._sockets_on_disk = [
            listener.getsockname() for listener in listeners if listener.family == socket.AF_UNIX
        ]
        for listener in listeners:
            self._loop.listen(listener)

    def run(self, ready: Callable[[], object]) -> None:
        """Serve until told to stop: by SIGTERM, SIGINT, or the end of the parent.

        SIGUSR1 begins drain mode, as in the daemon, and SIGUSR2 ends it. ``ready`` is called
        once signals are taken: whoever is told of the server earlier could end it with one.
        """
        self._take_signals()
        # Jobs are never part of a cycle, and walking a million of them costs 350 ms.
        gc.disable()
        try:
            ready()
            self._loop.run()
        finally:
            self._remove_files()

    def stop_with_parent(self, parent: int, stdin: int) -> None:
        """Stop when the process ``parent`` ends or the pipe ``stdin`` is closed by it.

        The pipe alone is not enough: a process that the parent forked may hold its
        other end open after the parent is gone.
        """

        def end_at_eof(_events: int) -> None:
            if not os.read(stdin, 4096):
                self._stop()

        def end(_events: int) -> None:
            self._stop()

        self._loop.watch(stdin, end_at_eof)
        if hasattr(os, "pidfd_open"):
            try:
                self._loop.watch(os.pidfd_open(parent), end)
            except ProcessLookupError:
                self._stop()

    def _take_signals(self) -> None:
        wake_up, waker = socket.socketpair()
        wake_up.setblocking(False)
        waker.setblocking(False)
        self._waker = waker  # kept open as long as the server

        def swallow(_events: int) -> None:
            wake_up.recv(4096)

        signal.set_wakeup_fd(waker.fileno())
        self._loop.watch(wake_up.fileno(), swallow)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_drain)
        signal.signal(signal.SIGUSR2, self._on_serve_again)

    def _stop(self) -> None:
        # While we still listen: after that a successor takes the path for a dead one and its own.
        self._remove_files()
        self._loop.stop()

    def _remove_files(self) -> None:
        while self._sockets_on_disk:
            path = self._sockets_on_disk.pop()
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass  # somebody has been so kind
            except OSError as error:
                self.log.tell(
                    "file-left", f"{path} stays behind: {error.strerror}", level="warning"
                )

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop()

    def _on_drain(self, _number: int, _frame: FrameType | None) -> None:
        self.engine.draining = True

    def _on_serve_again(self, _number: int, _frame: FrameType | None) -> None:
        self.engine.draining = False
