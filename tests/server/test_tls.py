"""TLS of the server: our own clients, raw bytes, halves of handshakes, and plain ones beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from beanrow import Client, ConnectionLostError
from tests.client.certificates import Certificates
from tests.client.ways import Kind, opened
from tests.server.talk import Talk, until
from tests.servers import HOST, OurServer

Start = Callable[..., OurServer]


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def flags(files: Certificates) -> list[str]:
    cert, key = files.server_files()
    return ["--tls", "0", "--tls-cert", str(cert), "--tls-key", str(key), "-V"]


def port(server: OurServer) -> int:
    (found,) = re.findall(r"listening for TLS on 127\.0\.0\.1:(\d+)", server.told())
    return int(found)


def connect(server: OurServer, files: Certificates, *, with_cert: bool = False) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=files.ca)
    if with_cert:
        context.load_cert_chain(files.cert, files.key)
    sock = socket.create_connection((HOST, port(server)), timeout=10)
    try:
        return context.wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise


def read(talk: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := talk.recv(1 << 20)):
        data += more
    return bytes(data)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_our_clients(start_ours: Start, files: Certificates, flags: list[str], kind: Kind) -> None:
    from beanrow import AsyncClient

    server = start_ours(*flags, "--tls-ca", str(files.ca))
    url = f"beanstalks://localhost:{port(server)}?ca={files.ca}&cert={files.cert}&key={files.key}"
    body = bytes(range(256)) * 250
    with opened(kind, lambda: Client(url), lambda: AsyncClient(url)) as way:
        ids = way("put_many", [body] * 20)
        jobs = way("reserve_many", 20)
        assert [(job.id, job.body) for job in jobs] == [(one, body) for one in ids]
        way("delete_many", jobs)
        assert way("reserve", 0) is None
    with Client(f"{HOST}:{server.port}") as plain:  # the plain one is there too
        assert plain.put("a") == 21


def test_who_shows_no_certificate_is_refused(
    start_ours: Start, files: Certificates, flags: list[str]
) -> None:
    server = start_ours(*flags, "--tls-ca", str(files.ca))
    url = f"beanstalks://localhost:{port(server)}?ca={files.ca}"
    with Client(url, timeout=0.5) as client, pytest.raises(ConnectionLostError):
        client.list_tubes()
    assert "no TLS with 127.0.0.1:" in server.told()
    with connect(server, files, with_cert=True) as talk:
        talk.sendall(b"list-tube-used\r\n")
        assert read(talk, 15) == b"USING default\r\n"


def test_much_both_ways(start_ours: Start, files: Certificates, flags: list[str]) -> None:
    """Larger than any buffer, in one piece and byte by byte; replies that are not read at once."""
    server = start_ours(*flags, "-z", "10000000")
    body = os.urandom(3_000_000)
    with connect(server, files) as talk:
        talk.sendall(b"put 0 0 60 %d\r\n" % len(body) + body + b"\r\n")
        assert read(talk, 12) == b"INSERTED 1\r\n"
        for byte in b"list-tube-used\r\n":
            talk.sendall(bytes([byte]))
        assert read(talk, 15) == b"USING default\r\n"
        talk.sendall(b"peek 1\r\n" * 3 + b"list-tube-used\r\n")
        reply = b"FOUND 1 %d\r\n" % len(body) + body + b"\r\n"
        assert read(talk, 3 * len(reply) + 15) == reply * 3 + b"USING default\r\n"
        talk.sendall(b"list-tube-used\r\n" * 20_000)
        assert read(talk, 15 * 20_000) == b"USING default\r\n" * 20_000


def test_a_farewell_and_its_answer(
    start_ours: Start, files: Certificates, flags: list[str]
) -> None:
    """The end of TLS is the end, though the socket inside stays open; and `quit` says it too."""
    server = start_ours(*flags)
    with Talk(server) as other:
        with connect(server, files) as talk:
            talk.sendall(b"put 0 0 60 1\r\na\r\nreserve\r\n")
            read(talk, 12 + 17)
            talk.unwrap().close()  # waits for the server's farewell
        with connect(server, files) as talk:
            talk.sendall(b"reserve\r\n")
            assert read(talk, 17) == b"RESERVED 1 1\r\na\r\n"
            talk.sendall(b"quit\r\n")
            assert talk.recv(1) == b""
        until(other, "current-connections", 1)
        assert other.ask(b"reserve\r\n") == b"RESERVED 1 1\r\na\r\n"


def test_what_is_no_handshake(start_ours: Start, files: Certificates, flags: list[str]) -> None:
    server = start_ours(*flags, "--max-connections", "3")
    with Talk(server) as other:
        other.ask(b"stats\r\n")
        before = len(os.listdir(f"/proc/{server.pid}/fd"))
        for begin in (b"stats\r\n", b"\x16\x03\x01", b"", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection((HOST, port(server)), timeout=10) as talk:
                talk.sendall(begin)
                with contextlib.suppress(OSError):  # it may have been closed by then
                    talk.shutdown(socket.SHUT_WR)
                    while talk.recv(100):
                        pass
        with (
            socket.create_connection((HOST, port(server)), timeout=10),
            socket.create_connection((HOST, port(server)), timeout=10),
            socket.create_connection((HOST, port(server)), timeout=10) as one_more,
        ):
            assert one_more.recv(1) == b""  # who says nothing takes a place all the same
            assert other.ask(b"list-tube-used\r\n") == b"USING default\r\n"
        while len(os.listdir(f"/proc/{server.pid}/fd")) > before:
            other.ask(b"stats\r\n")
        with connect(server, files) as talk:
            talk.sendall(b"list-tube-used\r\n")
            assert read(talk, 15) == b"USING default\r\n"


def test_certificates_have_rights(
    start_ours: Start, files: Certificates, flags: list[str], tmp_path: Path
) -> None:
    rights, audit = tmp_path / "rights.toml", tmp_path / "audit"
    rights.write_text('[mailer]\ncertificate = "worker@example.org"\nput = "mail"')
    asks = [*flags, "--rights", str(rights), "--audit", str(audit)]
    server = start_ours(*asks, "--tls-ca", str(files.ca))
    with connect(server, files, with_cert=True) as talk, Talk(server) as plain:
        talk.sendall(b"use mail\r\nput 0 0 60 1\r\na\r\nreserve\r\n")
        expected = b"USING mail\r\nINSERTED 1\r\nFORBIDDEN\r\n"
        assert read(talk, len(expected)) == expected
        assert plain.ask(b"use mail\r\n") == b"FORBIDDEN\r\n"
    told = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(one["event"], one["who"]) for one in told] == [
        ("connected", "mailer"),
        ("forbidden", "mailer"),
        ("forbidden", "anonymous"),
    ]


def test_a_new_certificate_needs_no_restart(
    start_ours: Start, files: Certificates, flags: list[str], tmp_path: Path
) -> None:
    server = start_ours(*flags)
    with connect(server, files) as before:
        serial = before.getpeercert()["serialNumber"]  # type: ignore[index]
        files.server_files()  # writes another one in its place
        os.kill(server.pid, signal.SIGHUP)
        while "read anew" not in server.told():
            pass
        with connect(server, files) as after:
            assert after.getpeercert()["serialNumber"] != serial  # type: ignore[index]
        before.sendall(b"list-tube-used\r\n")
        assert read(before, 15) == b"USING default\r\n"
        (tmp_path / "server.pem").write_text("nonsense")
        os.kill(server.pid, signal.SIGHUP)
        while "still as before" not in server.told():
            pass
        with connect(server, files) as after:
            after.sendall(b"list-tube-used\r\n")
            assert read(after, 15) == b"USING default\r\n"
