"""A token in a file: said first over each connection, and in no error, log or address."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from beanrow import (
    AsyncClient,
    BadReplyError,
    BadValueError,
    BeanstalkError,
    Client,
    ConnectionLostError,
    ForbiddenError,
    OutOfMemoryError,
    UnknownCommandError,
)
from beanrow.client.address import read_address
from beanrow.protocol.authentication import auth_request, check_auth
from tests.client.ways import Kind, opened
from tests.server.talk import Talk
from tests.servers import HOST, OurServer

TOKEN = "0123456789-a-very-secret-token"
Start = Callable[..., OurServer]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
def server(start_ours: Start, tmp_path: Path) -> OurServer:
    rights = tmp_path / "rights.toml"
    digest = sha256(TOKEN.encode()).hexdigest()
    rights.write_text(f'[all]\ntoken-sha256 = "{digest}"\nput = "*"\ntake = "*"')
    return start_ours("--rights", str(rights), "--max-connections", "5")


def url(server: OurServer, token: Path) -> str:
    return f"beanstalk://{HOST}:{server.port}?token={token}"


def test_every_connection_is_known(
    kind: Kind, server: OurServer, token: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    address = url(server, token)
    with opened(
        kind,
        lambda: Client(address, trace=True),
        lambda: AsyncClient(address, trace=True),
    ) as way:
        assert way("put", "a") == 1
        assert way("reserve", 5).id == 1
        assert way("reserve", 0) is None
        with pytest.raises(ForbiddenError, match=r"kick 1.*rights do not allow"):
            way("kick", 1)
    assert TOKEN not in caplog.text


def test_a_new_connection_is_known_too(kind: Kind, server: OurServer, token: Path) -> None:
    """The file is read for each: a token may be changed under a running client."""
    address = url(server, token)
    with opened(
        kind, lambda: Client(address, timeout=5), lambda: AsyncClient(address, timeout=5)
    ) as way:
        way("put", "a")
        rights = token.parent / "rights.toml"
        rights.write_text(
            f'[all]\ntoken-sha256 = "{sha256(b"new").hexdigest()}"\nput = "*"\ntake = "*"'
        )
        token.write_text("new")
        os.kill(server.pid, signal.SIGHUP)
        while "read anew" not in server.told():
            pass
        assert way("peek", 1).text == "a"


def refusal(kind: Kind, address: str) -> Exception:
    with (
        opened(
            kind, lambda: Client(address, timeout=1), lambda: AsyncClient(address, timeout=1)
        ) as way,
        pytest.raises(BeanstalkError) as told,
    ):
        way("put", "a")
    assert TOKEN not in str(told.value)
    return told.value


def test_who_is_not_known_is_told(
    kind: Kind, server: OurServer, our_server: OurServer, token: Path
) -> None:
    unknown = refusal(kind, url(our_server, token))
    assert isinstance(unknown, UnknownCommandError)
    assert "?token=" in str(unknown)
    assert isinstance(refusal(kind, f"{HOST}:{server.port}"), ForbiddenError)
    token.write_text("another")
    assert isinstance(refusal(kind, url(server, token)), ForbiddenError)
    missing = refusal(kind, url(server, Path("/no/such/file")))
    assert isinstance(missing, BadValueError)
    assert "/no/such/file" in str(missing)
    token.write_text("two words")
    assert isinstance(refusal(kind, url(server, token)), BadValueError)
    with Talk(server) as talk:  # and no connection is left behind
        while talk.ask(b"auth another\r\n") != b"FORBIDDEN\r\n":
            pass


def test_a_full_server_is_told_as_such(kind: Kind, server: OurServer, token: Path) -> None:
    talks = [Talk(server) for _ in range(5)]
    assert all(talk.ask(b"list-tube-used\r\n") for talk in talks)
    told = refusal(kind, url(server, token))
    assert isinstance(told, (OutOfMemoryError, ConnectionLostError))
    for talk in talks:
        talk.close()


def test_an_address_shows_no_secret_and_takes_none() -> None:
    assert read_address("beanstalk://queue:7?token=/a/b").token == "/a/b"
    assert read_address("beanstalks://queue:7?ca=c&token=t")._replace(host="") == read_address(
        "beanstalks://queue:7?token=t&ca=c"
    )._replace(host="")
    for text in ("beanstalk://:secret@queue", "beanstalk://queue?ca=x", "queue?token=x"):
        with pytest.raises(BadValueError, match="token=FILE"):
            read_address(text)


@pytest.mark.parametrize("token", ["", "a b", "a\r\ndelete 1", "é", "x" * 201])
def test_a_token_that_cannot_be_said(token: str) -> None:
    with pytest.raises(BadValueError, match="1 to 200 visible") as told:
        auth_request(token)
    if token:
        assert token not in str(told.value)


def test_an_answer_that_is_none() -> None:
    with pytest.raises(BadReplyError, match=r"auth \.\.\."):
        check_auth(auth_request(TOKEN), b"USING default\r\n")
