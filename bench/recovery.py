"""How long a server with a million jobs on its disk takes to come back after kill -9."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import contender, generator
from bench.child import end, pin
from bench.contender import HOST, Contender
from bench.figures import HEAD, median, ratio, row
from bench.generator import Load
from bench.goals import Goal, Section, Verdict
from bench.machine import BenchError
from bench.process import cpu_seconds, resident_bytes
from bench.side_by_side import Pair, Terms

PAIR: Pair = (contender.daemon("-F"), contender.beanrow("--fsync", "never"))
JOBS = 1_000_000
FILL_SECONDS, PATIENCE = 300.0, 60.0
GOAL = Goal(1.0, at_most=True)

EXPLANATION = f"""\
{JOBS:,} jobs of 64 bytes are put, the server is killed by SIGKILL and started again on its
directory, once in each round; the files are in the page cache. s = from its start to its first
reply; CPU s = what it used until then, which a busy machine leaves alone. All jobs are counted."""


class Recovery(NamedTuple):
    """Seconds until the first reply, seconds of CPU, and bytes of memory then."""

    seconds: float
    cpu: float
    memory: int


def section(terms: Terms) -> Section:
    """Fill a directory for each, recover from it round by round, and report."""
    runs: tuple[list[Recovery], list[Recovery]] = ([], [])
    with contender.data_directory() as theirs, contender.data_directory() as ours:
        directories = theirs, ours
        for server, directory in zip(PAIR, directories, strict=True):
            terms.progress(f"recovery: filling {server.name}")
            _fill(terms, server, directory)
        for turn in range(terms.long_rounds):
            terms.progress(f"recovery: round {turn + 1}/{terms.long_rounds}")
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                runs[side].append(_recover(PAIR[side], directories[side], terms.cores.server))
    return _report(runs)


def _report(runs: tuple[list[Recovery], list[Recovery]]) -> Section:
    by_time = ratio(runs[1], runs[0], lambda run: run.seconds)
    by_cpu = ratio(runs[1], runs[0], lambda run: run.cpu)
    verdict = Verdict("recovery: of a million jobs, by time", by_time.middle, GOAL)
    seconds = (f"{median(side, lambda run: run.seconds):.2f} s" for side in runs)
    cpu = (f"{median(side, lambda run: run.cpu):.2f} CPU s" for side in runs)
    memory = (f"{median(side, lambda run: run.memory) / 2**20:,.0f} MiB" for side in runs)
    lines = [
        "RECOVERY: of a million jobs, until the first reply",
        "",
        *EXPLANATION.splitlines(),
        "",
        HEAD,
        row("recovery", seconds, str(by_time), verdict),
        row("", cpu, str(by_cpu)),
        row("memory then", memory, ""),
    ]
    return Section(lines, [verdict])


def _fill(terms: Terms, server: Contender, directory: Path) -> None:
    kept = server._replace(command=(*server.command[:-1], "-b", str(directory), "-p"))
    lanes = 50 * 16
    load = Load("put", 50, 16, most=JOBS - 2 * lanes, warm_up=0)
    with contender.running(kept, terms.cores.server) as running:
        generator.drive(terms.program, load, running, terms.cores.load, FILL_SECONDS)
        os.kill(running.pid, signal.SIGKILL)


def _recover(server: Contender, directory: Path, core: int) -> Recovery:
    port = contender.free_port()
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = contender.launch(server, [str(port), "-b", str(directory)], output)
        try:
            pin(process, core)
            ready = _first_reply(port, process.pid)
            seconds = time.perf_counter() - began
            if not JOBS * 0.99 < ready < JOBS * 1.01:
                raise BenchError(f"{server.name} came back with {ready} jobs")
            cpu = cpu_seconds(process.pid)
            memory = resident_bytes(process.pid)
            process.kill()
        finally:
            end(process)
    return Recovery(seconds, cpu, memory)


def _first_reply(port: int, pid: int) -> int:
    """Ask for statistics until somebody listens, then wait for them; the number of ready jobs."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            with socket.create_connection((HOST, port), PATIENCE) as connection:
                connection.sendall(b"stats\r\n")
                return _ready_jobs(connection, pid)
        except ConnectionRefusedError:
            time.sleep(0.002)
    raise BenchError(f"nobody listens on port {port} after {PATIENCE:g} s")


def _ready_jobs(connection: socket.socket, pid: int) -> int:
    with connection.makefile("rb") as reply:
        ready = 0
        for line in reply:
            if line.startswith(b"current-jobs-ready: "):
                ready = int(line[20:])
            if line.startswith(b"pid: "):
                if int(line[5:]) != pid:
                    break
                return ready
    raise BenchError("another process answers on the port of the one that was started")
