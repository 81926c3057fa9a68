"""Dramatiq on Redis."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.workers.record import NAP, URL, record

dramatiq.set_broker(RedisBroker(url=URL or "redis://127.0.0.1:0"))


@dramatiq.actor
def noop(id: int, put_at: int) -> None:
    record(id, put_at)


@dramatiq.actor
def nap(id: int, put_at: int) -> None:
    time.sleep(NAP)
    record(id, put_at)


put, put_nap = noop.send, nap.send
bulk = None
