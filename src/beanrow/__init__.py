"""beanrow: the Beanstalk work queue, complete in Python.

    from beanrow import Client

    with Client("localhost:11300") as client:
        client.put("hello", tube="emails")

``AsyncClient`` has the same methods, awaited, and many commands on their way at once;
``Pool`` and ``AsyncPool`` are several servers as one.
``EmbeddedServer`` is a server of one's own, as a child process.
"""

from __future__ import annotations

from importlib import import_module
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
    from beanrow.client.async_pool import AsyncPool
    from beanrow.client.child import ChildServer as EmbeddedServer
    from beanrow.client.group import PoolId
    from beanrow.client.pool import Pool

__all__ = [
    "AsyncClient",
    "AsyncPool",
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
    "Pool",
    "PoolId",
    "ServerStats",
    "StatsParsingError",
    "TubeStats",
    "UnknownCommandError",
    "__version__",
]


_FOR_FEW = {
    "AsyncClient": ("aio", "AsyncClient"),
    "AsyncPool": ("async_pool", "AsyncPool"),
    "EmbeddedServer": ("child", "ChildServer"),
    "Pool": ("pool", "Pool"),
    "PoolId": ("group", "PoolId"),
}
"""What few programs need, and where it is: asyncio and subprocess would cost all their import."""


def __getattr__(name: str) -> Any:
    if name not in _FOR_FEW:
        raise AttributeError(f"module 'beanrow' has no attribute {name!r}")
    module, own_name = _FOR_FEW[name]
    value = getattr(import_module(f"beanrow.client.{module}"), own_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
