"""The load generator, load.c: compiled here, started here, its one line of result read here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.child import BUILD, result_of
from bench.contender import Running
from bench.machine import BenchError, find_program

SOURCE = Path(__file__).with_name("load.c")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
WARM_UP = 0.25
PATIENCE = 120.0
"""Seconds beyond the timed part, for warm-up and draining of 128,000 lanes on a slow machine;
when nothing moves, load itself gives up after 5."""


class Load(NamedTuple):
    """What is asked of a server: depth is the commands in flight on each connection.

    ``rate`` is commands a second, 0 for as many as the server answers; ``most`` ends the timed
    part after so many commands, 0 leaves that to the seconds. ``tubes`` over which connections are
    spread, 0 for the default one alone. ``used_queue`` says that it may hold jobs of earlier
    loads, ``pauses`` that the longest pause is wanted.
    """

    workload: str
    connections: int
    depth: int
    body: int = 64
    rate: float = 0
    most: int = 0
    tubes: int = 0
    warm_up: float = WARM_UP
    used_queue: bool = False
    pauses: bool = False

    @property
    def words(self) -> list[str]:
        """Options of the program."""
        options: dict[str, object] = {
            "-w": self.workload,
            "-c": self.connections,
            "-d": self.depth,
            "-b": self.body,
            "-u": self.warm_up,
        }
        options |= {"-r": self.rate} if self.rate else {}
        options |= {"-n": self.most} if self.most else {}
        options |= {"-t": self.tubes} if self.tubes else {}
        words = [str(part) for option in options.items() for part in option]
        return words + ["-q"] * self.used_queue + ["-l"] * self.pauses


class LoadResult(NamedTuple):
    """One timed window. CPU in seconds, times of replies and the longest pause in microseconds."""

    ops: int
    seconds: float
    server_cpu: float
    own_cpu: float
    p50_us: float
    p99_us: float
    slowest_us: float
    pause_us: float

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
    """Put one load on a running server, from a core of its own, for so many seconds at most."""
    options: dict[str, object] = {
        "-p": server.port,
        "-P": server.pid,
        "-s": seconds,
    }
    own = [str(part) for option in options.items() for part in option]
    values = result_of([str(program), *own, *load.words], core, seconds + PATIENCE)
    return LoadResult(
        ops=int(values["ops"]),
        seconds=float(values["seconds"]),
        server_cpu=float(values["server_cpu"]),
        own_cpu=float(values["own_cpu"]),
        p50_us=float(values["p50_us"]),
        p99_us=float(values["p99_us"]),
        slowest_us=float(values["slowest_us"]),
        pause_us=float(values["pause_us"]),
    )
