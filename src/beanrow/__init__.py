"""beanrow: the Beanstalk work queue, complete in Python.

    from beanrow import Client

    with Client("localhost:11300") as client:
        client.put("hello", tube="emails")

``AsyncClient`` has the same methods, awaited, and many commands on their way at once.
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
    JobLost,
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
    from beanrow.client.aio import AsyncClient
    from beanrow.client.child import ChildServer as EmbeddedServer

__all__ = [
    "AsyncClient",
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
    "JobLost",
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
    # Each is for few programs; asyncio and subprocess would cost all of them their import.
    if name == "AsyncClient":
        from beanrow.client.aio import AsyncClient

        globals()[name] = AsyncClient
        return AsyncClient
    if name == "EmbeddedServer":
        from beanrow.client.child import ChildServer

        globals()[name] = ChildServer
        return ChildServer
    raise AttributeError(f"module 'beanrow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
