"""Results of submitted jobs."""

from __future__ import annotations

import asyncio
import json
import time

import msgspec
import pytest

from beanrow import App, Bury, Client, ClientClosedError, Retry, TaskFailed
from beanrow.worker.submitted import ReplyTo, unwrap, wrap
from beanrow.worker.tasks import TaskWorker
from tests.worker.conftest import Told, is_gone, until, working


class Sum(msgspec.Struct):
    total: int


def test_a_result_is_awaited(app: App, client: Client, tube: str, told: Told) -> None:
    @app.task(tube=tube)
    def add(a: int, b: int) -> int:
        return a + b

    @app.task(tube=f"{tube}-struct")
    async def total(numbers: list[int]) -> Sum:
        return Sum(sum(numbers))

    async def ask() -> None:
        replies = [add.submit(n, 1) for n in range(50)]
        assert await asyncio.gather(*(one.result(timeout=10) for one in replies)) == list(
            range(1, 51)
        )
        assert replies[0].done
        assert await total.submit([1, 2, 3]).result(timeout=10) == Sum(6)

    with working(app):
        asyncio.run(ask())
        assert add.submit(2, 2).wait(timeout=10) == 4
        job = add.submit(3, 3)
        until(lambda: is_gone(client, job.id))


def test_results_of_a_worker_of_tasks(app: App, tube: str, told: Told) -> None:
    @app.task(tube=tube)
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(tube=f"{tube}-raw", time_limit=10)
    def size(data: bytes) -> int:
        return len(data)

    async def work() -> None:
        worker = TaskWorker(app, 3)
        worker.start()
        assert await (await asyncio.to_thread(add.submit, 2, 2)).result(timeout=10) == 4
        assert await (await asyncio.to_thread(size.submit, b"\xff\x00")).result(timeout=10) == 2
        worker.stop()
        await worker.wait(10)
        await worker.close()

    asyncio.run(work())


def test_a_failure_is_told_once_it_is_final(app: App, tube: str, told: Told) -> None:
    tries = []

    @app.task(tube=tube, retry=Retry(3, delay=0))
    def fail(how: str, n: int) -> object:
        tries.append(how)
        if how == "bury":
            raise Bury("as it asked")
        if how == "second" and tries.count("second") == 2:
            return "done"
        if how == "object":
            return object()
        raise ValueError("no good")

    with working(app):
        with pytest.raises(TaskFailed, match="ValueError: no good") as failed:
            fail.submit("always", 1).wait(timeout=10)
        assert failed.value.kind == "ValueError"
        with pytest.raises(TaskFailed, match="as it asked"):
            fail.submit("bury", 1).wait(timeout=10)
        assert fail.submit("second", 1).wait(timeout=10) == "done"
        with pytest.raises(TaskFailed, match="cannot be told"):
            fail.submit("object", 1).wait(timeout=10)
    assert tries.count("always") == 3


def test_a_reply_to_nobody_is_not_put(app: App, client: Client, tube: str, told: Told) -> None:
    @app.task(tube=tube)
    def add(a: int, b: int) -> int:
        return a + b

    reply = add.submit(1, 2)
    body = client.peek(reply.id).body
    assert json.loads(body)["body"] == '{"a":1,"b":2}'
    replies = app.replies.tube
    app.close()
    with pytest.raises(ClientClosedError):
        reply.wait(timeout=5)
    until(lambda: replies not in client.list_tubes())
    with working(app):
        told.wait_for("after")
        until(lambda: is_gone(client, reply.id))
    assert replies not in client.list_tubes()


def test_a_result_that_does_not_come(app: App, tube: str) -> None:
    @app.task(tube=tube)
    def add(a: int, b: int) -> int:
        return a + b

    reply = add.submit(1, 2)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=f"job {reply.id} of task add"):
        reply.wait(timeout=0.05)

    async def ask() -> None:
        with pytest.raises(TimeoutError, match="no result"):
            await reply.result(timeout=0.05)
        assert not reply.done

    asyncio.run(ask())
    assert time.monotonic() - began < 5
    with working(app):
        assert reply.wait(timeout=10) == 3


def test_inline_gives_the_result_too() -> None:
    app = App("nowhere.invalid")

    @app.task
    def add(a: int, b: int) -> int:
        return a // b

    @app.task
    async def later(a: int) -> int:
        return a

    with app.inline():
        assert add.submit(4, 2).wait() == 2
        assert later.submit(7).wait() == 7
        with pytest.raises(TaskFailed, match="ZeroDivisionError"):
            add.submit(1, 0).wait()


@pytest.mark.parametrize("body", [b"", b'{"a":1}', b"\xff\x00"])
def test_a_wrapped_body_is_unwrapped(body: bytes) -> None:
    to = ReplyTo("replies-1", "k")
    assert unwrap(wrap(body, to)) == (body, to)
    assert unwrap(body) == (body, None)
