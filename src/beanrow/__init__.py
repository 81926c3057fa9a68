"""beanrow: the Beanstalk work queue, complete in Python.

    from beanrow import Client

    with Client("localhost:11300") as client:
        client.put("hello", tube="emails")

``AsyncClient`` has the same methods, awaited, and many commands on their way at once.
``App`` makes functions tasks, and ``beanrow work`` runs what was put.
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
    from beanrow.worker.app import App
    from beanrow.worker.codec import Codec
    from beanrow.worker.events import Middleware
    from beanrow.worker.limits import Rate
    from beanrow.worker.outcome import (
        Bury,
        LeaseLost,
        Release,
        TimeLimitExceeded,
        UnreadableBody,
    )
    from beanrow.worker.retry import Retry
    from beanrow.worker.run import Run, current_job
    from beanrow.worker.task import Task

__all__ = [
    "App",
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
    "ExpectedCrlfError",
    "InternalError",
    "Job",
    "JobLost",
    "JobStats",
    "JobTooBigError",
    "LeaseLost",
    "Middleware",
    "NotFoundError",
    "NotIgnoredError",
    "OutOfMemoryError",
    "Rate",
    "Release",
    "Retry",
    "Run",
    "ServerStats",
    "StatsParsingError",
    "Task",
    "TimeLimitExceeded",
    "TubeStats",
    "UnknownCommandError",
    "UnreadableBody",
    "__version__",
    "current_job",
]


# Each is for some programs; asyncio, subprocess and inspect would cost all of them their import.
_LATER = {
    "AsyncClient": ("beanrow.client.aio", "AsyncClient"),
    "EmbeddedServer": ("beanrow.client.child", "ChildServer"),
    "App": ("beanrow.worker.app", "App"),
    "Bury": ("beanrow.worker.outcome", "Bury"),
    "Codec": ("beanrow.worker.codec", "Codec"),
    "LeaseLost": ("beanrow.worker.outcome", "LeaseLost"),
    "Middleware": ("beanrow.worker.events", "Middleware"),
    "Rate": ("beanrow.worker.limits", "Rate"),
    "Release": ("beanrow.worker.outcome", "Release"),
    "Retry": ("beanrow.worker.retry", "Retry"),
    "Run": ("beanrow.worker.run", "Run"),
    "Task": ("beanrow.worker.task", "Task"),
    "TimeLimitExceeded": ("beanrow.worker.outcome", "TimeLimitExceeded"),
    "UnreadableBody": ("beanrow.worker.outcome", "UnreadableBody"),
    "current_job": ("beanrow.worker.run", "current_job"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'beanrow' has no attribute {name!r}")
    from importlib import import_module

    module, inner = _LATER[name]
    value = globals()[name] = getattr(import_module(module), inner)
    return value


def __dir__() -> list[str]:
    return __all__
