"""Random conversations with a beanstalk server: valid, invalid and malformed.

Laws:
- A conversation follows from its seed and from what the twin (an engine of ours in this process)
  has answered so far, nothing else.
- Names, ids and priorities come from small sets, so that what connections do collides.
- Left out is what docs/compatibility.md lists as different on purpose, and where the daemon does
  not decide (which of several waiters gets a job).
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple, Protocol

TUBES = ["default", "a", "b.c", "12145", "null", "x" * 200]
NO_TUBES = ["-a", "", "x" * 201, "a b", "ü", "a\tb", "a,b"]
ENOUGH = 20_000  # bytes behind a reserve that waits: more might fill the buffers of the daemon
LONG = 1_000_000  # seconds: never over while a conversation lasts
BLOCKING = re.compile(rb"reserve(-with-timeout [1-9]\d*)?\r\n")

ON_PURPOSE = re.compile(
    rb"quit[^\r ]|kick [ \t\v\f]*-|reserve-with-timeout(?! *\d{1,9}\r\n)|HTTP/", re.IGNORECASE
)
"""What is answered otherwise than by daemon 1.12: the list is docs/compatibility.md."""
ENDLESS = re.compile(rb"put +\d+ +\d+ +\d+ +\d{6,10}\D")
"""A put, garbled into one that announces up to 4 GiB."""


class Send(NamedTuple):
    """Send these bytes, in these pieces."""

    connection: int
    pieces: tuple[bytes, ...]


class Reconnect(NamedTuple):
    """Close a connection and open another in its place."""

    connection: int


class HalfClose(NamedTuple):
    """Send no more, read to the end, and open another connection in its place."""

    connection: int


class Sleep(NamedTuple):
    seconds: float


Step = Send | Reconnect | HalfClose | Sleep


class View(Protocol):
    """What the generator may know of the state so far."""

    def is_waiting(self, connection: int) -> bool: ...
    def backlog(self, connection: int) -> int: ...
    def may_wait(self, connection: int) -> bool: ...
    def missing(self) -> tuple[int, int]: ...
    def recent_ids(self) -> list[int]: ...


class Conversation:
    """A stream of random steps over ``connections`` connections.

    ``timed`` conversations use short delays, pauses and waits, and sleep them through; in the
    others no time passes that matters.
    """

    def __init__(self, seed: int, connections: int, timed: bool) -> None:
        self._random = random.Random(seed)
        self._connections = connections
        self._timed = timed
        self._steps = 0

    def next(self, view: View) -> Step:
        self._steps += 1
        if self._timed and self._steps % 40 == 0:
            return Sleep(1.5)
        connection, missing = view.missing()
        if missing:  # the daemon gives an unfinished put its id and counts it; ours does not
            return Send(connection, (b"m" * missing,))
        pick = self._random
        connection = pick.randrange(self._connections)
        chance = pick.random()
        # What stands behind a waiting reserve when its connection is closed may or may not be done:
        # no server can tell a close from a half-close before it has answered.
        if chance < 0.01 and not view.backlog(connection):
            return Reconnect(connection)
        # With more behind the wait the daemon sometimes notices a half-close only seconds later.
        if chance < 0.015 and not view.backlog(connection):
            return HalfClose(connection)
        # Two that go on at the same time would take turns that no protocol fixes: one at most.
        pipelining = [i for i in range(self._connections) if view.backlog(i)]
        if pipelining and view.is_waiting(connection):
            connection = pipelining[0]
        if self._timed and view.is_waiting(connection):
            return Sleep(1.5)  # what goes on at a time-out would race with other time-outs
        if view.is_waiting(connection) and view.backlog(connection) > ENOUGH:
            connection = (connection + 1) % self._connections
            if view.is_waiting(connection):
                return Reconnect(connection)
        while True:
            packet = self._packet(connection, view)
            if not ON_PURPOSE.search(packet) and not ENDLESS.search(packet):
                return Send(connection, self._pieces(packet))

    def _pieces(self, packet: bytes) -> tuple[bytes, ...]:
        pick = self._random
        if len(packet) < 2 or pick.random() < 0.9:
            return (packet,)
        cuts = sorted(pick.sample(range(1, len(packet)), min(len(packet) - 1, pick.randint(1, 3))))
        return tuple(packet[i:j] for i, j in zip([0, *cuts], [*cuts, len(packet)], strict=True))

    def _packet(self, connection: int, view: View) -> bytes:
        pick = self._random
        if view.is_waiting(connection):
            return b"".join(self._instant(view) for _ in range(pick.randint(1, 2)))
        # Whoever is woken goes on with what it pipelined, in turns that no protocol fixes.
        others_go_on = any(view.backlog(number) for number in range(self._connections))
        if pick.random() < 0.12 and view.may_wait(connection):
            alone = self._timed or others_go_on or pick.random() < 0.7
            return self._blocking() + (b"" if alone else self._instant(view))
        count = 1 if others_go_on or pick.random() < 0.7 else pick.randint(2, 12)
        return b"".join(self._instant(view) for _ in range(count))

    def _blocking(self) -> bytes:
        if self._timed and self._random.random() < 0.8:
            return b"reserve-with-timeout %d\r\n" % self._random.randint(1, 2)
        return self._random.choice([b"reserve\r\n", b"reserve-with-timeout %d\r\n" % LONG])

    def _instant(self, view: View) -> bytes:
        """One command that does not wait, malformed now and then."""
        line = self._command(view)
        if self._random.random() < 0.08:
            mutated = self._mutated(line)
            # A changed command may have become a reserve that waits.
            return line if BLOCKING.search(mutated) else mutated
        return line

    def _command(self, view: View) -> bytes:
        kinds, weights = zip(*_WEIGHTS.items(), strict=True)
        kind = self._random.choices(kinds, weights)[0]
        return getattr(self, f"_{kind}")(view)  # type: ignore[no-any-return]

    # -- commands, each with its arguments -------------------------------------------------------

    def _tube(self) -> bytes:
        pick = self._random
        name = pick.choice(NO_TUBES) if pick.random() < 0.03 else pick.choice(TUBES)
        return name.encode()

    def _id(self, view: View) -> int:
        ids = view.recent_ids()
        if ids and self._random.random() < 0.9:
            return self._random.choice(ids)
        return self._random.choice([0, 1, 7, 2**32, 2**64 - 1, 2**64])

    def _priority(self) -> int:
        return self._random.choice([0, 1, 5, 1023, 1024, 1024, 2**32 - 1, 2**32])

    def _delay(self) -> int:
        if self._timed:
            return self._random.choice([0, 0, 1, 2])
        return self._random.choice([0, 0, 0, LONG, 2 * LONG])

    def _put(self, view: View) -> bytes:
        pick = self._random
        size = pick.choice([0, 1, 2, 10, 10, 300])
        body = bytes(pick.choice(b"abc \r\n") for _ in range(size))
        end = b"\r\n" if pick.random() < 0.96 else pick.choice([b"\n\n", b"ab", b"\r\r"])
        if pick.random() < 0.02:
            size, body = 70000, b"z" * 70000
        ttr = LONG if pick.random() < 0.9 else 2**32 - 1
        priority = self._priority()
        junk = b" junk" if pick.random() < 0.02 else b""
        line = b"put %d %d %d %d%b\r\n" % (priority, self._delay(), ttr, size, junk)
        # A put that is refused leaves its body to be read as commands: keep it harmless.
        safe = body.replace(b"\r\n", b"--").replace(b"\n", b"-")
        return line + safe + end

    def _reserve(self, view: View) -> bytes:
        return b"reserve-with-timeout 0\r\n"

    def _reserve_job(self, view: View) -> bytes:
        return b"reserve-job %d\r\n" % self._id(view)

    def _delete(self, view: View) -> bytes:
        return b"delete %d\r\n" % self._id(view)

    def _release(self, view: View) -> bytes:
        return b"release %d %d %d\r\n" % (self._id(view), self._priority(), self._delay())

    def _bury(self, view: View) -> bytes:
        return b"bury %d %d\r\n" % (self._id(view), self._priority())

    def _touch(self, view: View) -> bytes:
        return b"touch %d\r\n" % self._id(view)

    def _use(self, view: View) -> bytes:
        return b"use %b\r\n" % self._tube()

    def _watch(self, view: View) -> bytes:
        return b"watch %b\r\n" % self._tube()

    def _ignore(self, view: View) -> bytes:
        return b"ignore %b\r\n" % self._tube()

    def _peek(self, view: View) -> bytes:
        state = self._random.choice([b"ready", b"delayed", b"buried", b""])
        return b"peek-%b\r\n" % state if state else b"peek %d\r\n" % self._id(view)

    def _kick(self, view: View) -> bytes:
        return b"kick %d\r\n" % self._random.choice([0, 1, 2, 10, 2**32, 2**64])

    def _kick_job(self, view: View) -> bytes:
        return b"kick-job %d\r\n" % self._id(view)

    def _pause_tube(self, view: View) -> bytes:
        pauses = [0, 1, 2] if self._timed else [0, 0, LONG]
        return b"pause-tube %b %d\r\n" % (self._tube(), self._random.choice(pauses))

    def _stats(self, view: View) -> bytes:
        return b"stats\r\n"

    def _stats_job(self, view: View) -> bytes:
        return b"stats-job %d\r\n" % self._id(view)

    def _stats_tube(self, view: View) -> bytes:
        return b"stats-tube %b\r\n" % self._tube()

    def _list(self, view: View) -> bytes:
        what = [b"list-tubes\r\n", b"list-tube-used\r\n", b"list-tubes-watched\r\n"]
        return self._random.choice(what)

    # -- lines that are wrong --------------------------------------------------------------------

    def _mutated(self, line: bytes) -> bytes:
        pick = self._random
        at = pick.randrange(len(line))
        kind = pick.randrange(12)
        if kind == 0:
            return line.upper()
        if kind == 1:
            return line.replace(b" ", pick.choice([b"  ", b"\t", b"", b" \t", b" +", b" -"]), 1)
        if kind == 2:
            return line[:at] + pick.choice([b"\0", b"\r", b"\n", b"\t", b"9", b" "]) + line[at:]
        if kind == 3:
            return line[:at] + line[at + 1 :]
        if kind == 4:
            return line.replace(b"\r\n", pick.choice([b" \r\n", b" 1\r\n", b"x\r\n"]), 1)
        if kind == 5:
            filler = pick.choice([220, 221, 222, 223, 224, 446, 447, 448, 449, 1000])
            return b"y" * filler + b"\r\n" + b"z\r\n" * 3
        if kind == 6:
            return pick.choice(_ODD_LINES)
        if kind == 7:
            return line.partition(b" ")[0] + b"\r\n"
        if kind == 8:
            return line.rpartition(b" ")[0] + b"\r\n"
        if kind == 9:
            return b"use " + b" " * pick.choice([0, 1]) + b"x" * pick.choice([218, 219]) + b"\r\n"
        if kind == 10:
            return b"peek" + b" " * pick.choice([217, 218, 219, 220]) + b"1\r\nz\r\n"
        return bytes(pick.choice(b"adeprstu -19\t\r") for _ in range(at)) + b"\r\n"


_WEIGHTS = {
    "put": 24, "reserve": 14, "reserve_job": 3, "delete": 10, "release": 6, "bury": 5, "touch": 3,
    "use": 5, "watch": 5, "ignore": 4, "peek": 5, "kick": 3, "kick_job": 2, "pause_tube": 1,
    "stats": 2, "stats_job": 6, "stats_tube": 5, "list": 4,
}  # fmt: skip
_ODD_LINES = [
    b"\r\n", b" \r\n", b"\n\r\n", b"put\r\n", b"put \r\n", b"put 1 2 3\r\n", b"statsx\r\n",
    b"stats \r\n", b"stats-\r\n", b"stats-job\r\n", b"stats-tube\r\n", b"stats-job x\r\n",
    b"reserve-job\r\n", b"reservefoo\r\n", b"reserve-job 5x\r\n", b"peek-readyx\r\n",
    b"peek-ready \r\n", b"peek\r\n", b"list-tubesx\r\n", b"list-tube\r\n", b"list-tube-usedx\r\n",
    b"pause-tube\r\n", b"pause-tubedefault 0\r\n", b"pause-tube default\r\n", b"pause-tube -a 0\r\n",
    b"pause-tube  a  0\r\n", b"pause-tube default0\r\n", b"pause-tube a 0 \r\n", b"kick\r\n",
    b"kick \r\n", b"kick 1 junk\r\n", b"kick +1\r\n", b"kick \t1\r\n", b"kick x\r\n",
    b"kick-job\r\n", b"kick 18446744073709551616\r\n", b"delete\t5\r\n", b"delete  5\r\n",
    b"delete 5 \r\n", b"delete -1\r\n", b"delete +1\r\n", b"touch 1 2\r\n", b"bury 1\r\n",
    b"release 1 1\r\n", b"release 1 1 1 1\r\n", b"use\r\n", b"use \r\n", b"use  a\r\n", b"use a \r\n",
    b"quit \x00\r\n", b"put 0 0 1 1 junk\r\n", b"put 0 0 1 -1\r\n", b"put 4294967296 0 1 1\r\n",
    b"put 0 4294967296 1 1\r\n", b"put 0 0 4294967296 1\r\n", b"put 0 0 1 4294967296\r\n",
    b"ignore nobody\r\n", b"watch\r\n", b"touch 18446744073709551616\r\n", b"capabilities\r\n",
]  # fmt: skip
