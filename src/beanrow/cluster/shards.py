"""Which node has which partition, and what becomes of a call whose node has moved or gone.

Laws:
- A call that was not carried out looks for its node for ``HOLD_SECONDS``, then fails as
  ``Unavailable``. One that may have been is sent again only if twice does no harm; any other fails
  as ``OutcomeUnknown``.
- What the engine says of where a slot is counts; what we remember is only where to ask first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from beanrow.cluster.address import Place, StoreAddress
from beanrow.cluster.lane import Call, Word, pack
from beanrow.cluster.layout import Layout
from beanrow.cluster.library import Library
from beanrow.cluster.node import Handlers, Node, ask_once
from beanrow.cluster.store import OutcomeUnknown, OutOfRoom, Unavailable
from beanrow.errors import StoreError

__all__ = ["HOLD_SECONDS", "Shards"]

HOLD_SECONDS = 5.0
_PAUSE = 0.1
"""Seconds between two looks at where the partitions are, while some have no node."""
_WATCH_SECONDS = 0.5
_LATER = frozenset(
    {"ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS", "BUSY"}
)
"""What an engine says that will do it soon, or knows that another one will.

It says ASK while a slot moves key by key. We do not: a function that ran here or there would find
half of its keys. Since what a call names is no key, it is told so from the first key to the last.
"""


class Shards:
    """Sends calls to the nodes of a store. ``message`` hears what they tell on our channels."""

    def __init__(
        self, address: StoreAddress, layout: Layout, message: Callable[[bytes, bytes], None]
    ) -> None:
        self.address = address
        self.layout = layout
        self.library: Library = Library(layout)
        self._loop = asyncio.get_running_loop()
        self._handlers = Handlers(self._refused, self._lost, message)
        self._nodes: dict[Place, Node] = {}
        self._where: list[Node | None] = [None] * layout.partitions
        self._stranded: list[Call] = []
        self._names: dict[str, bytes] = {}
        self._channel = b""
        self._turn = itertools.count()
        self._repairing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._closed = False

    # -- what the store asks of it ------------------------------------------------

    async def open(self) -> None:
        """Find all partitions; StoreError tells what is in the way."""
        problem = await self._look()
        if problem is not None:
            await self.close()
            raise StoreError(f"store {self.address}: {problem}")
        self._watching = self._loop.create_task(self._watch())

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        for task in (self._repairing, self._watching):
            if task is not None:
                task.cancel()
        for node in list(self._nodes.values()):
            node.close()
        for call in self._stranded:
            call.fail(Unavailable("the gateway ends"))
        await asyncio.sleep(0)  # connections that were broken tell their protocols a turn later
        await asyncio.sleep(0)

    def masters(self) -> list[Node]:
        """Give the nodes that have partitions now."""
        return list(dict.fromkeys(node for node in self._where if node is not None))

    def partitions_of(self, node: Node) -> list[int]:
        """Give the partitions that a node has."""
        return [partition for partition, one in enumerate(self._where) if one is node]

    def listen(self, channel: bytes) -> None:
        """Hear what is said on this channel of each partition from now on."""
        self._channel = channel
        self._listen()

    def call(
        self,
        partition: int,
        name: str,
        arguments: Sequence[Word],
        *,
        durable: bool = False,
        repeatable: bool = False,
    ) -> asyncio.Future[Any]:
        """Call a function on a partition; StoreError of one kind or another if it fails."""
        function = self._names.get(name)
        if function is None:
            function = self._names[name] = self.library.function(name)
        packed = pack(b"FCALL", function, 1, self.layout.bases[partition], *arguments)
        return self.send(partition, packed, durable=durable, repeatable=repeatable)

    def send(
        self, partition: int, packed: bytes, *, durable: bool = False, repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """Send a command to where a partition is."""
        future = self._loop.create_future()
        call = Call(packed, future, partition, durable=durable, repeatable=repeatable)
        node = self._where[partition]
        if node is not None and node.is_ready:
            node.send(call)
        else:
            self._strand(call)
        return future

    # -- calls that lose their way ------------------------------------------------

    def _strand(self, call: Call) -> None:
        if not call.until:
            call.until = self._loop.time() + HOLD_SECONDS
        if self._closed:
            call.fail(Unavailable("the gateway ends"))
            return
        self._stranded.append(call)
        self._repair()

    def _refused(self, call: Call, error: ReplyError) -> None:
        """Decide what becomes of a call that an engine answers with an error."""
        words = str(error).split()
        if words[0] == "MOVED":
            host, _, port = words[2].rpartition(":")
            before = self._where[call.partition]
            self._redirect(call, Place(host or (before.place.host if before else ""), int(port)))
        elif words[0] in _LATER:
            self._strand(call)
        elif "Function not found" in str(error):
            node = self._where[call.partition]
            if node is not None:
                node.close()  # it was emptied: connecting to it anew loads them
            self._strand(call)
        elif words[0] == "OOM":
            call.fail(OutOfRoom(str(error)))
        else:
            call.fail(StoreError(f"the engine says {error}"))

    def _redirect(self, call: Call, place: Place) -> None:
        node = self._nodes.get(place)
        if node is None or not node.is_ready:
            self._strand(call)
            return
        self._where[call.partition] = node
        self._repair()
        node.send(call)

    def _lost(self, node: Node, unsent: list[Call], unanswered: list[Call]) -> None:
        if self._nodes.get(node.place) is node:
            del self._nodes[node.place]
        for call in unsent:
            self._strand(call)
        for call in unanswered:
            if call.repeatable:
                self._strand(call)
            else:
                call.fail(OutcomeUnknown(f"the connection to {node.place} was lost"))
        if not self._closed:
            self._repair()

    # -- where everything is ------------------------------------------------------

    def _repair(self) -> None:
        """Look where everything is, in a moment, until all is found."""
        if self._repairing is None:
            self._repairing = self._loop.create_task(self._look_until_found())

    async def _look_until_found(self) -> None:
        try:
            while True:
                await asyncio.sleep(_PAUSE)
                problem = await self._look()
                stranded, self._stranded = self._stranded, []
                for call in stranded:
                    node = self._where[call.partition]
                    if node is not None and node.is_ready:
                        node.send(call)
                    elif self._loop.time() > call.until:
                        call.fail(Unavailable(problem or "no node has the partition"))
                    else:
                        self._stranded.append(call)
                if problem is None and not self._stranded:
                    return
        finally:
            self._repairing = None

    async def _look(self) -> str | None:
        """Find the nodes of all partitions and connect to them; tells what is in the way."""
        async with self._looking:  # two at a time would connect to each node twice
            return await self._look_once()

    async def _look_once(self) -> str | None:
        try:
            places = await self._places()
        except StoreError as error:
            return str(error)
        problem = None
        for place in dict.fromkeys(places):
            if place is None:
                problem = "some slots have no node"
                continue
            node = self._nodes.get(place)
            if node is not None and node.is_ready:
                continue
            node = Node(place, self.address, self.library, self._handlers)
            try:
                await node.connect()
            except StoreError as error:
                problem = str(error)
            else:
                self._nodes[place] = node
        self._where = [self._nodes.get(place) if place else None for place in places]
        self._listen()
        for place, node in list(self._nodes.items()):
            if place not in places and node.is_silent:
                node.close()  # it was stopped or cut off, and another one has its partitions now
        return problem

    async def _places(self) -> list[Place | None]:
        """Ask where each partition is."""
        if not self.address.is_cluster:
            return [self.address.seeds[0]] * self.layout.partitions
        candidates = list(dict.fromkeys([*self._nodes, *self.address.seeds]))
        first = next(self._turn) % len(candidates)  # another one each time: one may be cut off
        candidates = candidates[first:] + candidates[:first]
        candidates.sort(key=self._may_be_slow)  # each that does not answer takes a second
        problem = ""
        for place in candidates:
            try:
                slots = await self._ask_slots(place)
            except (OSError, TimeoutError, StoreError, ReplyError) as error:
                problem = f"{place}: {str(error) or 'it does not answer'}"
                continue
            return self._read_slots(place, slots)
        raise Unavailable(problem)

    def _may_be_slow(self, place: Place) -> bool:
        node = self._nodes.get(place)
        return node is None or not node.is_ready or node.is_silent

    async def _ask_slots(self, place: Place) -> list[Any]:
        node = self._nodes.get(place)
        if node is not None and node.is_ready:
            answer = await node.ask("CLUSTER", "SLOTS")
        else:
            answer = await ask_once(place, self.address, "CLUSTER", "SLOTS")
        assert isinstance(answer, list)
        return answer

    def _read_slots(self, asked: Place, slots: list[Any]) -> list[Place | None]:
        ranges = [
            (first, last, Place((master[0] or b"").decode() or asked.host, master[1]))
            for first, last, master, *_replicas in slots
        ]
        return [
            next((place for first, last, place in ranges if first <= slot <= last), None)
            for slot in self.layout.slots
        ]

    def _listen(self) -> None:
        if not self._channel:
            return
        channels: dict[Node, list[bytes]] = {}
        for base, node in zip(self.layout.bases, self._where, strict=True):
            if node is not None and node.is_ready:
                channels.setdefault(node, []).append(base + self._channel)
        for node, names in channels.items():
            node.listen(names)

    async def _watch(self) -> None:
        """Look who else has the place of nodes that do not answer, and close them in the end."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for node in list(self._nodes.values()):
                node.close_if_stuck()
            if any(node.is_silent for node in self._nodes.values()):
                self._repair()
