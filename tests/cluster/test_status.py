"""``beanrow cluster``: what people see of a store, and draining all gateways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from beanrow import Client
from tests.engines import Engine
from tests.need import need
from tests.servers import GatewayServer

pytestmark = pytest.mark.long


def beanrow(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beanrow.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_status_and_drain() -> None:
    need("redis")
    with Engine() as engine, GatewayServer(store=engine.url) as gateway:
        with Client(gateway.address) as client:
            client.put("x", tube="a")
            client.put("x", tube="b", delay=100)
            while True:  # a gateway tells of itself once a second
                shown = json.loads(beanrow("cluster", "status", engine.url, "--json").stdout)
                if shown["gateways"][0]["connections"] == 1:
                    break
        assert shown["jobs"] == {
            "urgent": 0, "ready": 1, "reserved": 0, "delayed": 1, "buried": 0,
        }  # fmt: skip
        (node,) = shown["nodes"]
        assert node["address"] == engine.address
        assert (node["partitions"], node["replicas"]) == (256, 0)
        assert node["libraries"] == [shown["library"]]
        assert shown["gateways"][0]["name"].endswith(f":{gateway.pid}")
        told = beanrow("cluster", "status", engine.url)
        assert told.returncode == 0
        assert "1 ready" in told.stdout
        assert f":{gateway.pid}" in told.stdout
        assert beanrow("cluster", "drain", engine.url, "on").returncode == 0
        while "all gateways drain" not in gateway.told():
            time.sleep(0.05)
        engine.ask("CONFIG", "SET", "appendonly", "no")
        told = beanrow("cluster", "status", engine.url)
        assert told.returncode == 1
        assert "not safe" in told.stdout
        assert "(no-aof)" in told.stdout


def test_a_store_that_is_not_there() -> None:
    told = beanrow("cluster", "status", "redis://127.0.0.1:1")
    assert told.returncode == 3
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1
    told = beanrow("cluster", "status", "localhost")
    assert told.returncode == 2
    assert "redis://HOST" in told.stderr


def test_serve_store_is_a_gateway() -> None:
    need("redis")
    with Engine() as engine:
        command = [sys.executable, "-m", "beanrow.cli", "serve", "--store", engine.url]
        flags = ["-p", "0", "--announce", "--with-parent"]
        with subprocess.Popen(
            [*command, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
        ) as process:
            assert process.stdout is not None
            address = process.stdout.readline().decode().strip()
            with Client(address) as client:
                client.delete(client.put("x"))
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0
