"""Ours: plain functions, and a task that asks for batches."""

from __future__ import annotations

from beanrow import App
from bench.workers.record import URL, record

app_noop = App(URL or None)


@app_noop.task(tube="noop", batch=64)
def noop(id: int, put_at: int) -> None:
    record(id, put_at)


put = noop.put
