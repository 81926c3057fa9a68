"""Ours: plain functions."""

from __future__ import annotations

import time

from beanrow import App
from bench.workers.record import NAP, URL, record

app = App(URL or None)


@app.task(tube="noop")
def noop(id: int, put_at: int) -> None:
    record(id, put_at)


@app.task(tube="nap")
def nap(id: int, put_at: int) -> None:
    time.sleep(NAP)
    record(id, put_at)


put, put_nap, bulk = noop.put, nap.put, noop.put_many
app_noop, app_nap = App(URL or None), App(URL or None)
app_noop.tasks["noop"], app_nap.tasks["nap"] = noop, nap
