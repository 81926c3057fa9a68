"""What a task needs beside its arguments: a database, an HTTP client, settings.

    @app.task
    def send(user_id: int, *, db: Database = provided(connect)) -> None: ...

Laws:
- Nobody puts it and no body holds it. A plain call may name it: ``send(42, db=fake)``.
- It is made once in each process, when a run first needs it; a process that was forked makes
  its own, so that no two share a connection.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from beanrow.errors import BadTypeError

__all__ = ["provided", "with_provided"]

T = TypeVar("T")


class _Provided:
    """How a value is made, and the value once it is."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._owner = 0
        self._value: Any = None

    def value(self) -> Any:
        if self._owner != os.getpid():
            with self._lock:
                if self._owner != os.getpid():
                    self._value = self._make()
                    self._owner = os.getpid()
        return self._value


def provided(make: Callable[[], T]) -> T:
    """Have a task's keyword-only parameter filled by what this function makes.

    It is the parameter's default. ``make`` takes no arguments and is called once in each
    process; what it raises is the failure of the run.
    """
    return cast("T", _Provided(make))


def with_provided(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that fills in what is provided; the same one if nothing is.

    BadTypeError if such a parameter could be given by position.
    """
    signature = inspect.signature(function)
    sources: dict[str, _Provided] = {}
    for one in signature.parameters.values():
        if isinstance(one.default, _Provided):
            if one.kind is not one.KEYWORD_ONLY:
                raise BadTypeError(
                    f"task {function.__name__}: {one.name} is provided, so it comes behind a *"
                )
            sources[one.name] = one.default
    if not sources:
        return function

    @functools.wraps(function)
    def filled(*args: Any, **kwargs: Any) -> Any:
        for name, source in sources.items():
            if name not in kwargs:
                kwargs[name] = source.value()
        return function(*args, **kwargs)

    kept = [one for name, one in signature.parameters.items() if name not in sources]
    filled.__dict__["__signature__"] = signature.replace(parameters=kept)
    return filled
