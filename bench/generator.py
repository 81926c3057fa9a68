"""The load generator, load.c: compiled here, started here, its one line of result read here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.child import result_of
from bench.contender import Running
from bench.machine import BenchError, find_program

SOURCE = Path(__file__).with_name("load.c")
BUILD = SOURCE.parent / "build"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
WARM_UP = 0.25
PATIENCE = 120.0
"""Seconds beyond the timed part, for warm-up and draining of 128,000 lanes on a slow machine;
when nothing moves, load itself gives up after 5."""


class Load(NamedTuple):
    """What is asked of a server: depth is the commands in flight on each connection."""

    workload: str
    connections: int
    depth: int
    body: int = 64


class LoadResult(NamedTuple):
    """One timed window. CPU in seconds, latencies in microseconds."""

    ops: int
    seconds: float
    server_cpu: float
    own_cpu: float
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        return self.ops / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of server CPU per command."""
        return self.server_cpu / self.ops * 1e6

    @property
    def server_busy(self) -> float:
        """Share of its core that the server used."""
        return self.server_cpu / self.seconds

    @property
    def generator_busy(self) -> float:
        return self.own_cpu / self.seconds


def build() -> Path:
    """Compile the load generator; gives the program."""
    compiler = find_program("gcc")
    BUILD.mkdir(exist_ok=True)
    program = BUILD / "load"
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(program), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{SOURCE.name} does not compile:\n{done.stderr}")
    return program


def drive(program: Path, load: Load, server: Running, core: int, seconds: float) -> LoadResult:
    """Put one load on a running server, from a core of its own."""
    options = {
        "-p": server.port,
        "-P": server.pid,
        "-w": load.workload,
        "-c": load.connections,
        "-d": load.depth,
        "-b": load.body,
        "-u": WARM_UP,
        "-s": seconds,
    }
    command = [str(program)] + [str(part) for option in options.items() for part in option]
    values = result_of(command, core, seconds + PATIENCE)
    return LoadResult(
        ops=int(values["ops"]),
        seconds=float(values["seconds"]),
        server_cpu=float(values["server_cpu"]),
        own_cpu=float(values["own_cpu"]),
        p50_us=float(values["p50_us"]),
        p99_us=float(values["p99_us"]),
    )
