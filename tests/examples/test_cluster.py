"""The cluster of the example comes up with one command, and nothing is left of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from beanrow import Client
from tests.need import need


@pytest.mark.long
def test_the_example_serves_a_queue() -> None:
    need("redis")
    with subprocess.Popen(
        [sys.executable, "-m", "examples.cluster"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        addresses = re.findall(r"127\.0\.0\.1:\d+", process.stdout.readline())
        store = re.findall("'(.*)'", process.stdout.readline())[0]
        try:
            with Client(addresses[0]) as one, Client(addresses[1]) as other:
                job_id = one.put("hello", tube="emails")
                other.watch("emails")
                job = other.reserve(timeout=10)
                assert job is not None
                assert job.id == job_id
                other.delete(job)
            told = subprocess.run(
                [sys.executable, "-m", "beanrow.cli", "cluster", "status", store],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert told.returncode == 0, told.stdout + told.stderr
            assert len(re.findall(r"redis 7|redis 8", told.stdout)) == 3
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
