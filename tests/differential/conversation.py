"""Random conversations with a beanstalk server: valid, invalid and malformed.

Laws:
- A conversation follows from its seed and from what the twin (an engine of ours in this process)
  has answered so far, nothing else.
- Names, ids and priorities come from small sets, so that what connections do collides.
- Only what is ``fair`` is said: what docs/compatibility.md lists as different on purpose is left
  out, and so is what the daemon itself answers now one way and now another.
- In a timed conversation whatever lasts has a length of its own, and time passes in phases that
  divide none of them: no two kinds of things become due at the same time.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple, Protocol

from beanrow.protocol.requests import Ignore, Quit, Request, Reserve, ReserveWithTimeout, Watch
from tests.differential.noise import almost, mutated

TUBES = ["default", "a", "b.c", "12145", "null", "x" * 200]
NO_TUBES = ["-a", "", "x" * 201, "a b", "ü", "a\tb", "a,b"]
ENOUGH = 5_000  # bytes behind a reserve that waits: more might fill the buffers of the daemon
MOST_MISSING = 100_000  # bytes of a body over the limit that are sent
LONG = 1_000_000  # seconds: never over while a conversation lasts

PHASE = 4 / 3  # seconds; the lengths below end at 3/4, 1/2 and 1/4 of one
WAIT, DELAY, PAUSE = 1, 2, 3
STEPS_A_PHASE = 15

ON_PURPOSE = re.compile(
    rb"quit *[^\r \0]|kick [ \t\n\v\f\r]*-|reserve-with-timeout(?! *\d{1,9}\r\n)|HTTP/|(host|length): ",
    re.IGNORECASE,
)
"""What is answered otherwise than by daemon 1.12: the list is docs/compatibility.md."""
WAITS = re.compile(rb"reserve(-with-timeout +[1-9]\d*)?\r\n")


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


class Drain(NamedTuple):
    """Tell the servers by SIGUSR1 to take no more jobs."""


class NextPhase(NamedTuple):
    """Let time pass until the next phase begins."""


Step = Send | Reconnect | HalfClose | Drain | NextPhase


class View(Protocol):
    """What the generator may know of the state so far."""

    def is_waiting(self, connection: int) -> bool: ...
    def anyone_waits(self) -> bool: ...
    def may_wait(self, tubes: set[str]) -> bool: ...
    def backlog(self, connection: int) -> int: ...
    def others_have_backlog(self, connection: int) -> bool: ...
    def missing(self) -> tuple[int, int]: ...
    def would_ask(self, connection: int, data: bytes) -> tuple[list[Request], int]: ...
    def recent_ids(self) -> list[int]: ...
    def held_ids(self, connection: int) -> list[int]: ...
    def watched(self, connection: int) -> list[str]: ...
    def next_id(self) -> int: ...


def fair(step: Step, view: View) -> bool:
    """Tell whether both servers must answer this step alike, and at once."""
    number, missing = view.missing()
    if missing:  # the daemon gives an unfinished put its id and counts it; ours does not
        return isinstance(step, Send) and step.connection == number
    match step:
        case Reconnect(number) | HalfClose(number):
            # What stands behind a waiting reserve when its connection is closed may be carried
            # out or not; when it is half-closed, the daemon may notice only seconds later.
            return not view.backlog(number)
        case Send(number, pieces):
            return _fair_to_send(number, b"".join(pieces), view)
    return True


def _fair_to_send(number: int, data: bytes, view: View) -> bool:
    if ON_PURPOSE.search(data):
        return False
    requests, missing = view.would_ask(number, data)
    if missing > MOST_MISSING:
        return False
    waits = [at for at, request in enumerate(requests) if _blocks(request)]
    quits = [at for at, request in enumerate(requests) if isinstance(request, Quit)]
    # What is unread when a server closes may cost the client replies that were on their way.
    if quits and (quits[0] < len(requests) - 1 or waits or view.is_waiting(number)):
        return False
    if view.is_waiting(number):
        # Two that go on at the same time would take turns that no protocol fixes: one at most.
        return not waits and not view.others_have_backlog(number)
    if view.others_have_backlog(number) and len(requests) > 1:
        return False
    if not waits:
        return True
    return len(waits) == 1 and view.may_wait(_watched_after(requests[: waits[0]], number, view))


def _watched_after(requests: list[Request], number: int, view: View) -> set[str]:
    watched = set(view.watched(number))
    for request in requests:
        if isinstance(request, Watch):
            watched.add(request.tube)
        elif isinstance(request, Ignore) and len(watched) > 1:
            watched.discard(request.tube)
    return watched


def _blocks(request: Request) -> bool:
    if isinstance(request, ReserveWithTimeout):
        return request.timeout > 0
    return isinstance(request, Reserve)


class Conversation:
    """A stream of random steps over ``connections`` connections.

    ``timed`` conversations use short delays, pauses and waits, and let them end; in the others no
    time passes that matters. ``drain_at`` is the step at which drain mode begins, if at all.
    """

    def __init__(
        self, seed: int, connections: int, *, timed: bool = False, drain_at: int | None = None
    ) -> None:
        self._random = random.Random(seed)
        self._connections = connections
        self._timed = timed
        self._drain_at = drain_at
        self._steps = 0
        self._speaker = 0  # the connection of the step that is being made

    def next(self, view: View) -> Step:
        """Give the next step; the view must show what came of the last one."""
        self._steps += 1
        connection, missing = view.missing()
        if missing:
            return Send(connection, (b"m" * (missing - 2) + b"\r\n",))
        if self._steps == self._drain_at:
            return Drain()
        if self._timed and self._steps % STEPS_A_PHASE == 0:
            return NextPhase()
        while True:
            step = self._propose(view)
            if fair(step, view):
                return step

    def _propose(self, view: View) -> Step:
        pick = self._random
        idle = [i for i in range(self._connections) if not (self._timed and view.is_waiting(i))]
        if not idle:
            return NextPhase()
        connection, chance = pick.choice(idle), pick.random()
        self._speaker = connection
        if chance < 0.01:
            return Reconnect(connection)
        if chance < 0.015:
            return HalfClose(connection)
        if chance < 0.02:
            return Send(connection, (b"quit\r\n",))
        return Send(connection, self._pieces(self._packet(connection, view)))

    def _pieces(self, packet: bytes) -> tuple[bytes, ...]:
        pick = self._random
        if len(packet) < 2 or pick.random() < 0.9:
            return (packet,)
        cuts = sorted(pick.sample(range(1, len(packet)), min(len(packet) - 1, pick.randint(1, 5))))
        return tuple(packet[i:j] for i, j in zip([0, *cuts], [*cuts, len(packet)], strict=True))

    def _packet(self, connection: int, view: View) -> bytes:
        pick, chance = self._random, self._random.random()
        if view.is_waiting(connection):
            return b"".join(self._command(view) for _ in range(pick.randint(1, 2)))
        if chance < 0.12:
            behind = self._command(view) if not self._timed and pick.random() < 0.3 else b""
            return self._blocking() + behind
        if chance < 0.14 and not view.anyone_waits():
            return self._deadline_soon(view)
        if chance < 0.17 and not self._timed:
            return self._noise(view)
        if chance < 0.45 and self._timed:
            return self._sleep(view)
        if 0.17 < chance < 0.21:
            return self._spread()
        count = 1 if chance < 0.75 else pick.randint(2, 12)
        return b"".join(self._command(view) for _ in range(count))

    def _spread(self) -> bytes:
        """Watch and use tubes that hardly anybody else knows: they go when the connection goes."""
        used, *watched = self._random.sample(range(8), 4)
        return b"".join([
            *(b"watch rare-%d\r\n" % number for number in watched),
            b"use rare-%d\r\n" % used,
        ])  # fmt: skip

    def _noise(self, view: View) -> bytes:
        """Many lines most of which are wrong; one of them may wait."""
        lines: list[bytes] = []
        waits = False
        for _ in range(self._random.randint(5, 60)):
            line = almost(self._random, view.recent_ids())
            if not ON_PURPOSE.search(line) and not (waits and WAITS.search(line)):
                waits = waits or WAITS.search(line) is not None
                lines.append(line)
        return b"".join(lines)

    def _blocking(self) -> bytes:
        if self._timed and self._random.random() < 0.5:
            return b"reserve-with-timeout %d\r\n" % WAIT
        return self._random.choice([b"reserve\r\n", b"reserve-with-timeout %d\r\n" % LONG])

    def _deadline_soon(self, view: View) -> bytes:
        """Hold a job of a short ttr, ask for another, and be done with it before it expires.

        For of expiries the daemon misses some. Half the time no other job is in the way.
        """
        pick, job, tubes = self._random, view.next_id(), view.watched(self._speaker)
        ttr, wait = (WAIT + 1, WAIT + 1) if self._timed else (1, 0)
        reserve = pick.choice([b"reserve\r\n", b"reserve-with-timeout %d\r\n" % wait])
        hold = b"put 5 0 %d 1\r\nd\r\nreserve-job %d\r\n" % (ttr, job)
        between = pick.choice([b"", b"touch %d\r\n" % job, b"stats-job %d\r\n" % job])
        packet = hold + between + reserve + b"delete %d\r\n" % job
        if pick.random() < 0.5:
            return packet
        watch = b"".join(b"watch %b\r\n" % tube.encode() for tube in tubes)
        return self._only(b"quiet", view) + packet + watch + b"ignore quiet\r\n"

    def _sleep(self, view: View) -> bytes:
        """Wait for a job of a tube of its own that only time brings, or does not."""
        pick, job = self._random, view.next_id()
        tube = pick.choice([b"night-1", b"night-2", b"night-3"])
        bring = pick.choice([
            b"put 5 %d %d 1\r\nd\r\n" % (DELAY, LONG),
            b"pause-tube %b %d\r\nput 5 0 %d 1\r\np\r\n" % (tube, PAUSE, LONG),
            b"",
        ])  # fmt: skip
        reserve = b"reserve\r\n" if bring else b"reserve-with-timeout %d\r\n" % WAIT
        behind = pick.choice([b"", b"delete %d\r\n" % job])
        return b"use %b\r\n" % tube + bring + self._only(tube, view) + reserve + behind

    def _only(self, tube: bytes, view: View) -> bytes:
        """Watch this tube and no other."""
        others = [one.encode() for one in view.watched(self._speaker) if one.encode() != tube]
        return b"watch %b\r\n" % tube + b"".join(b"ignore %b\r\n" % one for one in others)

    def _command(self, view: View) -> bytes:
        """One command that does not wait, wrong now and then."""
        weights = _TIMED_WEIGHTS if self._timed else _WEIGHTS
        kind = self._random.choices(list(weights), list(weights.values()))[0]
        line: bytes = getattr(self, f"_{kind}")(view)
        chance = self._random.random()
        if self._timed or chance > 0.1:
            return line
        return mutated(self._random, line) if chance > 0.03 else self._random.choice(_ODD_LINES)

    # -- commands, each with its arguments -------------------------------------------------------

    def _tube(self) -> bytes:
        pick = self._random
        name = pick.choice(NO_TUBES) if pick.random() < 0.03 else pick.choice(TUBES)
        return name.encode()

    def _id(self, view: View) -> int:
        ids, chance = view.recent_ids(), self._random.random()
        held = view.held_ids(self._speaker)
        if held and chance < 0.4:
            return self._random.choice(held)
        if ids and chance < 0.95:
            return self._random.choice(ids)
        return self._random.choice([0, 1, 7, 2**32, 2**64 - 1, 2**64])

    def _priority(self) -> int:
        return self._random.choice([0, 1, 5, 1023, 1024, 1024, 2**32 - 1, 2**32])

    def _delay(self) -> int:
        return self._random.choice([0, 0, DELAY] if self._timed else [0, 0, 0, LONG, 2 * LONG])

    def _put(self, view: View) -> bytes:
        pick = self._random
        if self._timed:
            return b"put %d %d %d 1\r\nt\r\n" % (pick.choice([1, 1024]), self._delay(), LONG)
        size = pick.choice([0, 1, 2, 10, 10, 300])
        body = bytes(pick.choice(b"abc \r\n") for _ in range(size))
        end = b"\r\n" if pick.random() < 0.96 else pick.choice([b"\n\n", b"ab", b"\r\r"])
        if pick.random() < 0.02:
            size = pick.choice([65534, 65535, 65536, 70000])
            body = b"z" * size
        ttr = LONG if pick.random() < 0.9 else 2**32 - 1
        junk = b" junk" if pick.random() < 0.02 else b""
        line = b"put %d %d %d %d%b\r\n" % (self._priority(), self._delay(), ttr, size, junk)
        return line + body + end

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
        pauses = [0, PAUSE, PAUSE] if self._timed else [0, 0, LONG]
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


_WEIGHTS = {
    "put": 24, "reserve": 14, "reserve_job": 3, "delete": 10, "release": 6, "bury": 5, "touch": 3,
    "use": 5, "watch": 5, "ignore": 4, "peek": 5, "kick": 3, "kick_job": 2, "pause_tube": 1,
    "stats": 2, "stats_job": 6, "stats_tube": 5, "list": 4,
}  # fmt: skip
_TIMED_WEIGHTS = _WEIGHTS | {"reserve": 5, "pause_tube": 6}
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
    b"ignore nobody\r\n", b"watch\r\n", b"touch 18446744073709551616\r\n", b"truncate a\r\n",
]  # fmt: skip
