"""The program behind `beanrow work`: its flags, its health, its reload."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from beanrow import Client
from beanrow.worker.__main__ import main
from tests.servers import Server, free_port
from tests.worker.conftest import each_kind, one_server, until
from tests.worker.worker_process import ROOT, Ledger, worker_process


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "is not module:app"),
        (["json:dumps"], "is not an App"),
        (["tests.worker.empty:app"], "has no tasks"),
        (["json:dumps", "--threads", "0"], "from 1 to"),
        (["json:dumps", "--threads", "1", "--tasks", "1"], "not allowed with"),
        (["json:dumps", "--max-jobs", "1"], "go with --processes"),
    ],
)
def test_bad_arguments_are_told(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert main(arguments) == 2
    assert words in capsys.readouterr().err


@each_kind
def test_health_tells_how_a_worker_is(
    server: Server, client: Client, tube: str, ledger: Ledger, kind: str
) -> None:
    place = f"127.0.0.1:{free_port()}"
    with worker_process(server.address, tube, ledger, kind, "2", "--health", place) as worker:
        client.put('{"n": 1}', tube=f"{tube}-note")
        client.put('{"n": 1, "seconds": 30}', tube=f"{tube}-sleep", ttr=100)
        ledger.wait_for("ran")
        ledger.wait_for("began")

        def asked() -> httpx.Response:
            return httpx.get(f"http://{place}/", trust_env=False)

        until(lambda: (asked().json()["done"], asked().json()["busy"]) == (1, 1))
        told = asked()
        assert told.status_code == 200
        assert told.json()["slots"] == 2
        assert told.json()["last_answer"] < 60
        worker.send(signal.SIGTERM)
        until(lambda: asked().status_code == 503)
        worker.stop_now()


@one_server
def test_the_verb_work_and_lines_of_json(
    server: Server, client: Client, tube: str, ledger: Ledger
) -> None:
    environment = {**os.environ, "TUBE": tube, "LEDGER": str(ledger.path)}
    client.put("{", tube=f"{tube}-note")
    client.put('{"n": 1}', tube=f"{tube}-fail")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "beanrow.cli", "--server", server.address, "work"),
            *("tests.worker.programs:app", "--threads", "1", "--log-json"),
        ],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
    ) as worker:
        ledger.wait_for("buried", 2)
        worker.terminate()
        _, errors = worker.communicate(timeout=20)
    assert worker.returncode == 0
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    failures = {line["task"]: line for line in lines if "failed" in line["message"]}
    failed, broken = failures["note"], failures["fail"]
    assert (failed["tube"], failed["task"], failed["attempt"]) == (f"{tube}-note", "note", 1)
    assert "UnreadableBody: task note cannot read" in failed["message"]
    assert "traceback" not in failed  # nobody can do anything with it
    assert "raise ValueError" in broken["traceback"]


@one_server
def test_a_changed_file_starts_the_worker_anew(
    server: Server, client: Client, tube: str, ledger: Ledger, tmp_path: Path
) -> None:
    program = tmp_path / "shop.py"

    def write(word: str) -> None:
        program.write_text(
            "from beanrow import App\n"
            f"app = App({server.address!r})\n"
            f"@app.task(tube={tube!r})\n"
            "def note(n: int) -> None:\n"
            f"    open({str(ledger.path)!r}, 'a').write('{word} %d\\n' % n)\n"
        )

    write("old")
    with subprocess.Popen(
        [sys.executable, "-m", "beanrow.worker", "shop:app", "--reload", "--threads", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            client.put('{"n": 1}', tube=tube)
            ledger.wait_for("old")
            write("newer")
            until(lambda: _waits_anew(client, tube))
            client.put('{"n": 2}', tube=tube)
            assert ledger.wait_for("newer") == [["newer", "2"]]
        finally:
            worker.terminate()
            assert worker.wait(20) == 0


_seen: dict[str, int] = {}


def _waits_anew(client: Client, tube: str) -> bool:
    """Whether another connection than the first waits: the first one had to go for it."""
    now = client.stats().total_connections
    first = _seen.setdefault(tube, now)
    return now > first and client.stats_tube(tube).current_waiting == 1
