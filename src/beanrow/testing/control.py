"""The control port of ``beanrow serve --test``: the clock and the faults over HTTP.

Laws:
- Every request changes or tells something at once; what it changed holds before its answer.
- What cannot be read is answered 400 with what is wrong, and changes nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from beanrow.errors import BadValueError
from beanrow.protocol.values import seconds, tube_name
from beanrow.server.http import JSON, whole
from beanrow.testing.faults import KINDS, LATE, FaultKind
from beanrow.testing.loop import TestLoop
from beanrow.testing.queue import STATES, JobSeen

__all__ = ["Control"]

_REQUEST_LINE = re.compile(r"(GET|POST) (/[a-z/-]*)(?:\?([^ ]*))? HTTP/1\.[01]\r\n")
_SWITCH = {"on": True, "off": False}

Query = dict[str, str]


class _Path(NamedTuple):
    """What a request does, and the parameters that it must and may have.

    ``act`` gives what is told; None stands for the state.
    """

    act: Callable[[Query], Any]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()

    def check(self, query: Query) -> None:
        """Raise BadValueError for a parameter that is missing, and one that is too much."""
        if missing := [name for name in self.needs if name not in query]:
            raise BadValueError(f"needs {' and '.join(missing)}")
        if unknown := [name for name in query if name not in self.needs + self.may]:
            takes = ", ".join(self.needs + self.may) or "nothing"
            raise BadValueError(f"takes {takes}, not {', '.join(unknown)}")


class Control:
    """Answers requests about the server of ``loop``."""

    def __init__(self, loop: TestLoop) -> None:
        self._loop = loop
        self._paths = {
            "GET /": _Path(lambda _: None),
            "GET /jobs": _Path(self._jobs, may=("tube", "state")),
            "GET /puts": _Path(self._puts, may=("tube",)),
            "POST /clock/advance": _Path(self._advance, ("seconds",)),
            "POST /clock/run": _Path(lambda _: loop.virtual.run()),
            "POST /clock/hold": _Path(lambda _: loop.virtual.hold()),
            **{f"POST /faults/{kind}": self._arming(kind) for kind in KINDS},
            "POST /out-of-memory": _Path(self._out_of_memory, ("switch",)),
            "POST /drain": _Path(self._drain, ("switch",)),
            "POST /disconnect": _Path(lambda _: {"disconnected": loop.disconnect()}),
            "POST /reset": _Path(lambda _: loop.reset()),
        }

    def answer(self, head: bytes) -> Iterator[bytes]:
        """Do what a request asks, and give the answer."""
        match = _REQUEST_LINE.match(head.decode("latin-1"))
        if match is None:
            return _refusal(400, "Bad Request", "this is no GET or POST")
        name = f"{match[1]} {match[2]}"
        path = self._paths.get(name)
        if path is None:
            return _refusal(404, "Not Found", f"no {name}; there are {', '.join(self._paths)}")
        query = dict(parse_qsl(match[3] or "", keep_blank_values=True))
        try:
            path.check(query)
            told = path.act(query)
        except ValueError as error:
            return _refusal(400, "Bad Request", f"{name}: {error}")
        document = self._state() if told is None else told
        return whole(200, "OK", json.dumps(document), JSON)

    def _state(self) -> dict[str, Any]:
        loop = self._loop
        return {
            "now": loop.virtual.seconds,
            "clock": "running" if loop.virtual.runs else "held",
            "jobs": len(loop.queue.jobs),
            "out-of-memory": loop.faults.out_of_memory,
            "draining": loop.queue.draining,
            "faults": [one._asdict() for one in loop.faults.waiting],
        }

    def _jobs(self, query: Query) -> list[dict[str, Any]]:
        state = query.get("state")
        if state not in (None, *STATES):
            raise BadValueError(f"state {state!r} is none of {', '.join(STATES)}")
        return [_document(job) for job in self._loop.queue.seen(_tube(query), state)]

    def _puts(self, query: Query) -> list[dict[str, Any]]:
        return [_document(job) for job in self._loop.queue.puts(_tube(query))]

    def _advance(self, query: Query) -> None:
        self._loop.advance(seconds(float(query["seconds"]), "seconds"))

    def _out_of_memory(self, query: Query) -> None:
        self._loop.faults.out_of_memory = _switch(query)

    def _drain(self, query: Query) -> None:
        self._loop.queue.draining = _switch(query)

    def _arming(self, kind: FaultKind) -> _Path:
        def arm(query: Query) -> None:
            late, times = float(query.get("seconds", "0")), int(query.get("times", "1"))
            self._loop.faults.arm(kind, query.get("command"), late, times)

        return _Path(arm, ("seconds",) if kind in LATE else (), ("command", "times"))


def _switch(query: Query) -> bool:
    word = query["switch"]
    if word not in _SWITCH:
        raise BadValueError(f"switch {word!r} is neither on nor off")
    return _SWITCH[word]


def _tube(query: Query) -> str | None:
    name = query.get("tube")
    if name is not None:
        tube_name(name)
    return name


def _document(job: JobSeen) -> dict[str, Any]:
    document = job._asdict()
    body = document.pop("body")
    try:
        document["body"] = body.decode()
    except UnicodeDecodeError:
        document["body_base64"] = base64.b64encode(body).decode()
    return document


def _refusal(status: int, reason: str, text: str) -> Iterator[bytes]:
    return whole(status, reason, json.dumps({"error": text}), JSON)
