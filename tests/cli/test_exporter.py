"""The verb `exporter`: as a program, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.request

import pytest

from tests.cli.command import COMMAND, environment
from tests.cli.inside import inside, refused, well
from tests.servers import Server


def test_it_serves_until_it_is_told_to_stop(server: Server) -> None:
    with subprocess.Popen(
        [*COMMAND, "exporter", "--listen", "127.0.0.1:0", "--server", server.address],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as exporter:
        assert exporter.stderr is not None
        try:
            url = exporter.stderr.readline().split()[-1]
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert b"\nbeanstalkd_up 1\n" in answer.read()
            exporter.send_signal(signal.SIGTERM)
            assert exporter.wait(20) == 0
            assert exporter.stderr.read() == ""
        finally:
            exporter.kill()


def test_once_prints_and_ends(server: Server, tube: str) -> None:
    well("put", "--server", server.address, "--tube", tube, "x")
    text = well("exporter", "--once", "--server", server.address, "--include", tube)
    assert f'beanstalkd_tube_current_jobs_ready_count{{tube="{tube}"}} 1\n' in text
    assert 'tube="default"' not in text


def test_once_without_a_server_tells_so() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = inside("exporter", "--once", "--server", address)
    assert done.code == 3
    assert b"\nbeanstalkd_up 0\n" in done.out
    assert address in done.err


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(3, "exporter", "--listen", str(port))


@pytest.mark.parametrize("arguments", [[], ["--once", "--listen", "0"], ["--listen", "no-port"]])
def test_bad_use(arguments: list[str]) -> None:
    refused(2, "exporter", *arguments)
