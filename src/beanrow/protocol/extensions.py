"""The client's half of our extensions, beside ``commands.py`` and under its laws.

Law: none but ``capabilities`` is sent before the server has told that it knows the word: another
server would take a body behind an unknown line for commands.
"""

from __future__ import annotations

from beanrow.errors import BadValueError
from beanrow.protocol.commands import (
    Command,
    put_request,
    read_document,
    read_put,
    refuse,
    whole_document,
)
from beanrow.protocol.holders import Connected, Lease, Rows, SlowCommand, read_rows
from beanrow.protocol.listing import MAX_LISTED, STATES, Page, read_page
from beanrow.protocol.stats import read_list
from beanrow.protocol.times import TubeTimes
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    MAX_GRACE,
    MAX_ID,
    Duration,
    is_tube_name,
    seconds,
    tube_name,
    whole_number,
)

__all__ = [
    "ExistingId",
    "capabilities",
    "client_name",
    "list_clients",
    "list_jobs",
    "list_leases",
    "list_slow",
    "put_in_tube",
    "put_in_tube_request",
    "put_unique",
    "resume",
    "session",
    "list_times",
    "truncate",
]


def capabilities(*words: str) -> Command[frozenset[str]]:
    """Switch these words on for the connection; gives those that the server knows."""
    request = b" ".join((b"capabilities", *(word.encode("ascii") for word in words)))
    return Command(request + b"\r\n", _read_capabilities)


def _read_capabilities(request: bytes, reply: bytes) -> frozenset[str]:
    return frozenset(read_list(read_document(request, reply)))


def put_in_tube(
    tube: str,
    body: bytes,
    priority: int = DEFAULT_PRIORITY,
    delay: Duration = 0,
    ttr: Duration = DEFAULT_TTR,
) -> Command[int]:
    """Put a job into a tube; the used one is left alone. Otherwise as ``put``."""
    put = put_request(body, priority, delay, ttr)
    return Command(put_in_tube_request(tube, put), read_put)


def put_in_tube_request(tube: str, put: bytes) -> bytes:
    """Write the request of ``put-in-tube`` out of that of a ``put``."""
    return b"put-in-tube %b %b" % (tube_name(tube), put[len(b"put ") :])


class ExistingId(int):
    """The id of a job that was put before under the same key; it may be finished by now."""


def put_unique(
    key: str,
    body: bytes,
    lifetime: Duration = 0,
    priority: int = DEFAULT_PRIORITY,
    delay: Duration = 0,
    ttr: Duration = DEFAULT_TTR,
) -> Command[int]:
    """Put a job into the used tube unless its key is taken there; gives its id.

    An ``ExistingId`` if it is taken. Otherwise as ``put``.
    """
    if not is_tube_name(key.encode()):
        raise BadValueError(
            f"key {key!r}: a key is spelled like a tube name: 1 to 200 of letters, digits and "
            "-+/;.$_(), not beginning with '-'"
        )
    put = put_request(body, priority, delay, ttr)
    line = b"put-unique %b %d %b"
    return Command(line % (key.encode(), seconds(lifetime, "lifetime"), put[4:]), _read_unique)


def _read_unique(request: bytes, reply: bytes) -> int:
    if reply[:7] == b"EXISTS " and reply[-1] == 10:
        return ExistingId(reply[7:])
    return read_put(request, reply)


def list_jobs(tube: str, state: str, after: int = 0, limit: int = MAX_LISTED) -> Command[Page]:
    """Ask for a page of the jobs of a tube in one state, with ids above ``after``."""
    if state not in STATES:
        raise BadValueError(f"state {state!r} is none of {', '.join(STATES)}")
    line = b"list-jobs %b %b %b\r\n" % (tube_name(tube), state.encode(), _place(after, limit))
    return Command(line, _read_page)


def _place(after: int, limit: int) -> bytes:
    if not whole_number(limit, "limit", MAX_LISTED):
        raise BadValueError("limit 0 asks for nothing")
    return b"%d %d" % (whole_number(after, "after", MAX_ID), limit)


