"""Huey on Redis."""

from __future__ import annotations

import time

from huey import RedisHuey

from bench.workers.record import NAP, URL, record

huey = RedisHuey("bench", url=URL or "redis://127.0.0.1:0", results=False)


@huey.task()
def noop(id: int, put_at: int) -> None:
    record(id, put_at)


@huey.task()
def nap(id: int, put_at: int) -> None:
    time.sleep(NAP)
    record(id, put_at)


put, put_nap = noop, nap
bulk = None
