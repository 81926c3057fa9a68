"""The process: what it prints, how it ends, and what it refuses to start with."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from beanrow import Client
from tests.cli.command import COMMAND, environment
from tests.cli.inside import refused
from tests.dashboard.test_access import rights
from tests.servers import OurServer

SECONDS = 20


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `beanrow dashboard`; the process, and the address that it prints."""
    process = subprocess.Popen(
        [*COMMAND, "dashboard", "--listen", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()
        yield process, address
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()
        process.stderr.close()


def test_events_come_within_a_second_and_end_with_the_process(our_server: OurServer) -> None:
    with (
        started("--server", our_server.address) as (process, address),
        Client(our_server.address) as client,
        httpx.Client(base_url=address, timeout=SECONDS) as http,
        http.stream("GET", "/1/live/overview") as events,
    ):
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        assert "emails" not in next(lines)
        client.put("x", tube="emails")
        put = time.monotonic()
        while True:
            told = json.loads(next(lines).removeprefix("data: "))
            if "emails" in told.get("rows", {}).get("tubes", {}).get("html", {}):
                break
        assert time.monotonic() - put < 5  # the browser's test has the second
        assert "default" not in told["rows"]["tubes"]["html"]  # what is the same is not sent again
        assert told["rows"]["tubes"]["order"] == ["default", "emails"]
        process.send_signal(signal.SIGTERM)
        for _ in lines:
            pass
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_sighup_reads_the_rights_anew(our_server: OurServer, tmp_path: Path) -> None:
    file = tmp_path / "rights.toml"
    file.write_text(rights())
    with (
        started("--server", our_server.address, "--rights", str(file)) as (process, address),
        httpx.Client(base_url=address, follow_redirects=True) as http,
    ):
        assert "Log in" in http.get("/").text
        file.write_text(rights() + '[anonymous]\nput = "*"\n')
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + SECONDS
        while "Tubes" not in http.get("/").text:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_tls(our_server: OurServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    arguments = ("--server", our_server.address, "--tls-cert", str(tmp_path / "cert.pem"))
    with started(*arguments) as (_, address):
        assert address.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        answer = httpx.get(f"{address}1/", verify=context)
        assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "0.0.0.0:0"], "can be reached from other machines: say with --rights"),
        (["--listen", "x:y"], "is not [ADDR:]PORT"),
        (["--rights", "/nowhere/rights.toml"], "cannot read /nowhere/rights.toml"),
        (["--audit", "/nowhere/audit"], "cannot write /nowhere/audit"),
        (["--undo", "/dev/null/undo"], "/dev/null/undo"),
        (["--tls-key", "key.pem"], "--tls-key goes with --tls-cert"),
        (["--tls-cert", "/nowhere/cert.pem"], "cannot use /nowhere/cert.pem"),
        (["--server", "embedded:"], "would end with this command"),
    ],
)
def test_what_it_does_not_start_with(arguments: list[str], words: str) -> None:
    assert words in refused(2, "dashboard", "--listen", "0", *arguments)


def test_a_place_that_is_taken_is_told(our_server: OurServer) -> None:
    told = refused(2, "dashboard", "--listen", our_server.address)
    assert f"cannot serve on {our_server.address}: Address already in use" in told
