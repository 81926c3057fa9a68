"""`bench`, completion in a real shell, the manual page, and what is asked at a terminal."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from beanrow import Client
from beanrow.cli.program import command_line
from beanrow.jobs.search import tubes_of
from tests.cli.command import COMMAND, environment
from tests.cli.inside import refused, told, well
from tests.servers import Daemon, Server


def ready(client: Client, tube: str) -> int:
    return {one.name: one.current_jobs_ready for one in tubes_of(client)}.get(tube, 0)


def test_bench_leaves_nothing(server: Server) -> None:
    with Client(server.address) as client:
        before = client.list_tubes()
        done = told("bench", "--jobs", "150", "--size", "10", "--server", server.address)
        assert (done["jobs"], done["size"]) == (150, 10)
        assert all(rate > 0 for rate in done["jobs-per-second"].values())
        assert client.list_tubes() == before
    assert "measures nothing" in refused(2, "bench", "--jobs", "0")


def test_completion_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "beanrow"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m beanrow.cli "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    script = (
        'eval "$(beanrow completion bash)"; '
        "COMP_WORDS=(beanrow tr); COMP_CWORD=1; _beanrow_completion beanrow; "
        'echo "${COMPREPLY[@]}"; '
        "COMP_WORDS=(beanrow peek --state b); COMP_CWORD=3; COMPREPLY=(); "
        '_beanrow_completion beanrow; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        env=environment(PATH=path),
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"truncate\nburied\n", b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_of_their_shell(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(well("completion", shell))
    assert f"_BEANROW_COMPLETE={shell}_complete" in script.read_text()
    if found := shutil.which(shell):
        subprocess.run([found, "-n", script], timeout=30, check=True)


def test_the_manual_page_tells_every_verb_and_option() -> None:
    page = well("man")
    for name, verb in command_line.commands.items():
        section = page.partition(f".SS beanrow {name} ")[2].partition(".SS")[0]
        assert section, name
        for option in verb.params:
            for opt in option.opts if option.opts[0].startswith("-") else ():
                assert opt.replace("-", r"\-") in section, f"{name} {opt}"
    assert r"beanrow kick \-\-tube emails \-\-count 10" in page
    assert not [line for line in page.splitlines() if line.startswith("'")]


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff, which is not installed")
def test_roff_has_nothing_to_complain_of() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        input=well("man").encode(),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == b""


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 2), (b"\x04", 2)])
def test_what_destroys_asks_at_a_terminal(
    daemon: Daemon, tube: str, answer: bytes, left: int
) -> None:
    with Client(daemon.address) as client:
        client.put_many("ab", tube=tube)
        ours, theirs = os.openpty()
        os.write(ours, answer)
        done = subprocess.run(
            [*COMMAND, "truncate", tube, "--server", daemon.address],
            stdin=theirs,
            capture_output=True,
            env=environment(),
            timeout=30,
            check=False,
        )
        os.close(ours)
        os.close(theirs)
        assert f"delete 2 jobs (2 ready of {tube})? [y/N]".encode() in done.stderr
        assert done.stdout == (b"" if left else b"2 jobs deleted\n")
        assert done.returncode == (2 if left else 0)
        assert ready(client, tube) == left
        assert (b"nothing was changed" in done.stderr) == bool(left)


def test_a_shell_with_progress_on_the_terminal(daemon: Daemon, tube: str) -> None:
    """The bar goes to standard error, and standard output has the result alone."""
    with Client(daemon.address) as client:
        client.put_many(["x"] * 150, tube=tube)
        ours, theirs = os.openpty()
        done = subprocess.run(
            [*COMMAND, "truncate", tube, "--yes", "--server", daemon.address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment(),
            timeout=30,
            check=False,
        )
        os.close(theirs)
        shown = os.read(ours, 65536)
        os.close(ours)
        assert done.stdout == b"150 jobs deleted\n"
        assert b"jobs deleted: " in shown
        assert ready(client, tube) == 0
