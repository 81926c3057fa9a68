"""beanrow: the Beanstalk work queue, complete in Python.

    from beanrow import Client

    with Client("localhost:11300") as client:
        client.put("hello", tube="emails")

``AsyncClient`` has the same methods, awaited, and many commands on their way at once;
``Pool`` and ``AsyncPool`` are several servers as one.
``EmbeddedServer`` is a server of one's own, as a child process.
``App`` makes functions tasks, and ``beanrow work`` runs what was put.
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
    ForbiddenError,
    InternalError,
    JobLost,
    JobTooBigError,
    JournalError,
    NotFoundError,
    NotIgnoredError,
    NotOfferedError,
    OutOfMemoryError,
    StatsParsingError,
    StoreError,
    UnknownCommandError,
)
from beanrow.protocol.commands import BuriedId
from beanrow.protocol.extensions import ExistingId
from beanrow.protocol.listing import ListedJob
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import Job
from beanrow.version import __version__

if TYPE_CHECKING:
    from beanrow.client.aio import AsyncClient
    from beanrow.client.async_pool import AsyncPool
    from beanrow.client.child import ChildServer as EmbeddedServer
    from beanrow.client.group import PoolId
    from beanrow.client.pool import Pool
    from beanrow.protocol.durations import Duration
    from beanrow.worker.app import App
    from beanrow.worker.codec import Codec
    from beanrow.worker.events import Middleware
    from beanrow.worker.limits import Rate
    from beanrow.worker.outcome import (
        Bury,
        LeaseLost,
        Release,
        TaskFailed,
        TimeLimitExceeded,
        UnreadableBody,
    )
    from beanrow.worker.provided import provided
    from beanrow.worker.replies import Reply
    from beanrow.worker.retry import Retry
    from beanrow.worker.run import Run, current_job
    from beanrow.worker.task import Task

__all__ = [
    "App",
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
    "Bury",
    "Client",
    "ClientClosedError",
    "Codec",
    "CommandError",
    "CommandTimeoutError",
    "ConnectFailedError",
    "ConnectionLostError",
    "DeadlineSoon",
    "DrainingError",
    "Duration",
    "EmbeddedServer",
    "ExistingId",
    "ExpectedCrlfError",
    "ForbiddenError",
    "InternalError",
    "Job",
    "JobLost",
    "JobStats",
    "JobTooBigError",
    "JournalError",
    "ListedJob",
    "LeaseLost",
    "Middleware",
    "NotFoundError",
    "NotIgnoredError",
    "NotOfferedError",
    "OutOfMemoryError",
    "Pool",
    "PoolId",
    "Rate",
    "Release",
    "Reply",
    "Retry",
    "Run",
    "ServerStats",
    "StatsParsingError",
    "StoreError",
    "Task",
    "TaskFailed",
    "TimeLimitExceeded",
    "TubeStats",
    "UnknownCommandError",
    "UnreadableBody",
    "__version__",
    "current_job",
    "provided",
]


_FOR_FEW = {
    "App": ("worker.app", "App"),
    "AsyncClient": ("client.aio", "AsyncClient"),
    "AsyncPool": ("client.async_pool", "AsyncPool"),
    "Bury": ("worker.outcome", "Bury"),
    "Duration": ("protocol.durations", "Duration"),
    "Codec": ("worker.codec", "Codec"),
    "EmbeddedServer": ("client.child", "ChildServer"),
    "LeaseLost": ("worker.outcome", "LeaseLost"),
    "Middleware": ("worker.events", "Middleware"),
    "Pool": ("client.pool", "Pool"),
    "PoolId": ("client.group", "PoolId"),
    "Rate": ("worker.limits", "Rate"),
    "Release": ("worker.outcome", "Release"),
    "Reply": ("worker.replies", "Reply"),
    "Retry": ("worker.retry", "Retry"),
    "Run": ("worker.run", "Run"),
    "Task": ("worker.task", "Task"),
    "TaskFailed": ("worker.outcome", "TaskFailed"),
    "TimeLimitExceeded": ("worker.outcome", "TimeLimitExceeded"),
    "UnreadableBody": ("worker.outcome", "UnreadableBody"),
    "current_job": ("worker.run", "current_job"),
    "provided": ("worker.provided", "provided"),
}
"""What few programs need, and where it is: asyncio, subprocess and inspect would cost all their
import."""


def __getattr__(name: str) -> Any:
    if name not in _FOR_FEW:
        raise AttributeError(f"module 'beanrow' has no attribute {name!r}")
    module, own_name = _FOR_FEW[name]
    value = getattr(import_module(f"beanrow.{module}"), own_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
