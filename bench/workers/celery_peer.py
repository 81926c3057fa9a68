"""Celery on Redis."""

from __future__ import annotations

import time

from celery import Celery, group

from bench.workers.record import NAP, URL, record

app = Celery("bench", broker=URL or "memory://")
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task
def noop(id: int, put_at: int) -> None:
    record(id, put_at)


@app.task
def nap(id: int, put_at: int) -> None:
    time.sleep(NAP)
    record(id, put_at)


put, put_nap = noop.delay, nap.delay


def bulk(calls: list[tuple[int, int]]) -> None:
    group(noop.s(*call) for call in calls).apply_async()
