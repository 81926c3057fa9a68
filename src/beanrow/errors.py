"""Every exception of beanrow, below one root.

    BeanstalkError
    ├── CommandError              the server refused a command: .command, .status
    │   ├── OutOfMemoryError      OUT_OF_MEMORY
    │   ├── InternalError         INTERNAL_ERROR
    │   ├── DrainingError         DRAINING
    │   ├── BadFormatError        BAD_FORMAT
    │   │   └── ExpectedCrlfError EXPECTED_CRLF
    │   ├── UnknownCommandError   UNKNOWN_COMMAND
    │   ├── JobTooBigError        JOB_TOO_BIG: .size, .limit
    │   ├── ForbiddenError        FORBIDDEN
    │   ├── NotFoundError         NOT_FOUND
    │   └── NotIgnoredError       NOT_IGNORED
    ├── BadReplyError             a reply that this protocol does not know: .reply
    ├── StatsParsingError         statistics that cannot be read: .document
    ├── BadValueError             a value out of range; also a ValueError
    ├── BadTypeError              a value of the wrong type; also a TypeError
    ├── ClientClosedError         the client was closed by its own program: .outcome
    ├── BatchError                some items of a batch failed: .results
    ├── JournalError              a journal that cannot be used
    ├── StoreError                a store of many machines that cannot be used
    ├── ConnectionLostError       also a ConnectionError: .outcome
    │   ├── ConnectFailedError    nothing answers at the address
    │   ├── CommandTimeoutError   no reply in time; also a TimeoutError
    │   └── JobLost               the connection that held a job is gone: .job_id
    └── BeanstalkSignal           not an error: something to know; also a UserWarning
        ├── DeadlineSoon          a held job has less than a second left
        └── BuriedJob             the server had no memory to queue a job: .job_id

Law: whatever the server or the network does, a program that catches
``BeanstalkError`` has caught it.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "ERROR_WORDS",
    "BadFormatError",
    "BadReplyError",
    "BadTypeError",
    "BadValueError",
    "BatchError",
    "BeanstalkError",
    "BeanstalkSignal",
    "BuriedJob",
    "ClientClosedError",
    "CommandError",
    "CommandTimeoutError",
    "ConnectFailedError",
    "ConnectionLostError",
    "DeadlineSoon",
    "DrainingError",
    "ExpectedCrlfError",
    "ForbiddenError",
    "InternalError",
    "JobLost",
    "JobTooBigError",
    "JournalError",
    "NotFoundError",
    "NotIgnoredError",
    "NotOfferedError",
    "Outcome",
    "OutOfMemoryError",
    "StatsParsingError",
    "StoreError",
    "UnknownCommandError",
]

Outcome = Literal["never-sent", "unknown"]
"""What is known of a command whose connection was lost: it did not leave this
process, or the server may have carried it out and its reply is missing."""


class BeanstalkError(Exception):
    """The root of every exception of beanrow."""


class CommandError(BeanstalkError):
    """The server refused a command.

    ``command`` is the command as it was sent, without a body (``"delete 7"``);
    ``status`` is the word the server answered (``"NOT_FOUND"``).
    """

    status = ""
    advice = "the server refused this command"

    def __init__(self, command: str, advice: str = "") -> None:
        super().__init__(f"{command}: {self.status}: {advice or self.advice}")
        self.command = command


class OutOfMemoryError(CommandError):
    """The server has no memory for this command; nothing was done."""

    status = "OUT_OF_MEMORY"
    advice = "the server has no memory for this now; try again later"


class InternalError(CommandError):
    """The server found a fault in itself."""

    status = "INTERNAL_ERROR"
    advice = "the server found a fault in itself; its log may say more"


class DrainingError(CommandError):
    """The server is in drain mode and takes no new jobs; the job was not stored."""

    status = "DRAINING"
    advice = "the server takes no new jobs; put to another server, or try again later"


class BadFormatError(CommandError):
    """The server could not read the command."""

    status = "BAD_FORMAT"
    advice = "the server could not read this command"


class ExpectedCrlfError(BadFormatError):
    """The server found no CR LF where the body should end."""

    status = "EXPECTED_CRLF"
    advice = "the body was not as long as announced; the job was not stored"


class UnknownCommandError(CommandError):
    """The server does not know this command."""

    status = "UNKNOWN_COMMAND"
    advice = "the server does not know this command; it may be too old for it"


class NotOfferedError(UnknownCommandError):
    """The server does not offer an extension; the command was not sent.

    ``word`` is that of ``capabilities``, ``peer`` the server.
    """

    def __init__(self, command: str, word: str, peer: str, instead: str = "") -> None:
        told = f"the server at {peer} does not offer {word!r}, and nothing was sent"
        super().__init__(command, f"{told}; {instead}" if instead else told)
        self.word = word
        self.peer = peer


class JobTooBigError(CommandError):
    """The body is larger than the server's limit (its ``max-job-size``).

    ``size`` and ``limit`` are bytes; ``limit`` is None when the server did not tell.
    """

    status = "JOB_TOO_BIG"
    advice = "the body is over the server's limit; the job was not stored"

    def __init__(self, command: str, size: int = 0, limit: int | None = None) -> None:
        advice = self.advice
        if limit is not None:
            advice = (
                f"the body has {size} bytes and the server takes at most {limit}; "
                "put a smaller body, or start the server with a larger -z"
            )
        super().__init__(command, advice)
        self.size = size
        self.limit = limit


class ForbiddenError(CommandError):
    """This client has no right to do that, or the server does not know its token."""

    status = "FORBIDDEN"
    advice = "the server's rights do not allow this to this client"


class NotFoundError(CommandError):
    """There is no such job or tube, or the job is not in a state that allows the command."""

    status = "NOT_FOUND"
    advice = "no such job or tube, or not in a state that allows this"


class NotIgnoredError(CommandError):
    """The last watched tube cannot be ignored."""

    status = "NOT_IGNORED"
    advice = "it is the only tube watched; watch another one first"


class BadReplyError(BeanstalkError):
    """The server answered something that is no reply to this command.

    The connection is closed: what follows on it can no longer be trusted.
    """

    def __init__(self, command: str, reply: bytes) -> None:
        shown = reply if len(reply) <= 80 else reply[:80] + b"..."
        super().__init__(f"{command}: not a reply to this command: {shown!r}")
        self.command = command
        self.reply = reply


class StatsParsingError(BeanstalkError):
    """Statistics or a list of tubes that cannot be read."""

    def __init__(self, document: bytes, problem: str) -> None:
        super().__init__(f"cannot read the server's statistics: {problem}")
        self.document = document


class BadValueError(BeanstalkError, ValueError):
    """A value out of range; nothing was sent."""


class BadTypeError(BeanstalkError, TypeError):
    """A value of the wrong type; nothing was sent."""


class ClientClosedError(BeanstalkError):
    """The client was closed by its own program, before this command or under it.

    ``outcome`` tells what is known of the command, as that of ConnectionLostError does.
    """

    def __init__(self, message: str, outcome: Outcome = "never-sent") -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome


class BatchError(BeanstalkError):
    """Some items of a batch failed, or were not reached.

    ``results`` has an entry for each item that was drawn, in their order: what the method
    gives for one that was done, or its error. After a lost connection nothing more is
    drawn; its error tells whether the items it was lost under may have been done.
    """

    def __init__(self, what: str, results: list[Any]) -> None:
        failed = [one for one in results if isinstance(one, BeanstalkError)]
        super().__init__(
            f"{what}: {len(failed)} of {len(results)} failed, the first one with: {failed[0]}"
        )
        self.results = results


class JournalError(BeanstalkError):
    """A journal cannot be used: taken, foreign, too new, or not to be read or written."""


class StoreError(BeanstalkError):
    """A store cannot be used: not there, not what it should be, or not safe as it is set up."""


class ConnectionLostError(BeanstalkError, ConnectionError):
    """The connection to the server broke.

    ``outcome`` tells what is known of the command it broke under:
    ``"never-sent"`` or ``"unknown"`` (the server may have carried it out).
    """

    def __init__(self, message: str, outcome: Outcome = "unknown") -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome


class ConnectFailedError(ConnectionLostError):
    """No connection could be made; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "never-sent")


