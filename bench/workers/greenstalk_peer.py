"""The floor: a bare loop over greenstalk, in threads or processes; no runtime at all."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import greenstalk

from bench.workers.record import NAP, URL, record

HOST, _, PORT = (URL or "127.0.0.1:0").rpartition(":")
_clients: dict[tuple[int, str], greenstalk.Client[str]] = {}


def _client(tube: str) -> greenstalk.Client[str]:
    key = threading.get_ident(), tube
    if key not in _clients:
        _clients[key] = greenstalk.Client((HOST, int(PORT)), use=tube, watch=tube)
    return _clients[key]


def put(id: int, put_at: int) -> None:
    _client("noop").put(json.dumps([id, put_at]))


def put_nap(id: int, put_at: int) -> None:
    _client("nap").put(json.dumps([id, put_at]))


bulk = None


def work(tube: str) -> None:
    client = _client(tube)
    while True:
        job = client.reserve()
        id, put_at = json.loads(job.body)
        if tube == "nap":
            time.sleep(NAP)
        record(id, put_at)
        client.delete(job)


def main(kind: str, count: int, tube: str) -> None:
    if kind == "threads":
        for _ in range(count):
            threading.Thread(target=work, args=(tube,), daemon=True).start()
        threading.Event().wait()
    for _ in range(count):
        if not os.fork():
            work(tube)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
