"""`beanrow reserve`: the job is printed, then finished; nothing is lost on the way."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time

import pytest

from beanrow import Client, NotFoundError
from tests.cli.command import complaint, document, environment, good, read_terminal, run
from tests.cli.scripted import Scripted
from tests.servers import Server

BINARY = bytes(range(256))


def put(server: Server, tube: str, body: bytes = b"hello", priority: int = 5) -> int:
    with Client(server.address) as client:
        return client.put(body, tube=tube, priority=priority)


def state(server: Server, job_id: int) -> tuple[str, int, int]:
    with Client(server.address) as client:
        stats = client.stats_job(job_id)
    return stats.state, stats.pri, stats.releases


def test_by_default_the_job_is_released_as_it_was(server: Server, tube: str) -> None:
    job_id = put(server, tube, BINARY)
    assert good("reserve", "--server", server.address, "--tube", tube) == BINARY
    assert state(server, job_id) == ("ready", 5, 1)


def test_release_may_be_said(server: Server, tube: str) -> None:
    job_id = put(server, tube)
    assert good("reserve", "--server", server.address, "--tube", tube, "--release") == b"hello"
    assert state(server, job_id) == ("ready", 5, 1)


def test_delete(server: Server, tube: str) -> None:
    job_id = put(server, tube)
    assert good("reserve", "--server", server.address, "--tube", tube, "--delete") == b"hello"
    with Client(server.address) as client, pytest.raises(NotFoundError):
        client.peek(job_id)


def test_bury(server: Server, tube: str) -> None:
    job_id = put(server, tube)
    assert good("reserve", "--server", server.address, "--tube", tube, "--bury") == b"hello"
    assert state(server, job_id) == ("buried", 5, 0)


def test_only_the_named_tubes(server: Server, tube: str) -> None:
    in_default = put(server, "default", b"other")
    put(server, f"{tube}-b", b"b", priority=1)
    put(server, f"{tube}-a", b"a", priority=2)
    named = ("--tube", f"{tube}-a", "--tube", f"{tube}-b", "--delete", "--timeout", "0")
    arguments = ("reserve", "--server", server.address, *named)
    assert [good(*arguments), good(*arguments)] == [b"b", b"a"]
    complaint(run(*arguments), 1)
    with Client(server.address) as client:
        client.delete(in_default)


def test_without_a_tube_it_is_default(server: Server) -> None:
    job_id = put(server, "default")
    told = document("reserve", "--server", server.address, "--delete")
    assert told == {"id": job_id, "tube": "default", "body": "hello"}


def test_json_of_text_and_of_bytes(server: Server, tube: str) -> None:
    arguments = ("reserve", "--server", server.address, "--tube", tube, "--delete")
    text = put(server, tube, "hé\n".encode())
    assert document(*arguments) == {"id": text, "tube": tube, "body": "hé\n"}
    binary = put(server, tube, BINARY)
    encoded = base64.b64encode(BINARY).decode()
    assert document(*arguments) == {"id": binary, "tube": tube, "body_base64": encoded}


@pytest.mark.parametrize("name", ["12145", "null", "1.5"])
def test_a_tube_whose_name_looks_like_something_else(server: Server, name: str) -> None:
    job_id = put(server, name)
    arguments = ("reserve", "--server", server.address, "--tube", name, "--delete")
    assert document(*arguments) == {"id": job_id, "tube": name, "body": "hello"}


def test_no_job_in_time(server: Server, tube: str) -> None:
    arguments = ("reserve", "--server", server.address, "--tube", tube, "--json")
    done = run(*arguments, "--timeout", "0")
    assert f"within 0 s in tube {tube};" in complaint(done, 1)
    assert done.stdout == b""
    begin = time.monotonic()
    complaint(run(*arguments, "--timeout", "0.2"), 1)
    assert time.monotonic() - begin > 0.9  # rounded up to a second, never down to 0


@pytest.mark.parametrize("choice", ["--delete", "--bury", "--release"])
def test_a_closed_pipe_loses_nothing(server: Server, tube: str, choice: str) -> None:
    job_id = put(server, tube)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = run("reserve", "--server", server.address, "--tube", tube, choice, stdout=closed)
    assert f"Broken pipe; job {job_id} was released" in complaint(done, 5)
    assert state(server, job_id) == ("ready", 5, 1)


def test_a_full_disk_loses_nothing(server: Server, tube: str) -> None:
    job_id = put(server, tube)
    arguments = ("reserve", "--server", server.address, "--tube", tube, "--delete", "--json")
    with open("/dev/full", "wb") as full:
        done = run(*arguments, stdout=full)
    assert f"No space left on device; job {job_id} was released" in complaint(done, 5)
    assert state(server, job_id) == ("ready", 5, 1)


@pytest.mark.parametrize("choice", ["--delete", "--bury", "--release"])
def test_a_ttr_that_ran_out_while_printing_is_told(choice: str) -> None:
    stats = b"---\nid: 7\ntube: default\npri: 5\nttr: 3\n"
    answers = {
        "watch": [b"WATCHING 1\r\n"],
        "reserve-with-timeout": [b"RESERVED 7 5\r\nhello\r\n"],
        "stats-job": [b"OK %d\r\n%b\r\n" % (len(stats), stats)],
        **{key: [b"NOT_FOUND\r\n"] for key in ("delete", "bury", "release")},
    }
    with Scripted(answers) as server:
        done = run("reserve", "--server", server.address, choice)
    assert done.stdout == b"hello"
    assert "the ttr of job 7, 3 s, ran out while it was printed" in complaint(done, 1)


def test_ctrl_c_while_waiting(server: Server, tube: str) -> None:
    # A test run in the background ignores SIGINT, and so would its children.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from beanrow.cli.__main__ import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "reserve", "--server", server.address, "--tube", tube],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with Client(server.address) as client:
        client.use(tube)
        end = time.monotonic() + 10
        while client.stats_tube(tube).current_waiting == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_a_terminal_gets_a_newline_behind_the_body(server: Server, tube: str) -> None:
    put(server, tube)
    ours, theirs = os.openpty()
    run("reserve", "--server", server.address, "--tube", tube, stdout=theirs)
    assert read_terminal(ours, theirs) == b"hello\r\n"
