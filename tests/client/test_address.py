"""Where a server is: every form that people write, and what is said to the others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from beanrow import BadTypeError, BadValueError, Client, ConnectFailedError
from beanrow.client.address import Address, read_address
from tests.servers import OurServer


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:11300", "localhost", 11300),
        ("queue.example.org", "queue.example.org", 11300),
        ("10.0.0.7:1", "10.0.0.7", 1),
        (":65535", "localhost", 65535),
        ("[::1]:11301", "::1", 11301),
        ("[::1]", "::1", 11300),
        ("[fe80::1%eth0]:7", "fe80::1%eth0", 7),
        ("beanstalk://queue:11301", "queue", 11301),
        ("beanstalk://queue", "queue", 11300),
        ("beanstalk://queue:11301/", "queue", 11301),
        ("beanstalk://[::1]:11301", "::1", 11301),
    ],
)
def test_forms_of_tcp(text: str, host: str, port: int) -> None:
    assert read_address(text) == Address(host=host, port=port)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:/run/beanstalkd.sock", "/run/beanstalkd.sock"),
        ("unix:///run/beanstalkd.sock", "/run/beanstalkd.sock"),
        ("unix:queue.sock", "queue.sock"),
    ],
)
def test_forms_of_unix(text: str, path: str) -> None:
    assert read_address(text) == Address(path=path)


def test_embedded() -> None:
    assert read_address("embedded:") == Address(embedded=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:port",
        "host:",
        "host:-1",
        "::1",
        "::1:11300",
        "[::1",
        "[host]:1",
        "http://host:1",
        "beanstalk://",
        "beanstalk://user@host",
        "beanstalk://host/tube",
        "a b:1",
        "host\n:1",
        "host:1\n",
        "unix:",
        "unix://",
        "unix://run/sock",
        "unix:/a\0b",
        "embedded://",
    ],
)
def test_what_is_no_address_is_told_what_is(text: str) -> None:
    with pytest.raises(BadValueError, match=r"host:port.*\[::1\]:port.*unix:/path.*embedded:"):
        read_address(text)


@pytest.mark.parametrize("text", ["host:0", "host:65536", "[::1]:99999"])
def test_ports_have_a_range(text: str) -> None:
    with pytest.raises(BadValueError, match=r"1\.\.65535"):
        read_address(text)


def test_a_tuple_is_no_address() -> None:
    with pytest.raises(BadTypeError, match="host:port"):
        Client(("localhost", 11300))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["queue:7", "beanstalk://queue:7"])
def test_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BEANSTALKD_URL", text)
    assert repr(Client()) == "Client('queue:7')"
    assert repr(Client("other:8")) == "Client('other:8')"


@pytest.mark.parametrize("text", [None, ""])
def test_the_default_without_environment(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv("BEANSTALKD_URL", raising=False)
    if text is not None:
        monkeypatch.setenv("BEANSTALKD_URL", text)
    assert repr(Client()) == "Client('localhost:11300')"


@pytest.mark.parametrize("text", ["queue:7", "[::1]:7", "unix:/run/queue.sock", "embedded:"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(read_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("queue:7", "unix:/run/queue.sock", "embedded:", "beanstalks://[::1]:7"),
        "beanstalk://queue:7?token=/a/b%20c%26",
        "beanstalks://queue:7?ca=/ca&cert=/cert&key=/key&token=/token",
    ],
)
def test_an_address_can_be_written_whole(text: str) -> None:
    address = read_address(text)
    assert read_address(address.url) == address


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "queue.sock"
    with OurServer("-l", f"unix:{path}"), Client(f"unix:{path}") as client:
        assert client.list_tubes() == ["default"]


def test_over_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with OurServer("-l", "::1") as server, Client(server.address) as client:
        assert server.address.startswith("[::1]:")
        assert client.list_tubes() == ["default"]


def test_nobody_there() -> None:
    with socket.socket() as bound:  # bound and not listening: refuses, and no one else takes it
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        client = Client(address)
        with pytest.raises(
            ConnectFailedError, match=f"{address}.*is a server running there"
        ) as told:
            client.stats()
    assert told.value.outcome == "never-sent"
    assert isinstance(told.value, ConnectionError)


@pytest.mark.parametrize("address", ["unix:/nonexistent/queue.sock", "a..b:1"])
def test_nowhere_to_connect_to(address: str) -> None:
    with pytest.raises(ConnectFailedError):
        Client(address).connect()
