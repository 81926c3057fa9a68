"""The wheel and the source archive that `make dist` would make, once for all tests here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.installed import ROOT, VERSIONS, Installed


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that `tools/dist.py` writes."""
    out = tmp_path_factory.mktemp("packaging") / "dist"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(
        [sys.executable, ROOT / "tools" / "dist.py", out], env=environment, timeout=600, check=True
    )
    return out


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session", params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """The path of each Python that we promise to run on."""
    found = find_python(request.param)
    if found is None:
        reason = f"needs Python {request.param}, which is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def core(python: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel alone in a fresh environment, without registry and compiler."""
    home = Installed.make(tmp_path_factory.mktemp("core"), python)
    home.pip("install", "--no-index", str(wheel), CC="false", CXX="false")
    return home


@pytest.fixture(scope="session")
def with_command(python: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel with its command line."""
    home = Installed.make(tmp_path_factory.mktemp("command"), python)
    home.pip("install", f"{wheel}[cli]", CC="false", CXX="false")
    return home


def find_python(version: str) -> str | None:
    """The path of a Python of this version that starts, on PATH or where pyenv keeps them."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]
    for python in filter(None, named):
        done = subprocess.run(
            [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.stdout.strip() == version:
            return python
    return None
