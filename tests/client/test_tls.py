"""TLS, sync and async: through a proxy that speaks it, in front of the daemon and of ours."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from beanrow import (
    AsyncClient,
    BadValueError,
    Client,
    CommandTimeoutError,
    ConnectFailedError,
    ConnectionLostError,
)
from examples.demo.processes import ROOT
from tests.client.certificates import Certificates
from tests.client.proxy import CuttingProxy
from tests.client.ways import Kind, Way, opened
from tests.servers import OurServer, Server


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def url(proxy: CuttingProxy, query: str, host: str = "localhost") -> str:
    return f"beanstalks://{host}:{proxy.address.rpartition(':')[2]}{query}"


def refusal(kind: Kind, address: str, call: str = "connect", timeout: float = 5) -> str:
    """What a client says of a server that it cannot talk to."""
    with (
        opened(
            kind,
            lambda: Client(address, timeout=timeout),
            lambda: AsyncClient(address, timeout=timeout),
        ) as way,
        pytest.raises(ConnectionLostError) as told,
    ):
        way(call)
    return str(told.value)


def session(way: Way, tube: str) -> None:
    body = bytes(range(256)) * 250
    way("watch", tube)
    ids = way("put_many", [body, b"second"], tube=tube)
    jobs = [way("reserve", 5), way("reserve", 5)]
    assert [(job.id, job.body) for job in jobs] == [(ids[0], body), (ids[1], b"second")]
    way("delete_many", jobs)
    assert way("reserve", 0) is None
    assert way("reserve", 1) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_authority_of_ones_own(
    kind: Kind, server: Server, tube: str, files: Certificates, host: str
) -> None:
    with CuttingProxy(server.address, files.server()) as proxy:
        address = url(proxy, f"?ca={files.ca}", host)
        with opened(kind, lambda: Client(address), lambda: AsyncClient(address)) as way:
            session(way, tube)


def test_a_certificate_of_the_client(
    kind: Kind, server: Server, tube: str, files: Certificates
) -> None:
    with CuttingProxy(server.address, files.server(asks_for_client=True)) as proxy:
        address = url(proxy, f"?ca={files.ca}&cert={files.cert}&key={files.key}")
        with opened(kind, lambda: Client(address), lambda: AsyncClient(address)) as way:
            session(way, tube)
        refusal(kind, url(proxy, f"?ca={files.ca}"), "list_tubes", timeout=1)


def test_settings_of_ones_own(kind: Kind, server: Server, tube: str, files: Certificates) -> None:
    context = ssl.create_default_context(cafile=files.ca)
    with CuttingProxy(server.address, files.server()) as proxy:
        address = url(proxy, "")
        with opened(
            kind,
            lambda: Client(address, tls=context),
            lambda: AsyncClient(address, tls=context),
        ) as way:
            session(way, tube)


def test_who_cannot_be_trusted_is_told(kind: Kind, server: Server, files: Certificates) -> None:
    with CuttingProxy(server.address, files.server()) as proxy:
        assert "?ca=FILE" in refusal(kind, url(proxy, ""))
        assert "?ca=FILE" in refusal(kind, url(proxy, f"?ca={files.other_ca}"))
    with CuttingProxy(server.address) as plain:
        address = url(plain, f"?ca={files.ca}")
        assert "did not answer within 0.5 s" in refusal(kind, address, timeout=0.5)


def test_a_certificate_for_another_host(server: Server, files: Certificates) -> None:
    context = ssl.create_default_context(cafile=files.ca)
    with CuttingProxy(server.address, files.server()) as proxy:
        address = url(proxy, "", host="127.0.0.2")
        with pytest.raises(ConnectFailedError):
            Client(address, tls=context, timeout=2).connect()


def test_files_that_cannot_be_used_are_named(tmp_path: Path, files: Certificates) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for query, words in (
        ("?ca=/no/such/file", "/no/such/file"),
        (f"?cert={files.ca}", "ca.pem"),
        (f"?cert={files.cert}&key={locked}", "the key is encrypted"),
        (f"?key={files.key}", "key without the cert"),
        ("?mode=strict", "'mode'"),
        ("?ca=a&ca=b", "'ca'"),
    ):
        with pytest.raises(BadValueError, match=words):
            Client(f"beanstalks://localhost{query}")
    context = ssl.create_default_context()
    with pytest.raises(BadValueError, match="not a beanstalks://"):
        Client("localhost", tls=context)
    with pytest.raises(BadValueError, match="so are files"):
        Client(f"beanstalks://localhost?ca={files.ca}", tls=context)


def test_a_silent_peer_meets_the_deadline(kind: Kind, server: Server, files: Certificates) -> None:
    with CuttingProxy(server.address, files.server()) as proxy:
        address = url(proxy, f"?ca={files.ca}")
        with opened(
            kind,
            lambda: Client(address, timeout=0.4),
            lambda: AsyncClient(address, timeout=0.4),
        ) as way:
            way("list_tubes")
            proxy.arm(b"delete", "drop")
            began = time.monotonic()
            with pytest.raises(CommandTimeoutError):
                way("delete", 2**40)
            assert time.monotonic() - began < 3
            assert way("list_tube_used") == "default"


def test_a_server_that_went_while_nobody_spoke(kind: Kind, files: Certificates) -> None:
    with OurServer() as server, CuttingProxy(server.address, files.server()) as proxy:
        address = url(proxy, f"?ca={files.ca}")
        with opened(kind, lambda: Client(address), lambda: AsyncClient(address)) as way:
            way("put", "a")
            proxy.cut_all()
            time.sleep(0.05)  # a connection used less than 10 ms ago is not looked at
            assert way("put", "b") == 2


def test_the_example(server: Server, files: Certificates) -> None:
    with CuttingProxy(server.address, files.server(asks_for_client=True)) as proxy:
        address = url(proxy, f"?ca={files.ca}&cert={files.cert}&key={files.key}")
        done = subprocess.run(
            [sys.executable, "-m", "examples.tls", "--server", address],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout.startswith("over an encrypted connection: job "), done.stderr
    with CuttingProxy(server.address, files.server()) as proxy:
        done = subprocess.run(
            [sys.executable, "-m", "examples.tls", "--strict", str(files.ca)],
            cwd=ROOT,
            env={"BEANSTALKD_URL": url(proxy, ""), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout.startswith("over an encrypted connection: job "), done.stderr