class CommandTimeoutError(ConnectionLostError, TimeoutError):
    """The server did not answer within the client's ``timeout``; the connection is closed."""


class JobLost(ConnectionLostError):
    """The connection that held job ``job_id`` is gone, and the reservation with it.

    The server gives the job to the next worker. Raised by a command that needs the
    reservation; ``outcome`` is that command's.
    """

    def __init__(self, command: str, job_id: int, outcome: Outcome, why: str) -> None:
        told = "it was not sent" if outcome == "never-sent" else "the server may have done it"
        super().__init__(f"{command}: job {job_id} is lost: {why}; {told}", outcome)
        self.job_id = job_id


class BeanstalkSignal(BeanstalkError, UserWarning):
    """Not an error: something the program should know."""


class DeadlineSoon(BeanstalkSignal):
    """A job held by this connection has less than a second left of its ttr.

    Raised by ``reserve`` in place of a job, unless the client was given
    ``on_deadline_soon``. Touch, finish or release the held jobs, then reserve again:
    until then the server gives the same answer at once.
    """

    def __init__(self) -> None:
        super().__init__(
            "DEADLINE_SOON: a job held by this connection has less than a second left; "
            "touch it, finish it or release it before the next reserve"
        )


class BuriedJob(BeanstalkSignal):
    """The server had no memory to queue job ``job_id`` and buried it.

    Given to ``warnings.warn`` unless the client was given ``on_buried_job``.
    Kick the job when the server has memory again.
    """

    def __init__(self, job_id: int) -> None:
        super().__init__(
            f"BURIED {job_id}: the server had no memory to queue job {job_id} and buried it; "
            f"kick_job({job_id}) when it has"
        )
        self.job_id = job_id


ERROR_WORDS: dict[bytes, type[CommandError]] = {
    error.status.encode(): error
    for error in (
        OutOfMemoryError,
        InternalError,
        DrainingError,
        BadFormatError,
        ExpectedCrlfError,
        UnknownCommandError,
        JobTooBigError,
        ForbiddenError,
        NotFoundError,
        NotIgnoredError,
    )
}
"""The one table from the word of a refusal to its exception."""
