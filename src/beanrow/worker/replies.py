"""Results of jobs, when asked for: a tube for replies that works on any server.

Laws:
- Only ``submit`` wraps a body: the tube and the key of the reply beside the body of the task.
  Only our workers understand that; what ``put`` puts stays readable for others.
- A worker replies before it ends the job, and only if somebody watches the tube: replies to
  nobody would stay in the server for ever. A job that runs twice replies twice; the second
  is dropped.
- A failure that is followed by another attempt is no reply.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from beanrow.errors import BeanstalkError, ClientClosedError
from beanrow.worker.outcome import TaskFailed
from beanrow.worker.submitted import ReplyTo

if TYPE_CHECKING:
    from beanrow.worker.app import App
    from beanrow.worker.task import Task

__all__ = ["Replies", "Reply"]

T = TypeVar("T")


class Reply(Generic[T]):
    """The result of a submitted job, once it is there; ``id`` is the job's."""

    __slots__ = ("_future", "_task", "id")

    def __init__(self, id: int, future: Future[Any], task: Task[Any, Any]) -> None:
        self.id: int = id
        self._future = future
        self._task = task

    async def result(self, timeout: float | None = None) -> T:  # noqa: ASYNC109  (as wait)
        """Await what the function returned; TaskFailed if it was given up.

        TimeoutError after ``timeout`` seconds; the job goes on, and may be awaited again.
        """
        waiting = asyncio.shield(asyncio.wrap_future(self._future))
        try:
            return self._loaded(await asyncio.wait_for(waiting, timeout))
        except TimeoutError:
            raise self._late(timeout) from None

    def wait(self, timeout: float | None = None) -> T:
        """Wait for what the function returned, as ``result`` does, in a plain thread."""
        try:
            return self._loaded(self._future.result(timeout))
        except TimeoutError:
            raise self._late(timeout) from None

    def _loaded(self, value: Any) -> T:
        """Read a value of msgspec or pydantic, where the function says that it returns one."""
        load = self._task.parameters.load_result
        loaded: T = value if load is None else load(value)
        return loaded

    def _late(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"no result of job {self.id} of task {self._task.name} in {timeout} s")

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._future.done()


class Replies:
    """Listens to the tube of this process's replies, in a thread of its own."""

    def __init__(self, app: App) -> None:
        from beanrow.client.sync import Client

        self.tube: str = f"replies-{secrets.token_hex(8)}"
        self.owner: int = os.getpid()
        self._client = Client(app.address.url, timeout=app.timeout, tls=app.tls)
        self._waiting: dict[str, Future[Any]] = {}
        self._watching: Future[None] = Future()
        threading.Thread(target=self._listen, name="beanrow-replies", daemon=True).start()
        self._watching.result()  # a worker replies only to a tube that is watched

    def expect(self) -> tuple[ReplyTo, Future[Any]]:
        """Make the address of a reply, and what it will be in."""
        to, future = ReplyTo(self.tube, secrets.token_hex(8)), Future[Any]()
        self._waiting[to.key] = future
        return to, future

    def forget(self, to: ReplyTo) -> None:
        """Expect this reply no longer."""
        self._waiting.pop(to.key, None)

    def _listen(self) -> None:
        client = self._client
        try:
            client.watch(self.tube)
            client.ignore("default")
        except BeanstalkError as error:
            self._watching.set_exception(error)
            return
        self._watching.set_result(None)
        while True:
            try:
                job = client.reserve()
                client.delete(job)
            except ClientClosedError as error:
                self._end(error)
                return
            except BeanstalkError:
                continue  # the client has waited before it gave up, and connects again
            self._hear(job.body)

    def _hear(self, body: bytes) -> None:
        told = json.loads(body)
        future = self._waiting.pop(told["key"], None)
        if future is None or future.done():
            return
        if "error" in told:
            future.set_exception(TaskFailed(told["error"]["text"], told["error"]["type"]))
        else:
            future.set_result(told["value"])

    def _end(self, error: BaseException) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    def close(self) -> None:
        """Listen no more; what is waited for raises ClientClosedError."""
        self._client.close()
