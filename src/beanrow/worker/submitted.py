"""What goes over the wire where a result is asked for: the wrapped body, and the reply.

Apart from ``replies``, since a worker needs this for each job, and asyncio for none.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Generator
from typing import Any, NamedTuple

from beanrow.errors import BeanstalkError
from beanrow.protocol import commands
from beanrow.protocol.commands import Command
from beanrow.protocol.stats import TubeStats
from beanrow.worker.outcome import TaskFailed

__all__ = ["PREFIX", "ReplyTo", "answer", "plain", "unwrap", "wrap"]

PREFIX = b'{"beanrow.submit":'
_REPLY_TTR = 60


class ReplyTo(NamedTuple):
    """Where a reply goes: a tube, and what it is told apart by."""

    tube: str
    key: str


def wrap(body: bytes, to: ReplyTo) -> bytes:
    """Put the address of the reply beside a body."""
    wrapped: dict[str, Any] = {"beanrow.submit": {"reply": to.tube, "key": to.key}}
    try:
        wrapped["body"] = body.decode()
    except UnicodeDecodeError:
        wrapped["body_base64"] = base64.b64encode(body).decode()
    return json.dumps(wrapped, ensure_ascii=False, separators=(",", ":")).encode()


def unwrap(body: bytes) -> tuple[bytes, ReplyTo | None]:
    """Give the task's own body, and the address of the reply if it has one."""
    if not body.startswith(PREFIX):
        return body, None
    told = json.loads(body)
    to = ReplyTo(told["beanrow.submit"]["reply"], told["beanrow.submit"]["key"])
    if "body" in told:
        return told["body"].encode(), to
    return base64.b64decode(told["body_base64"]), to


def answer(
    to: ReplyTo, value: Any, error: BaseException | None
) -> Generator[Command[Any], Any, None]:
    """Reply to whoever waits, if anybody does: yields commands, wants their answers."""
    try:
        stats = yield commands.stats_tube(to.tube)
        if not isinstance(stats, TubeStats) or not stats.current_watching:
            return
        yield commands.use(to.tube)
        try:
            yield commands.put(_reply(to.key, value, error), ttr=_REPLY_TTR)
        except (BeanstalkError, TypeError, ValueError) as refused:
            failed = TaskFailed(f"its result cannot be told: {refused}")
            yield commands.put(_reply(to.key, None, failed), ttr=_REPLY_TTR)
    except BeanstalkError:
        return  # nobody is there, or the server takes nothing: the job is done all the same


def _reply(key: str, value: Any, error: BaseException | None) -> bytes:
    told: dict[str, Any] = {"key": key}
    if error is None:
        told["value"] = plain(value)
    else:
        told["error"] = {"type": type(error).__name__, "text": str(error)}
    return json.dumps(told, ensure_ascii=False, allow_nan=False).encode()


def plain(value: Any) -> Any:
    """Write a value of msgspec or pydantic as JSON types; others are those already."""
    msgspec, pydantic = sys.modules.get("msgspec"), sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return value
