"""RQ on Redis."""

from __future__ import annotations

import time

import redis
from rq import Queue

from bench.workers.record import NAP, URL, record

queue = Queue("bench", connection=redis.from_url(URL or "redis://127.0.0.1:0"))


def noop(id: int, put_at: int) -> None:
    record(id, put_at)


def nap(id: int, put_at: int) -> None:
    time.sleep(NAP)
    record(id, put_at)


def put(id: int, put_at: int) -> None:
    queue.enqueue("bench.workers.rq_peer.noop", id, put_at, result_ttl=0)


def put_nap(id: int, put_at: int) -> None:
    queue.enqueue("bench.workers.rq_peer.nap", id, put_at, result_ttl=0)


def bulk(calls: list[tuple[int, int]]) -> None:
    queue.enqueue_many(
        [Queue.prepare_data("bench.workers.rq_peer.noop", call, result_ttl=0) for call in calls]
    )
