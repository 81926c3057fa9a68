"""The server's half: each request of protocol 1.13 as a value.

``lines.py`` reads them out of command lines, ``request_stream.py`` out of bytes.

Law: a request without fields is an empty tuple and so falsy: ask whether it is None.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar, cast

__all__ = [
    "Auth",
    "BadFormat",
    "Bury",
    "Capabilities",
    "ClientName",
    "Delete",
    "Ignore",
    "Kick",
    "KickJob",
    "ListClients",
    "ListJobs",
    "ListLeases",
    "ListSlow",
    "ListTubeUsed",
    "ListTubes",
    "ListTubesWatched",
    "PauseTube",
    "Peek",
    "PeekBuried",
    "PeekDelayed",
    "PeekReady",
    "Parsed",
    "Put",
    "PutInTube",
    "PutLine",
    "PutTooBig",
    "PutUnique",
    "PutUnterminated",
    "Quit",
    "Release",
    "Request",
    "Resume",
    "Reserve",
    "ReserveJob",
    "ReserveWithTimeout",
    "Session",
    "Stats",
    "StatsJob",
    "ListTimes",
    "StatsTube",
    "Touch",
    "Truncate",
    "UnknownCommand",
    "Use",
    "Watch",
    "make",
]

_T = TypeVar("_T")


class _Make(Protocol):
    def __call__(self, kind: type[_T], fields: tuple[Any, ...], /) -> _T: ...


make: _Make = cast(_Make, tuple.__new__)
"""Makes one, unchecked, of all of its fields: 100 ns, where its own constructor takes 250. For those of
which there is one for each job."""


class Put(NamedTuple):
    """A whole job. Delay and ttr in seconds."""

    priority: int
    delay: int
    ttr: int
    body: bytes


class PutTooBig(NamedTuple):
    """A put whose body was over the limit and has been skipped; into the used tube if None."""

    tube: str | None = None


class PutUnterminated(NamedTuple):
    """A put whose body was not ended by CR LF; into the used tube if None."""

    tube: str | None = None


class Use(NamedTuple):
    """Put into this tube from now on."""

    tube: str


class Reserve(NamedTuple):
    """Wait for a job for ever."""


class ReserveWithTimeout(NamedTuple):
    """Wait for a job, so many seconds."""

    timeout: int


class ReserveJob(NamedTuple):
    """Reserve this very job."""

    id: int


class Delete(NamedTuple):
    """Delete this job."""

    id: int


class Release(NamedTuple):
    """Put this held job back. Delay in seconds."""

    id: int
    priority: int
    delay: int


class Bury(NamedTuple):
    """Set this held job aside."""

    id: int
    priority: int


class Touch(NamedTuple):
    """Start this held job's ttr anew."""

    id: int


class Watch(NamedTuple):
    """Reserve from this tube too."""

    tube: str


class Ignore(NamedTuple):
    """Reserve from this tube no longer."""

    tube: str


class Peek(NamedTuple):
    """Look at this job."""

    id: int


class PeekReady(NamedTuple):
    """Look at the used tube's next ready job."""


class PeekDelayed(NamedTuple):
    """Look at the used tube's next delayed job."""


class PeekBuried(NamedTuple):
    """Look at the used tube's first buried job."""


class Kick(NamedTuple):
    """Make so many buried or delayed jobs of the used tube ready."""

    bound: int


class KickJob(NamedTuple):
    """Make this buried or delayed job ready."""

    id: int


class Stats(NamedTuple):
    """The server's statistics."""


class StatsJob(NamedTuple):
    """This job's statistics."""

    id: int


class StatsTube(NamedTuple):
    """This tube's statistics."""

    tube: str


class ListTubes(NamedTuple):
    """All tubes."""


class ListTubeUsed(NamedTuple):
    """The tube that puts go into."""


class ListTubesWatched(NamedTuple):
    """The tubes of this connection's reserves."""


class PauseTube(NamedTuple):
    """Hand out no job of this tube for so many seconds."""

    tube: str
    delay: int


class Auth(NamedTuple):
    """Tell who one is, by a secret. An extension of our server."""

    token: bytes

    def __repr__(self) -> str:
        return "Auth(token=...)"  # whatever prints a request must not tell the secret


class Capabilities(NamedTuple):
    """What the server knows beyond the daemon; switch these words on. An extension of our server.

    So are all requests below it. They are none until their word is switched on.
    """

    words: tuple[str, ...]


class PutInTube(NamedTuple):
    """A whole job for this tube; the used one is left alone. Delay and ttr in seconds."""

    tube: str
    priority: int
    delay: int
    ttr: int
    body: bytes


class PutUnique(NamedTuple):
    """A whole job for the used tube, unless its key is taken there. Times in seconds."""

    key: str
    lifetime: int
    priority: int
    delay: int
    ttr: int
    body: bytes


class Truncate(NamedTuple):
    """Delete all jobs of this tube that nobody has reserved."""

    tube: str


class ListJobs(NamedTuple):
    """A page of the jobs of this tube in this state, with ids above ``after``."""

    tube: str
    state: str
    after: int
    limit: int


class Session(NamedTuple):
    """Keep what this connection holds for so many seconds if it is lost."""

    grace: int


class Resume(NamedTuple):
    """Go on with the session of this token: hold what it holds."""

    token: str

    def __repr__(self) -> str:
        return "Resume(token=...)"  # as that of Auth


class ListTimes(NamedTuple):
    """How long jobs of this tube waited and were held."""

    tube: str


class ListLeases(NamedTuple):
    """A page of the jobs that are reserved, with ids above ``after``, and who holds them."""

    after: int
    limit: int


class ListClients(NamedTuple):
    """A page of the connections with numbers above ``after``."""

    after: int
    limit: int


class ListSlow(NamedTuple):
    """The commands that took long, with numbers above ``after``."""

    after: int


class ClientName(NamedTuple):
    """What the one at the other end calls itself, for those who look."""

    name: str


class Quit(NamedTuple):
    """Close the connection."""


class BadFormat(NamedTuple):
    """A line that cannot be read. ``counted`` is the command that counts it all the same."""

    counted: str = ""


class UnknownCommand(NamedTuple):
    """A line that begins with no known command."""


class PutLine(NamedTuple):
    """The line of a put; its body is still to come. Never leaves this package.

    ``becomes`` is what it is if not a plain put: a request that lacks only its body, or a
    ``BadFormat``, whose body is no body.
    """

    priority: int
    delay: int
    ttr: int
    size: int
    becomes: PutInTube | PutUnique | BadFormat | None = None


Request = (
    Put
    | PutTooBig
    | PutUnterminated
    | Use
    | Reserve
    | ReserveWithTimeout
    | ReserveJob
    | Delete
    | Release
    | Bury
    | Touch
    | Watch
    | Ignore
    | Peek
    | PeekReady
    | PeekDelayed
    | PeekBuried
    | Kick
    | KickJob
    | Stats
    | StatsJob
    | StatsTube
    | ListTubes
    | ListTubeUsed
    | ListTubesWatched
    | PauseTube
    | Auth
    | Capabilities
    | PutInTube
    | PutUnique
    | Truncate
    | ListJobs
    | Session
    | Resume
    | ListTimes
    | ListLeases
    | ListClients
    | ListSlow
    | ClientName
    | Quit
    | BadFormat
    | UnknownCommand
)

Parsed = Request | PutLine
"""What a command line is: a request, or the first half of one."""
