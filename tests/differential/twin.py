"""Our engine in this process, without sockets: what it answers is what the servers must answer."""

from __future__ import annotations

from copy import copy

from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.protocol.requests import Request
from beanrow.server.connection import Connection
from beanrow.server.loop import wall_clock

Replies = list[tuple[int, bytes]]
"""What was said, in order, and to which connection."""

_SEGMENT = 10485760  # of a journal's file: told by stats even without a journal


class Twin:
    """An engine with a connection for control and as many others as asked for."""

    def __init__(self, connections: int, engine_class: type[Engine] = Engine) -> None:
        self._clock = wall_clock()
        self.engine = engine_class(self._clock(), host=lambda: HostFacts(binlog_max_size=_SEGMENT))
        self.control = Connection(self.engine)
        self.connections = [Connection(self.engine) for _ in range(connections)]

    def _now(self) -> int:
        now = self._clock()
        self.engine.tick(now)
        return now

    def send(self, number: int, data: bytes) -> None:
        connection = self.connections[number]
        if connection.receive(data, self._now()):
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        while connection.advance(self._now()):
            pass

    def close(self, number: int) -> None:
        self.connections[number].close(self._now())

    def open(self, number: int) -> None:
        self.connections[number] = Connection(self.engine)

    def half_close(self, number: int) -> None:
        connection = self.connections[number]
        if connection.end(self._now()):
            self._go_on(connection)

    def said(self) -> Replies:
        """What all connections have been told since the last call, woken ones going on."""
        self._now()
        told: Replies = []
        while self.engine.outbox:
            outbox, self.engine.outbox = self.engine.outbox, []
            for session in outbox:
                number = next(
                    (i for i, one in enumerate(self.connections) if one.session is session), None
                )
                told += [(number, reply) for reply in session.replies if number is not None]
                session.replies.clear()
                if number is not None:
                    self._go_on(self.connections[number])
        return told

    def closing(self) -> list[int]:
        """The connections that are to be closed once their replies have been said."""
        return [number for number, one in enumerate(self.connections) if one.session.closing]

    # -- what a conversation may know ------------------------------------------------------------

    def is_waiting(self, connection: int) -> bool:
        return self.connections[connection].session.waiting

    def anyone_waits(self) -> bool:
        return self.engine.counters.waiting > 0

    def may_wait(self, tubes: set[str]) -> bool:
        """Whether nobody waits for these tubes: whom of several a job goes to is not compared."""
        return not any(
            one.session.waiting and any(tube.name in tubes for tube in one.session.watched)
            for one in self.connections
        )

    def backlog(self, connection: int) -> int:
        """How much was sent and not yet carried out: behind a wait, or half a line."""
        one = self.connections[connection]
        return one._stream.buffered + len(one._ahead)

    def others_have_backlog(self, connection: int) -> bool:
        """Whether another connection goes on with something once its wait is over."""
        return any(
            self.backlog(number) and self.is_waiting(number)
            for number in range(len(self.connections))
            if number != connection
        )

    def missing(self) -> tuple[int, int]:
        """A connection whose put lacks so many bytes of its body; (0, 0) if there is none."""
        for number, connection in enumerate(self.connections):
            stream = connection._stream
            if stream._put is not None:
                return number, stream._missing if stream._chunks else stream._skip
        return 0, 0

    def would_ask(self, connection: int, data: bytes) -> tuple[list[Request], int]:
        """What a connection would ask if it sent this, and what its last put would lack then."""
        stream = copy(self.connections[connection]._stream)
        stream._chunks = [chunk[:] for chunk in stream._chunks]  # small ones are added to in place
        stream.feed(data)
        requests = self.connections[connection]._ahead[:]
        while (request := stream.next()) is not None:
            requests.append(request)
        if stream._put is None:
            return requests, 0
        return requests, stream._missing if stream._chunks else stream._skip

    def recent_ids(self) -> list[int]:
        return list(self.engine.jobs)[-12:]

    def held_ids(self, connection: int) -> list[int]:
        return list(self.connections[connection].session.held)[-4:]

    def watched(self, connection: int) -> list[str]:
        return [tube.name for tube in self.connections[connection].session.watched]

    def next_id(self) -> int:
        return self.engine._next_id
