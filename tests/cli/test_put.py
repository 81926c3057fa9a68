"""`beanrow put`: where bodies come from, what is printed, what is refused."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from beanrow import Client, Job
from tests.cli.command import COMMAND, complaint, document, environment, good, read_terminal, run
from tests.cli.scripted import Scripted
from tests.servers import Server

BINARY = bytes(range(256)) * 2
LINES = 10_000


def peeked(server: Server, job_id: int) -> Job:
    with Client(server.address) as client:
        return client.peek(job_id)


def ready(server: Server, tube: str) -> list[bytes]:
    """The bodies of a tube in the order in which they come out; the tube is empty after it."""
    bodies = []
    with Client(server.address) as client:
        client.watch(tube)
        client.ignore("default")
        while (job := client.reserve(0)) is not None:
            bodies.append(job.body)
            client.delete(job)
    return bodies


def test_an_argument_and_its_options(server: Server, tube: str) -> None:
    options = ("--priority", "7", "--delay", "90", "--ttr", "1.5")
    job_id = int(good("put", "--server", server.address, "--tube", tube, *options, "hello"))
    with Client(server.address) as client:
        assert client.peek(job_id).body == b"hello"
        stats = client.stats_job(job_id)
    assert (stats.tube, stats.pri, stats.delay, stats.ttr) == (tube, 7, 90, 2)


def test_the_defaults_are_the_protocols(server: Server) -> None:
    job_id = document("--server", server.address, "put", "x")["id"]
    with Client(server.address) as client:
        stats = client.stats_job(job_id)
        client.delete(job_id)
    assert (stats.tube, stats.pri, stats.delay, stats.ttr) == ("default", 65536, 0, 60)


def test_standard_input_byte_for_byte(server: Server, tube: str) -> None:
    job_id = int(good("put", "--server", server.address, "--tube", tube, stdin=BINARY))
    assert peeked(server, job_id).body == BINARY


def test_a_file_byte_for_byte(server: Server, tube: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BINARY)
    told = document("put", "--server", server.address, "--tube", tube, "--file", str(path))
    assert told["tube"] == tube
    assert peeked(server, told["id"]).body == BINARY


def test_an_argument_that_is_no_text(server: Server, tube: str) -> None:
    job_id = int(good("put", "--server", server.address, "--tube", tube, b"\xff\xfe"))
    assert peeked(server, job_id).body == b"\xff\xfe"


def test_an_empty_body(server: Server, tube: str) -> None:
    job_id = int(good("put", "--server", server.address, "--tube", tube))
    assert peeked(server, job_id).body == b""


def test_lines_of_standard_input(server: Server, tube: str) -> None:
    given = b"one\n\ntwo \r\n\xff\nno newline"
    printed = good("put", "--server", server.address, "--tube", tube, "--lines", stdin=given)
    assert len(printed.splitlines()) == 5
    assert ready(server, tube) == [b"one", b"", b"two \r", b"\xff", b"no newline"]


def test_ten_thousand_lines_of_a_file(server: Server, tube: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"line {n}\n" for n in range(LINES)))
    arguments = ("put", "--server", server.address, "--tube", tube, "--lines", "--file", str(path))
    told = document(*arguments)
    assert told["tube"] == tube
    assert len(set(told["ids"])) == LINES
    assert ready(server, tube) == [b"line %d" % n for n in range(LINES)]


def test_no_lines_at_all(server: Server, tube: str) -> None:
    arguments = ("put", "--server", server.address, "--tube", tube, "--lines")
    assert document(*arguments) == {"tube": tube, "ids": []}
    assert good(*arguments) == b""


def test_a_line_is_put_before_the_next_is_there(server: Server, tube: str) -> None:
    arguments = ["put", "--server", server.address, "--tube", tube, "--lines"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for body in (b"first", b"second"):
            process.stdin.write(body + b"\n")
            process.stdin.flush()
            assert peeked(server, int(process.stdout.readline())).body == body
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def test_a_line_over_the_limit_is_refused_and_what_came_before_is_told(
    server: Server, tube: str
) -> None:
    given = b"x" * 65535 + b"\n" + b"y" * 65536 + b"\nnever read\n"
    arguments = ("put", "--server", server.address, "--tube", tube, "--lines", "--json")
    done = run(*arguments, stdin=given)
    told = complaint(done, 4)
    assert "line 2" in told
    assert "65535" in told
    assert "jobs put before that: 1" in told
    assert len(json.loads(done.stdout)["ids"]) == 1
    assert ready(server, tube) == [b"x" * 65535]


def test_a_line_without_end_takes_no_memory(server: Server, tube: str) -> None:
    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))

    arguments = ("--server", server.address, "--tube", tube, "--lines", "--file", "/dev/zero")
    done = subprocess.run(
        [*COMMAND, "put", *arguments],
        preexec_fn=little_memory,
        capture_output=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert "line 1: JOB_TOO_BIG" in complaint(done, 4)


def test_a_body_over_the_limit_is_told_with_both_sizes(server: Server) -> None:
    told = complaint(run("put", "--server", server.address, stdin=b"x" * 65536), 4)
    assert "65536 bytes" in told
    assert "65535" in told


def test_lines_up_to_a_lost_connection() -> None:
    answers = {
        "stats": [b"OK 24\r\n---\nmax-job-size: 65535\n\r\n"],
        "use": [b"USING t\r\n"],
        "put": [b"INSERTED 1\r\n", b"INSERTED 2\r\n", b""],
    }
    with Scripted(answers) as server:
        arguments = ("put", "--server", server.address, "--tube", "t", "--lines", "--json")
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        out, err = process.communicate(b"a\nb\nc\n", timeout=30)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    assert "jobs put before that: 2" in complaint(done, 3)
    assert json.loads(out) == {"tube": "t", "ids": [1, 2]}


@pytest.mark.parametrize("form", [("x",), ("--lines",)])
def test_a_job_that_the_server_had_to_bury(form: tuple[str, ...]) -> None:
    answers = {
        "stats": [b"OK 24\r\n---\nmax-job-size: 65535\n\r\n"],
        "use": [b"USING t\r\n"],
        "put": [b"BURIED 7\r\n"],
    }
    with Scripted(answers) as server:
        done = run("put", "--server", server.address, "--tube", "t", *form, stdin=b"a\nb\n")
    assert done.stdout == b"7\n"
    assert "buried it" in complaint(done, 4)


def test_progress_on_a_terminal(server: Server, tube: str) -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(
        [*COMMAND, "put", "--server", server.address, "--tube", tube, "--lines"],
        input=b"a\nb\nc\n",
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(),
        timeout=30,
        check=True,
    )
    shown = read_terminal(ours, theirs)
    assert b"3 jobs put into " + tube.encode() in shown
    assert len(done.stdout.splitlines()) == 3
