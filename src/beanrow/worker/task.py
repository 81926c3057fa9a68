"""A task: a function, the tube its jobs go through, and how they are put.

Laws:
- A plain call runs the function, here and now. ``put`` is the same call, typed the same,
  run later by a worker.
- One task per tube, so that the tube alone tells what to run.
- What is put is checked as a call first: a job that no worker can run is refused here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from beanrow.errors import BadTypeError, BadValueError
from beanrow.protocol.values import (
    DEFAULT_PRIORITY,
    DEFAULT_TTR,
    Duration,
    priority_number,
    seconds,
    tube_name,
    whole_number,
)
from beanrow.worker.batch import MOST
from beanrow.worker.codec import Codec, Parameters
from beanrow.worker.limits import Rate
from beanrow.worker.provided import with_provided
from beanrow.worker.retry import RetryPolicy, checked_policy

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.replies import Reply
    from beanrow.worker.schedule import Schedule

__all__ = ["Put", "Task", "Terms"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Terms(NamedTuple):
    """What a put says beside the body: the tube, and times in seconds."""

    tube: str
    priority: int = DEFAULT_PRIORITY
    delay: Duration = 0
    ttr: Duration = DEFAULT_TTR


class Limits(NamedTuple):
    """What a run may take, and how many there may be; None: no limit. Times in seconds."""

    soft: float | None = None
    hard: float | None = None
    at_once: int | None = None
    rate: Rate | None = None


class Put(Generic[P, R]):
    """A task with other terms than its own, for the puts made through this."""

    __slots__ = ("_task", "_terms", "_unique")

    def __init__(
        self, task: Task[P, R], terms: Terms, unique: tuple[str, int] | None = None
    ) -> None:
        self._task = task
        self._terms = terms
        self._unique = unique

    def put(self, *args: P.args, **kwargs: P.kwargs) -> int:
        """Put this call as a job; gives its id.

        JobTooBigError with both sizes if the arguments are over the server's limit.
        """
        task = self._task
        body = task.parameters.encode(args, kwargs)
        job_id = task.app.sink.put(task, body, self._terms, self._unique)
        if task.app.middleware:
            task.app.tell_put(task, job_id)
        return job_id

    def put_many(self, calls: Iterable[tuple[Any, ...]]) -> list[int]:
        """Put many calls, each a tuple of arguments by position; gives their ids, in order.

        All of them are in few writes. BatchError if any was not stored, with a result for
        each that was drawn; BadTypeError for a tuple that is no call ends the drawing.
        """
        if self._unique is not None:
            raise BadValueError("put_many takes no unique key: it would put one job of them")
        task = self._task
        encode = task.parameters.encode
        job_ids = task.app.sink.put_many(
            task, (encode(_arguments(task, one), {}) for one in calls), self._terms
        )
        if task.app.middleware:
            task.app.tell_put(task, *job_ids)
        return job_ids

    @overload
    def submit(
        self: Put[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Reply[T]: ...
    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Reply[R]: ...
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Reply[Any]:
        """Put this call as a job whose result is wanted: ``await send.submit(42).result()``.

        Its body is wrapped, with the tube of the reply beside the arguments; only workers of
        beanrow understand that. The value must be JSON, msgspec or pydantic.
        """
        if self._unique is not None:
            raise BadValueError("submit takes no unique key: the job that lives has its own reply")
        task = self._task
        reply = task.app.sink.submit(task, task.parameters.encode(args, kwargs), self._terms)
        if task.app.middleware:
            task.app.tell_put(task, reply.id)
        return reply


class Task(Put[P, R]):
    """A function whose calls can be put as jobs; made by ``App.task``."""

    __slots__ = (
        "__dict__", "__wrapped__", "app", "batch", "dead_letters", "function", "is_async", "limits", "name",
        "parameters", "retry", "schedule", "weight",
    )  # fmt: skip

    def __init__(
        self,
        app: App,
        function: Callable[P, R],
        *,
        tube: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        ttr: Duration = DEFAULT_TTR,
        retry: RetryPolicy | None = None,
        dead_letters: str | None = None,
        codec: Codec | None = None,
        weight: int | None = None,
        time_limit: Duration | None = None,
        hard_time_limit: Duration | None = None,
        at_once: int | None = None,
        rate: Rate | None = None,
        batch: int | None = None,
    ) -> None:
        if not inspect.isfunction(function):
            raise BadTypeError(f"a task is a function, not {type(function).__name__}: {function!r}")
        terms = Terms(function.__name__ if tube is None else tube, priority, 0, ttr)
        _check(terms)
        super().__init__(self, terms)
        self.app: App = app
        self.function: Callable[P, R] = with_provided(function)
        self.name: str = function.__name__
        self.is_async: bool = inspect.iscoroutinefunction(function)
        self.parameters: Parameters = Parameters(self.function, codec)
        self.retry: RetryPolicy = checked_policy(retry)
        self.dead_letters: str | None = dead_letters
        if dead_letters is not None:
            tube_name(dead_letters)
        self.schedule: Schedule | None = None  # a task whose jobs are its tokens
        self.weight: int | None = None if weight is None else _at_least_one(weight, "weight")
        self.limits: Limits = Limits(
            _limit(time_limit, "time_limit"),
            _limit(hard_time_limit, "hard_time_limit"),
            None if at_once is None else _at_least_one(at_once, "at_once"),
            rate,
        )
        self.batch: int | None = None if batch is None else _batch(batch, self.limits)
        functools.update_wrapper(self, function)

    @property
    def tube(self) -> str:
        """The tube that this task's jobs go through."""
        return self._terms.tube

    @property
    def terms(self) -> Terms:
        """What its puts say when they are not told otherwise."""
        return self._terms

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as if it were no task."""
        return self.function(*args, **kwargs)

    def options(
        self,
        *,
        delay: Duration | None = None,
        priority: int | None = None,
        ttr: Duration | None = None,
        unique: str | None = None,
        lifetime: Duration = 0,
    ) -> Put[P, R]:
        """Give the same task with other terms: ``send.options(delay=60).put("x")``.

        ``unique``: a key, spelled like a tube name. The job is not put while another of
        this tube with the same key lives, or is younger than ``lifetime`` seconds; then
        ``put`` gives that one's id. Needs a server that knows ``put-unique``; the daemon
        does not, and NotOfferedError says so, with nothing put.
        """
        old = self._terms
        terms = Terms(
            old.tube,
            old.priority if priority is None else priority,
            old.delay if delay is None else delay,
            old.ttr if ttr is None else ttr,
        )
        _check(terms)
        if unique is None:
            return Put(self, terms)
        tube_name(unique)
        return Put(self, terms, (unique, seconds(lifetime, "lifetime")))

    def __repr__(self) -> str:
        return f"Task({self.name}, tube={self.tube!r})"


def _check(terms: Terms) -> None:
    tube_name(terms.tube)
    priority_number(terms.priority)
    seconds(terms.delay, "delay")
    if not seconds(terms.ttr, "ttr"):
        raise BadValueError("ttr 0 would be taken as 1 by the server; give 1 or more")


def _at_least_one(value: int, what: str) -> int:
    if not whole_number(value, what):
        raise BadValueError(f"{what} 0: such a task would never run; give 1 or more")
    return value


def _batch(value: int, limits: Limits) -> int:
    if not 2 <= whole_number(value, "batch", MOST) <= MOST:
        raise BadValueError(f"batch {value} is not in 2..{MOST}")
    if limits.hard is not None or limits.rate is not None:
        raise BadValueError(
            "batch is for tiny jobs: it goes with neither hard_time_limit nor rate, which would "
            "keep the others waiting"
        )
    return value


def _limit(value: Duration | None, what: str) -> float | None:
    if value is None:
        return None
    if not seconds(value, what):
        raise BadValueError(f"{what} 0 would leave no run any time")
    return value if isinstance(value, int | float) else value.total_seconds()


def _arguments(task: Task[Any, Any], call: Any) -> tuple[Any, ...]:
    if isinstance(call, tuple):
        return call
    raise BadTypeError(
        f"task {task.name}: put_many takes a tuple of arguments for each job, not "
        f"{type(call).__name__}: {str(call)[:80]!r}"
    )
