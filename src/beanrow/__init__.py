"""beanrow: the Beanstalk work queue, complete in Python.

    from beanrow import Client

    with Client("localhost:11300") as client:
        client.put("hello", tube="emails")

``EmbeddedServer`` is a server of one's own, as a child process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beanrow.client.sync import Client
from beanrow.errors import (
    BadFormatError,
    BadReplyError,
    BadTypeError,
    BadValueError,
    BatchError,
    BeanstalkError,
    BeanstalkSignal,
    BuriedJob,
    ClientClosedError,
    CommandError,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
    DeadlineSoon,
    DrainingError,
    ExpectedCrlfError,
    InternalError,
    JobTooBigError,
    NotFoundError,
    NotIgnoredError,
    OutOfMemoryError,
    StatsParsingError,
    UnknownCommandError,
)
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import Duration, Job
from beanrow.version import __version__

if TYPE_CHECKING:
    from beanrow.client.child import ChildServer as EmbeddedServer

__all__ = [
    "BadFormatError",
    "BadReplyError",
    "BadTypeError",
    "BadValueError",
    "BatchError",
    "BeanstalkError",
    "BeanstalkSignal",
    "BuriedId",
    "BuriedJob",
    "Client",
    "ClientClosedError",
    "CommandError",
    "CommandTimeoutError",
    "ConnectFailedError",
    "ConnectionLostError",
    "DeadlineSoon",
    "DrainingError",
    "Duration",
    "EmbeddedServer",
    "ExpectedCrlfError",
    "InternalError",
    "Job",
    "JobStats",
    "JobTooBigError",
    "NotFoundError",
    "NotIgnoredError",
    "OutOfMemoryError",
    "ServerStats",
    "StatsParsingError",
    "TubeStats",
    "UnknownCommandError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Starting processes is for few programs; subprocess would cost all of them its import.
    if name == "EmbeddedServer":
        from beanrow.client.child import ChildServer

        globals()[name] = ChildServer
        return ChildServer
    raise AttributeError(f"module 'beanrow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