def _read_page(request: bytes, reply: bytes) -> Page:
    page = read_page(read_document(request, reply))
    if page.after is not None and page.after <= int(request.split()[3]):
        raise ValueError("it would go on where it was: a client would ask for ever")
    return page


def session(grace: Duration) -> Command[str]:
    """Have the server keep what the connection holds, ``grace`` seconds long, if it is lost.

    1 second to a day; gives the token by which another connection goes on with it.
    """
    whole = seconds(grace, "grace", MAX_GRACE)
    if not whole:
        raise BadValueError("grace 0 would keep nothing")
    return Command(b"session %d\r\n" % whole, _read_session)


def _read_session(request: bytes, reply: bytes) -> str:
    if reply[:8] == b"SESSION " and reply[-2:] == b"\r\n" and is_tube_name(reply[8:-2]):
        return reply[8:-2].decode("ascii")
    refuse(request, reply)


def resume(token: str) -> Command[list[int]]:
    """Go on with the session of this token; gives the ids of the jobs that it holds."""
    return Command(b"resume %b\r\n" % tube_name(token), _read_resumed)  # spelled alike


def _read_resumed(request: bytes, reply: bytes) -> list[int]:
    if reply[:8] != b"RESUMED ":
        refuse(request, reply)
    line, _, rest = reply.partition(b"\r\n")
    _, count, size = line.split()
    ids = [int(job_id) for job_id in read_list(whole_document(rest, int(size)))]
    if len(ids) != int(count):
        raise ValueError("it tells another number of jobs than it lists")
    return ids


def truncate(tube: str) -> Command[int]:
    """Delete all jobs of a tube that nobody has reserved; gives how many it were."""
    return Command(b"truncate %b\r\n" % tube_name(tube), _read_truncated)


def _read_truncated(request: bytes, reply: bytes) -> int:
    if reply[:10] == b"TRUNCATED " and reply[-1] == 10:
        return int(reply[10:])
    refuse(request, reply)


def list_times(tube: str) -> Command[TubeTimes]:
    """Ask how long jobs of a tube waited and were held."""
    return Command(b"list-times %b\r\n" % tube_name(tube), _read_times)


def _read_times(request: bytes, reply: bytes) -> TubeTimes:
    return TubeTimes.read(read_document(request, reply))


def list_leases(after: int = 0, limit: int = MAX_LISTED) -> Command[Rows[Lease]]:
    """Ask for a page of the jobs that are reserved, with ids above ``after``."""
    return Command(b"list-leases %b\r\n" % _place(after, limit), _read_leases)


def _read_leases(request: bytes, reply: bytes) -> Rows[Lease]:
    return read_rows(Lease, read_document(request, reply))


def list_clients(after: int = 0, limit: int = MAX_LISTED) -> Command[Rows[Connected]]:
    """Ask for a page of the connections with numbers above ``after``."""
    return Command(b"list-clients %b\r\n" % _place(after, limit), _read_clients)


def _read_clients(request: bytes, reply: bytes) -> Rows[Connected]:
    return read_rows(Connected, read_document(request, reply))


def list_slow(after: int = 0) -> Command[Rows[SlowCommand]]:
    """Ask for the commands that took long, with numbers above ``after``."""
    place = whole_number(after, "after", MAX_ID)
    return Command(b"list-slow %d\r\n" % place, _read_slow)


def _read_slow(request: bytes, reply: bytes) -> Rows[SlowCommand]:
    return read_rows(SlowCommand, read_document(request, reply))


def client_name(name: str) -> Command[None]:
    """Tell the server what this connection is called, for those who look at it."""
    if not is_tube_name(name.encode()):
        raise BadValueError(
            f"client name {name!r}: it is spelled like a tube name: 1 to 200 of letters, digits and "
            "-+/;.$_(), not beginning with '-'"
        )
    return Command(b"client-name %b\r\n" % name.encode(), _read_named)


def _read_named(request: bytes, reply: bytes) -> None:
    if reply[:6] != b"NAMED " or reply[-1] != 10:
        refuse(request, reply)
