"""Server: listeners, what stats tells of the process, signals, and the end.

Law: what was started is ended: sockets are closed and a Unix socket's file is removed.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.engine.limited import UNBOUNDED, LimitedEngine
from beanrow.errors import BadValueError
from beanrow.journal.journal import Journal, JournalFacts
from beanrow.protocol.capabilities import AUTH
from beanrow.server.audit import Audit
from beanrow.server.connection import Execute
from beanrow.server.guard import Access
from beanrow.server.host import host_facts
from beanrow.server.http import Health, Http
from beanrow.server.limits import NO_LIMITS, Limits
from beanrow.server.local import Data, KeptQueue
from beanrow.server.log import Log
from beanrow.server.loop import Loop, wall_clock
from beanrow.server.metrics import write_metrics
from beanrow.server.rights import Rights
from beanrow.server.slow import SlowLog
from beanrow.server.systemd import Notifier
from beanrow.server.tls import Tls, TlsFiles, make_context

__all__ = ["Server"]

_TOKEN = 16
"""Bytes of the token of a session: nobody finds one by trying."""
_NO_JOURNAL = JournalFacts(0, 0, 0, 0)


def _promise(data: Data | None) -> str:
    """Tell what an acknowledged job survives, in the word of ``stats``."""
    if data is None:
        return "none"
    if data.sync_after is None:
        return "written"
    return f"synced-within-{data.sync_after // 1_000_000}ms" if data.sync_after else "synced"


def _facts_with_journal(
    server_id: str, segment: int, data: Data | None, journal: Callable[[], Journal | None]
) -> Callable[[], HostFacts]:
    """Collect what the host is, and what its journal has done."""
    host = host_facts(server_id)
    store, promise = "memory" if data is None else "journal", _promise(data)

    def facts() -> HostFacts:
        kept = journal()
        done = _NO_JOURNAL if kept is None else kept.facts
        return host()._replace(
            binlog_oldest_index=done.oldest_index,
            binlog_current_index=done.current_index,
            binlog_records_migrated=done.records_migrated,
            binlog_records_written=done.records_written,
            binlog_max_size=segment,
            store=store,
            promise=promise,
        )

    return facts


class Server:
    """A beanstalk server.

    ``listeners`` are its own: their Unix sockets' files go with it. ``max_job_size`` and
    ``segment`` (of a journal, told by ``stats``) are bytes. With ``data`` the jobs are kept
    there; JournalError if they cannot be.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        *,
        max_job_size: int,
        segment: int,
        data: Data | None = None,
        limits: Limits = NO_LIMITS,
        log: Log | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        clock = wall_clock()
        self._host = host = _facts_with_journal(secrets.token_hex(8), segment, data, self._journal)
        self.log: Log = log or Log()
        self._notifier = notifier or Notifier({}, 0)
        self._audit = Audit(None, self.log)
        self._access: Access | None = None
        self._reloads: list[Callable[[], str]] = []
        self._kept: KeptQueue | None = None
        if data is not None:
            self._kept = KeptQueue(
                data, clock, room=limits.room, max_job_size=max_job_size, host=host, log=self.log
            )
            self.engine: Engine = self._kept.engine
        elif limits.room == UNBOUNDED:
            self.engine = Engine(clock(), max_job_size=max_job_size, host=host)
        else:
            self.engine = LimitedEngine(
                clock(), room=limits.room, max_job_size=max_job_size, host=host
            )
        self.engine.offer_sessions(lambda: secrets.token_hex(_TOKEN))
        self._loop = Loop(self.engine, clock, self._journal(), limits=limits, log=self.log)
        self._sockets_on_disk = [
            listener.getsockname() for listener in listeners if listener.family == socket.AF_UNIX
        ]
        self.serve_queue(listeners)

    def serve_queue(self, listeners: list[socket.socket]) -> None:
        """Serve the queue there too; what these are made of belongs to others."""
        for listener in listeners:
            self._loop.listen(listener)

    def _journal(self) -> Journal | None:
        return None if self._kept is None else self._kept.journal

    def serve_http(self, listeners: list[socket.socket]) -> None:
        """Answer questions of health and for metrics there."""
        health = Health(self._loop, lambda: write_metrics(self.engine, self._loop, self._host))
        http = Http(self._loop, health.answer)
        for listener in listeners:
            self._loop.listen(listener, http.admit)

    def run(self, ready: Callable[[], object]) -> bool:
        """Serve until told to stop: by SIGTERM, SIGINT, or the end of the parent.

        False if the journal could not be brought to its end. SIGUSR1 begins drain mode, as in
        the daemon, and SIGUSR2 ends it. ``ready`` is called once signals are taken: whoever is
        told of the server earlier could end it with one.
        """
        self._take_signals()
        # Jobs are never part of a cycle, and walking a million of them costs 350 ms. What is here
        # by now stays: where the loop collects after all, it passes over it.
        gc.disable()
        gc.freeze()
        try:
            ready()
            self._notifier.ready()
            if self._notifier.watchdog:
                self._stay_alive()
            self._loop.run()
        finally:
            self._remove_files()
            self._audit.close()
        return self._kept is None or self._kept.close()

    def serve_tls(self, listeners: list[socket.socket], files: TlsFiles) -> None:
        """Serve the queue inside TLS there; BadValueError if the files cannot be used.

        After ``protect``, which it is to know of. SIGHUP reads the files anew.
        """
        guard = None
        if self._access is not None:
            access = self._access

            def guard(address: str, certificate: tuple[str, ...]) -> Execute:
                return access.guard(address, certificate).execute

        tls = Tls(self._loop, make_context(files), guard)
        for listener in listeners:
            self._loop.listen(listener, tls.admit, tls.accepts_a_turn)

        def reload() -> str:
            tls.context = make_context(files)
            return f"certificate of {files.cert}"

        self._reloads.append(reload)

    def watch_slow_commands(self, threshold: int) -> None:
        """Note commands that take so many nanoseconds; before ``protect``, which is to know."""
        slow = SlowLog(self.engine, self.log, threshold)
        self._loop.execute = slow.execute
        self._loop.on_commit = slow.note_commit

    def protect(self, rights: Path, audit: Path | None) -> Rights:
        """Let everybody do only what the file allows; gives what it says.

        BadValueError if it is wrong, or if ``audit`` cannot be written. SIGHUP reads it anew.
        """
        self._audit = Audit(audit, self.log)
        self._access = access = Access(rights, self.engine, self._audit, self._loop.execute)
        self.engine.capabilities |= {AUTH}
        self._loop.guard = lambda address: access.guard(address).execute

        def reload() -> str:
            self._audit.reopen()
            return f"rights of {rights}: {access.reload()} connections closed"

        self._reloads.append(reload)
        return access.rights

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
        if self._reloads or self._notifier.asked:  # else it ends with its terminal
            signal.signal(signal.SIGHUP, self._on_reload)

    def _stay_alive(self) -> None:
        """Tell the watchdog at half of its time, for as long as the loop turns."""
        self._notifier.alive()
        self._loop.call_at(self._loop.time() + self._notifier.watchdog // 2, self._stay_alive)

    def _stop(self) -> None:
        self._notifier.stopping()
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
        self._loop.call_at(0, lambda: self._tell_drain("on"))

    def _on_serve_again(self, _number: int, _frame: FrameType | None) -> None:
        self.engine.draining = False
        self._loop.call_at(0, lambda: self._tell_drain("off"))

    def _tell_drain(self, state: str) -> None:
        self.log.tell(f"drain-{state}", f"drain mode is {state}")
        self._audit.tell(f"drain-{state}", who="signal")

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._loop.call_at(0, self._reload)  # not in the middle of a turn

    def _reload(self) -> None:
        """Read the files anew; what is wrong with one is told, and it stays as it was."""
        self._notifier.reloading()
        for reload in self._reloads:
            try:
                done = reload()
            except BadValueError as error:
                self.log.tell("reload-failed", f"still as before: {error}", level="error")
                self._audit.tell("reload-failed", who="signal", reason=str(error))
            else:
                self.log.tell("reloaded", f"read anew: {done}")
                self._audit.tell("reloaded", who="signal", what=done)
        self._notifier.ready()
