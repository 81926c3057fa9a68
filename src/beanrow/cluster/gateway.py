"""A gateway: listeners, signals, what is told, and an end that gives back what clients held.

Law: what was started is ended: clients are closed, their jobs are ready again, and only then does
this gateway leave the others.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence

from beanrow.cluster.backend import Backend
from beanrow.cluster.link import Link
from beanrow.cluster.membership import Event
from beanrow.cluster.redis import RedisStore
from beanrow.cluster.safety import find_dangers, refuse_dangers
from beanrow.engine.counters import HostFacts
from beanrow.errors import StoreError
from beanrow.server.host import host_facts
from beanrow.server.log import Level, Log

__all__ = ["Gateway"]

_LAST_SECONDS = 10.0
"""How long the end may take: a store that does not answer must not keep the process."""
_TOLD: dict[Event, tuple[Level, str]] = {
    "draining": ("info", "all gateways drain: puts are refused"),
    "serving": ("info", "gateways take puts again"),
    "given-up": ("error", "the others gave this gateway ({number}) up: all clients are closed"),
    "reaped": ("info", "gateway {number} is gone: what it held is ready again"),
    "unheard": ("warning", "the store does not hear that this gateway lives"),
    "spread": ("info", "tubes are spread otherwise from now on"),
    "heard": ("info", "the store hears this gateway again"),
}


class Gateway:
    """Serves clients on listening sockets from a store."""

    def __init__(
        self, store: RedisStore, listeners: Sequence[socket.socket], max_job_size: int, log: Log
    ) -> None:
        self._store = store
        self._listeners = listeners
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._facts = host_facts(secrets.token_hex(8))
        self.backend: Backend = Backend(
            store,
            name=f"{os.uname().nodename}:{os.getpid()}",
            max_job_size=max_job_size,
            host=self._host_facts,
            told=self._tell,
            fault=self._report,
        )

    def _host_facts(self) -> HostFacts:
        ack = self._store.address.ack
        return self._facts()._replace(store="redis", promise="replicated" if ack else "master")

    async def check(self, accepted: Collection[str]) -> None:
        """See that the store keeps what is acknowledged; StoreError if not, and not accepted."""
        address = self._store.address
        found = await find_dangers(self._store.shards.masters(), address.ack)
        refuse_dangers(found, accepted)
        for one in found:
            self._log.tell("danger", f"WARNING: {one.node}: {one.words}", level="warning")
        promise = (
            f"INSERTED means that the master and {address.ack} replica have the job"
            if address.ack
            else "INSERTED means that the master has the job: a failover may lose the last of them"
        )
        self._log.tell("store", f"store {address}: {promise}")

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until ``stop``, SIGTERM or SIGINT; ``ready`` is called once clients are served."""
        await self.backend.start(self._close_links)
        servers = [
            await self._loop.create_server(self._welcome, sock=listener)
            if listener.family != socket.AF_UNIX
            else await self._loop.create_unix_server(self._welcome, sock=listener)
            for listener in self._listeners
        ]
        self._take_signals()
        ready()
        await self._stopping.wait()
        for server in servers:
            server.close()
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._end()
        except (TimeoutError, StoreError) as error:
            self._log.tell(
                "end", f"the store was not told of the end: {error}; others will see to our jobs",
                level="warning",
            )  # fmt: skip

    async def _end(self) -> None:
        self._close_links()
        await asyncio.gather(*self._links.values(), return_exceptions=True)
        await self.backend.stop()

    def _welcome(self) -> Link:
        return Link(self.backend, self._report, self._begin)

    def _begin(self, link: Link, task: asyncio.Task[None]) -> None:
        self._links[link] = task
        task.add_done_callback(lambda _task: self._links.pop(link, None))

    def _close_links(self) -> None:
        for link in list(self._links):
            link.close()

    def stop(self) -> None:
        """End ``run``."""
        self._stopping.set()

    def stop_with_parent(self, parent: int) -> None:
        """Stop when the process ``parent`` ends or standard input is closed by it."""
        stdin = sys.stdin.fileno()

        def end_at_eof() -> None:
            if not os.read(stdin, 4096):
                self._loop.remove_reader(stdin)
                self.stop()

        self._loop.add_reader(stdin, end_at_eof)
        try:
            self._loop.add_reader(os.pidfd_open(parent), self.stop)
        except ProcessLookupError:
            self.stop()

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(signal.SIGUSR1, self._drain, True)
        self._loop.add_signal_handler(signal.SIGUSR2, self._drain, False)

    def _drain(self, on: bool) -> None:
        self.backend.draining = on
        state = "on" if on else "off"
        self._log.tell(f"drain-{state}", f"drain mode is {state}")

    def _tell(self, event: Event, number: int) -> None:
        level, words = _TOLD[event]
        self._log.tell(f"gateway-{event}", words.format(number=number), level=level)

    def _report(self, error: BaseException) -> None:
        try:
            raise error
        except StoreError:
            self._log.tell("store-fault", str(error), level="error")
        except BaseException:  # noqa: BLE001  # it is told, with where it came from
            self._log.tell_fault("internal error")
