"""Test mode: a tube drained in a test, without a worker."""

from __future__ import annotations

import pytest

from beanrow import App, Client, Release, Retry
from tests.worker.conftest import Told, is_gone


def test_a_drain_runs_all_there_is(app: App, client: Client, tube: str, told: Told) -> None:
    ran: list[str] = []

    @app.task(tube=tube)
    def first(word: str, n: int = 0) -> None:
        ran.append(word)
        if word == "one":
            second.options(delay=3600).put("what the first put", 2)

    @app.task(tube=f"{tube}-b", retry=Retry(3, delay=60))
    async def second(word: str, n: int) -> None:
        ran.append(f"{word} {n}")
        if word == "fail":
            raise ValueError("no good")

    @app.every(3600)
    @app.task(tube=f"{tube}-c")
    def never() -> None: ...

    first.put("one")
    job_id = second.put("fail", 1)
    assert app.drain() == 5
    assert sorted(ran) == ["fail 1", "fail 1", "fail 1", "one", "what the first put 2"]
    assert client.stats_job(job_id).state == "buried"
    assert told.count("retry", job_id) == 2
    assert app.drain() == 0


def test_a_drain_of_one_task(app: App, client: Client, tube: str) -> None:
    @app.task(tube=tube)
    def one(n: int) -> None: ...

    @app.task(tube=f"{tube}-b")
    def other(n: int) -> None: ...

    mine, theirs = one.put(1), other.put(1)
    assert app.drain(one) == 1
    assert is_gone(client, mine)
    assert client.stats_job(theirs).state == "ready"


def test_a_drain_without_end(app: App, client: Client, tube: str) -> None:
    @app.task(tube=tube)
    def again(n: int) -> None:
        raise Release(delay=60)

    job_id = again.put(1)
    with pytest.raises(RuntimeError, match=f"job {job_id} was put back 100 times"):
        app.drain()
