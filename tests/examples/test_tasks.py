"""The example of tasks: put by one program, run by the worker, and by a test without either."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from beanrow import Client
from beanrow.worker.letters import read_letter
from examples.demo.processes import ROOT
from examples.tasks import app, remind, send_welcome
from tests.servers import OurServer
from tests.worker.conftest import until


def test_what_is_put_is_run(our_server: OurServer) -> None:
    environment = {**os.environ, "BEANSTALKD_URL": our_server.address}
    put = [sys.executable, "-m", "examples.tasks", "42", "43", "1000"]
    subprocess.run(put, cwd=ROOT, env=environment, check=True, timeout=30)
    with (
        Client(our_server.address) as client,
        subprocess.Popen(
            [sys.executable, "-m", "beanrow.worker", "examples.tasks:app", "--threads", "2"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as worker,
    ):
        try:
            until(lambda: "dead-mails" in client.list_tubes())
            until(lambda: client.stats_tube("welcome-mails").current_jobs_reserved == 0)
        finally:
            worker.terminate()
            told, _ = worker.communicate(timeout=20)
        assert sorted(told.splitlines()) == [
            "welcome, user42@example.org", "welcome, user43@example.org"
        ]  # fmt: skip
        client.watch("dead-mails")
        dead = client.reserve(timeout=5)
        assert dead is not None
        assert read_letter(dead.body).error == "KeyError: 1000"
        assert client.stats_tube(remind.tube).current_jobs_delayed == 3


def test_inline(capsys: pytest.CaptureFixture[str]) -> None:
    with app.inline():
        send_welcome.put(7)
        remind.put(7)
    assert capsys.readouterr().out.splitlines() == [
        "welcome, user7@example.org", "do not forget, user 7"
    ]  # fmt: skip
