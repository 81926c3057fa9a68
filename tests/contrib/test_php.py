"""Jobs that Laravel's and Symfony's own queues write and read, on both servers.

The formats are held against what the real ones put; the real ones are packages of Debian.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beanrow import Client
from examples.php_jobs import LaravelCodec, SymfonyCodec, app, send_welcome, welcome
from tests.servers import HOST, Server

HERE = Path(__file__).parent / "php"
PACKAGES = Path("/usr/share/php")
NEEDED = (
    "Illuminate/Queue/autoload.php",
    "Pheanstalk/autoload.php",
    "Symfony/Component/Messenger/Bridge/Beanstalkd/autoload.php",
    "Symfony/Component/Serializer/autoload.php",
    "Symfony/Component/PropertyAccess/autoload.php",
)

LARAVEL = {
    "uuid": "5a6b1f2e-0c9d-4b7a-9d3e-2f1c8a7b6d5e",
    "displayName": "App\\Jobs\\SendWelcome",
    "job": "App\\Jobs\\SendWelcome@fire",
    "maxTries": None,
    "maxExceptions": None,
    "failOnTimeout": False,
    "backoff": None,
    "timeout": None,
    "data": {"user_id": 42, "lang": "de"},
}
SYMFONY = {
    "body": '{"user_id":42,"lang":"de"}',
    "headers": {"type": "App\\Message\\SendWelcome", "Content-Type": "application/json"},
}


def test_the_format_of_laravel() -> None:
    codec = LaravelCodec("App\\Jobs\\SendWelcome@fire")
    assert codec.decode(json.dumps(LARAVEL).encode()) == {"user_id": 42, "lang": "de"}
    written = json.loads(codec.encode({"user_id": 42, "lang": "de"}))
    assert {**written, "uuid": ""} == {**LARAVEL, "uuid": ""}
    with pytest.raises(ValueError, match="CallQueuedHandler"):
        codec.decode(b'{"job": "Illuminate\\\\Queue\\\\CallQueuedHandler@call", "data": {}}')


def test_the_format_of_symfony() -> None:
    codec = SymfonyCodec("App\\Message\\SendWelcome")
    assert codec.decode(json.dumps(SYMFONY).encode()) == {"user_id": 42, "lang": "de"}
    written = json.loads(codec.encode({"user_id": 42, "lang": "de"}))
    assert written["headers"] == SYMFONY["headers"]
    assert json.loads(written["body"]) == {"user_id": 42, "lang": "de"}
    with pytest.raises(ValueError, match="Other"):
        codec.decode(b'{"headers": {"type": "Other"}, "body": "{}"}')


def php(server: Server, script: str, what: str) -> str:
    done = subprocess.run(
        ["php", HERE / f"{script}.php", HOST, str(server.port), what],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def both(server: Server) -> Iterator[Server]:
    """A server, with PHP's frameworks there to speak to it."""
    missing = [name for name in NEEDED if not (PACKAGES / name).exists()]
    if shutil.which("php") is None or missing:
        reason = "needs PHP with Laravel's queue and Symfony Messenger: make install-php, as root"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
        pytest.skip(reason)
    app.use_server(server.address)
    with Client(server.address) as client:
        for tube in ("emails", "messages"):
            client.drain_tube(tube)
    yield server
    app.close()


@pytest.mark.long
def test_laravel_puts_and_python_runs(both: Server, capsys: pytest.CaptureFixture[str]) -> None:
    php(both, "laravel", "put")
    assert app.drain(send_welcome) == 1
    assert capsys.readouterr().out == "Laravel: welcome user 42 in de\n"
    with Client(both.address) as client:
        assert "emails" not in client.list_tubes()  # empty, so the job was deleted


@pytest.mark.long
def test_an_object_of_laravel_is_set_aside(both: Server) -> None:
    php(both, "laravel", "put-object")
    app.drain(send_welcome)
    with Client(both.address) as client:
        assert client.stats_tube("emails").current_jobs_buried == 1
        client.drain_tube("emails")


@pytest.mark.long
def test_python_puts_and_laravel_runs(both: Server) -> None:
    send_welcome.put(42, lang="fr")
    told = json.loads(php(both, "laravel", "take"))
    assert told == {
        "fired": {"user_id": 42, "lang": "fr"},
        "attempts": 1,
        "name": "App\\Jobs\\SendWelcome@fire",
    }


@pytest.mark.long
def test_symfony_puts_and_python_runs(both: Server, capsys: pytest.CaptureFixture[str]) -> None:
    php(both, "symfony", "put")
    assert app.drain(welcome) == 1
    assert capsys.readouterr().out == "Symfony: welcome user 42 in de\n"


@pytest.mark.long
def test_python_puts_and_symfony_takes(both: Server) -> None:
    welcome.put(42, lang="fr")
    told = php(both, "symfony", "take")
    assert told == 'App\\Message\\SendWelcome {"user_id":42,"lang":"fr"}\n'
