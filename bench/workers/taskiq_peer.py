"""Taskiq on streams of Redis."""

from __future__ import annotations

import asyncio

from taskiq_redis import RedisStreamBroker

from bench.workers.record import NAP, URL, record

broker = RedisStreamBroker(url=URL or "redis://127.0.0.1:0")
_runner = asyncio.Runner()


@broker.task
async def noop(id: int, put_at: int) -> None:
    record(id, put_at)


@broker.task
async def nap(id: int, put_at: int) -> None:
    await asyncio.sleep(NAP)
    record(id, put_at)


async def _all(kind: object, calls: list[tuple[int, int]]) -> None:
    await broker.startup()
    for call in calls:
        await kind.kiq(*call)  # type: ignore[attr-defined]


async def _gathered(calls: list[tuple[int, int]]) -> None:
    await broker.startup()
    for start in range(0, len(calls), 500):
        await asyncio.gather(*(noop.kiq(*call) for call in calls[start : start + 500]))


def loop(calls: list[tuple[int, int]]) -> None:
    """Its own way to put one after the other: all in one loop."""
    _runner.run(_all(noop, calls))


def put(id: int, put_at: int) -> None:
    _runner.run(_all(noop, [(id, put_at)]))


def put_nap(id: int, put_at: int) -> None:
    _runner.run(_all(nap, [(id, put_at)]))


def bulk(calls: list[tuple[int, int]]) -> None:
    _runner.run(_gathered(calls))
