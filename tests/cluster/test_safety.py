"""What a gateway does not start on, and what it says of that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from beanrow import Client
from beanrow.cluster.address import Place, read_store_address
from beanrow.cluster.layout import LAYOUT, Layout, slot_of
from beanrow.errors import BadValueError
from tests.engines import Engine, free_ports
from tests.need import need
from tests.servers import GatewayServer

pytestmark = pytest.mark.long


def refused(*flags: str) -> str:
    """Start a gateway that does not come up; what it says."""
    command = [sys.executable, "-m", "beanrow.cluster", "-p", "0", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode in (1, 2), ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_unsafe_settings_are_refused_by_name() -> None:
    need("redis")
    with Engine("--appendonly", "no", "--maxmemory-policy", "allkeys-lru") as engine:
        told = refused("--store", f"{engine.url}?ack=1")
        for name in ("no-aof", "eviction", "few-replicas"):
            assert f"({name})" in told
            assert f"--accept {name}" in told
        told = refused("--store", engine.url, "--accept", "no-aof")
        assert "(eviction)" in told
        assert "(no-aof)" not in told
        with GatewayServer(
            "--accept", "no-aof", "--accept", "eviction", store=engine.url
        ) as gateway:
            assert "WARNING" in gateway.told()
            with Client(gateway.address) as client:
                client.delete(client.put("x"))


def test_settings_that_are_not_told_are_refused() -> None:
    """As with an engine that somebody else manages."""
    need("redis")
    with Engine("--rename-command", "CONFIG", "") as engine:
        assert "(unknown-settings)" in refused("--store", engine.url)
        with GatewayServer("--accept", "unknown-settings", store=engine.url):
            pass


def test_another_layout_is_refused() -> None:
    need("redis")
    with Engine() as engine:
        with GatewayServer(store=engine.url, module="tests.differential.gateway"):
            pass
        told = refused("--store", engine.url)
        assert "partitions=1" in told
        assert "partitions=256" in told


def test_a_store_that_is_not_there_is_told() -> None:
    assert "127.0.0.1:1" in refused("--store", "redis://127.0.0.1:1")


def test_a_password() -> None:
    need("redis")
    with (
        Engine(password="sec ret") as engine,
        GatewayServer(store=f"redis://:sec%20ret@{engine.address}") as gateway,
        Client(gateway.address) as client,
    ):
        client.delete(client.put("x"))
        assert "sec" not in gateway.told()
        told = refused("--store", f"redis://:wrong@{engine.address}")
        assert "WRONGPASS" in told
        assert "wrong" not in told


def test_a_store_inside_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("redis")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "node.pem")
    )
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (port,) = free_ports(1)
    flags = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for flag in ("cert", "key"):
        flags += [f"--tls-{flag}-file", str(tmp_path / "node.pem")]
    flags += ["--tls-ca-cert-file", str(tmp_path / "ca.pem")]
    with Engine(*flags):
        told = refused("--store", f"rediss://127.0.0.1:{port}")
        assert "certificate verify failed" in told
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with (
            GatewayServer(store=f"rediss://127.0.0.1:{port}") as gateway,
            Client(gateway.address) as client,
        ):
            client.watch("inside")
            client.put("x", tube="inside")
            job = client.reserve(timeout=5)
            assert job is not None
            client.delete(job)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("localhost:6379", "redis://HOST"),
        ("http://localhost", "redis://HOST"),
        ("redis://a:1,b:2", "one node"),
        ("redis://a?ack=2", "ack is 0 or 1"),
        ("redis://a?akc=1", "unknown option 'akc'"),
        ("redis-cluster://a:x", "redis-cluster://a:x"),
        ("redis://", "HOST[:PORT]"),
    ],
)
def test_a_wrong_address_is_told(text: str, problem: str) -> None:
    with pytest.raises(BadValueError) as told:
        read_store_address(text)
    assert problem in str(told.value)


def test_the_password_of_a_wrong_address_is_not_told() -> None:
    with pytest.raises(BadValueError) as told:
        read_store_address("redis://me:secret@a:1?x=1")
    assert "secret" not in str(told.value)


def test_addresses() -> None:
    address = read_store_address("redis-cluster://u:p%40w@a:1,[::1]:2,c?ack=1")
    assert address.seeds == (Place("a", 1), Place("::1", 2), Place("c", 6379))
    assert (address.is_cluster, address.ack) == (True, 1)
    assert (address.user, address.password) == ("u", "p@w")
    assert str(address) == "redis-cluster://a:1,[::1]:2,c:6379?ack=1"
    address = read_store_address("rediss://a")
    assert (address.is_cluster, address.tls, address.ack) == (False, True, 0)
    assert str(address) == "rediss://a:6379?ack=0"


def test_partitions_lie_evenly_over_all_slots() -> None:
    assert LAYOUT.slots == [slot_of(base[3:-2]) for base in LAYOUT.bases]
    assert [slot // 64 for slot in LAYOUT.slots] == list(range(256))
    assert len(set(LAYOUT.bases)) == 256
    assert Layout(1, 0).of_job(12345) == 0


def test_the_layout_is_what_it_was() -> None:
    """Jobs that exist were put under it: see the law in layout.py before you change this."""
    assert LAYOUT.words == "1 partitions=256 id-units=10000"
    assert LAYOUT.bases[0] == b"br{460}:"
    assert LAYOUT.of_tube("default") == 250 or LAYOUT.of_tube("default") < 256
    assert slot_of(b"123456789") == 12739  # the engine's own example of its checksum
