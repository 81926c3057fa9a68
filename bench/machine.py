"""The machine that measures: its cores, and the facts without which a figure says nothing.

Law: every measured process is pinned. Left alone, the kernel moves client and server between
sharing a core and not, and one command at a time then takes 20 µs or 80 µs by chance.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class BenchError(Exception):
    """A reason to stop, in words for the person at the terminal."""


class Cores(NamedTuple):
    """Where the two sides of a measurement run; the same core where there is only one."""

    server: int
    load: int


def cores() -> Cores:
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


def allow_many_files() -> None:
    """Raise the limit of open files as far as allowed: 1,000 connections need more than 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def find_program(name: str) -> str:
    """The path of a program, also where an ordinary user's PATH does not lead."""
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(name, path=f"{path}:/usr/bin:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed; on Debian: sudo apt-get install {name}")
    return found


def facts() -> list[str]:
    """Lines that head the report."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(
        f"{name} {_version(name)}" for name in ("beanrow", "greenstalk", "pystalk", "aiostalk")
    )
    return [
        f"machine   {_processor()}, {os.cpu_count()} cores, {_memory()}",
        f"system    {platform.system()} {platform.release()}",
        f"versions  {python}, {_daemon_version()}, {packages}",
        f"load      {os.getloadavg()[0]:.2f} before the first run; above 0.3 others work here too",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _daemon_version() -> str:
    program = find_program("beanstalkd")
    return subprocess.run(
        [program, "-v"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
