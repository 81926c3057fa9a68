"""The installed wheel, not the checkout: what users get, on each Python.

`tools/dist.py` has compared two builds; what it wrote is installed into fresh environments.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from beanrow.version import __version__
from tests.packaging.installed import ROOT, SECONDS, Installed, serving
from tools.dist import NOT_SOURCE

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SHARED = {
    "share/man/man1/beanrow.1",
    "share/bash-completion/completions/beanrow",
    "share/zsh/site-functions/_beanrow",
    "share/fish/vendor_completions.d/beanrow.fish",
}
PUT_AND_RESERVE = """
import sys
from beanrow import Client

with Client(sys.argv[1]) as client:
    put = client.put("hello", tube="emails")
    client.watch("emails")
    job = client.reserve(timeout=5)
    assert (job.id, job.body) == (put, b"hello"), job
    client.delete(job)
    print(client.stats().version)
"""


def test_the_wheel_fits_every_platform_and_has_what_it_should(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "beanrow/py.typed" in names
    assert {name.partition(".data/data/")[2] for name in names if ".data/" in name} == SHARED
    tops = {name.partition("/")[0] for name in names}
    assert {re.sub(r"-[\d.]+\d", "", top) for top in tops} == {
        "beanrow",
        "beanrow.data",
        "beanrow.dist-info",
        "pytest_beanrow.py",
    }


def test_hashes_and_sbom_are_of_these_files(dist: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True)
    listed = (dist / "SHA256SUMS").read_text().split()[1::2]
    assert sorted([*listed, "SHA256SUMS"]) == sorted(path.name for path in dist.iterdir())
    (sbom,) = dist.glob("*.cdx.json")
    tree = {
        one["ref"]: one.get("dependsOn", []) for one in json.loads(sbom.read_text())["dependencies"]
    }
    (ours,) = (needs for ref, needs in tree.items() if ref.startswith("beanrow=="))
    assert {"click", "prometheus_client", "sentry-sdk"} <= {
        need.partition("==")[0] for need in ours
    }


def test_the_core_works_where_nothing_else_is(core: Installed) -> None:
    listed = "from importlib.metadata import distributions as d; print([one.name for one in d()])"
    assert core.run("python", "-c", listed) == "['beanrow']\n"
    with serving(core, "python", "-m", "beanrow.server") as (address, _):
        assert core.run("python", "-c", PUT_AND_RESERVE, address) == f"beanrow {__version__}\n"


def test_the_command_says_what_it_needs(core: Installed) -> None:
    done = subprocess.run(
        core.command("beanrow"),
        env=core.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'beanrow[cli]'" in done.stderr


def test_the_container_would_start(core: Installed, tmp_path: Path) -> None:
    """The entry point of deploy/Dockerfile, on this machine's paths and a free port."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    entry, flags = (
        json.loads(line.partition(" ")[2])
        for start in ("ENTRYPOINT", "CMD")
        for line in lines
        if line.startswith(start)
    )
    here = [word.replace("/opt/beanrow/bin/", "").replace("/data", str(tmp_path)) for word in entry]
    flags[flags.index("0.0.0.0")] = "127.0.0.1"
    flags[flags.index("127.0.0.1:11380")] = "127.0.0.1:0"
    with serving(core, *here, *flags) as (address, _):
        core.run("python", "-c", PUT_AND_RESERVE, address)
    assert list(tmp_path.iterdir()), "no journal was written"


def test_the_command_serves_puts_and_reserves(with_command: Installed) -> None:
    with serving(with_command, "beanrow", "serve") as (address, _):
        url = {"BEANSTALKD_URL": address}
        assert with_command.run("beanrow", "put", "--tube", "emails", "hello", **url) == "1\n"
        told = with_command.run("beanrow", "reserve", "--tube", "emails", "--delete", **url)
        assert told == "hello"
    assert {file for file in SHARED if (with_command.path / file).is_file()} == SHARED
    page = (with_command.path / "share/man/man1/beanrow.1").read_text()
    assert ".SS beanrow put" in page
    assert with_command.run("beanrow", "completion", "fish") == (
        (with_command.path / "share/fish/vendor_completions.d/beanrow.fish").read_text()
    )


def test_the_source_archive_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    """As a distribution would build it: unpacked, no network, no click."""
    (archive,) = dist.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    (source,) = tmp_path.iterdir()
    hidden = (
        "import sys; sys.modules['click'] = None; from hatchling.cli import hatchling; hatchling()"
    )
    subprocess.run(
        [sys.executable, "-c", hidden, "build", "-t", "wheel", "-d", tmp_path / "wheel"],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        timeout=SECONDS,
        check=True,
    )
    assert (tmp_path / "wheel" / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_clone_installs_as_the_readme_says(tmp_path: Path) -> None:
    """With pip's own environment for the build, which has nothing but what we name there."""
    shutil.copytree(ROOT, tmp_path / "clone", ignore=NOT_SOURCE)
    home = Installed.make(tmp_path / "home", sys.executable)
    home.pip("install", f"{tmp_path / 'clone'}[cli]")
    assert home.run("beanrow", "--version") == f"beanrow {__version__}\n"
    assert {file for file in SHARED if (home.path / file).is_file()} == SHARED


def test_every_public_type_is_complete(wheel: Path, tmp_path: Path) -> None:
    """As users of pyright see it: `py.typed`, and no public name without a known type."""
    home = Installed.make(tmp_path, sys.executable)
    home.pip("install", f"{wheel}[all,django,flask,starlette]", "django-stubs")
    path = f"{home.path / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--ignoreexternal", "--verifytypes", "beanrow"],
        cwd=home.path,
        env=home.environment(PATH=path, VIRTUAL_ENV=str(home.path)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Type completeness score: 100%" in done.stdout


def test_the_image_has_all_that_the_build_needs(wheel: Path, tmp_path: Path) -> None:
    """What deploy/Dockerfile copies into its first stage makes the wheel, and no file is missing."""
    (dockerfile,) = re.findall(
        r"dockerfile: (\S+)", (ROOT / "deploy" / "compose.yaml").read_text(), re.MULTILINE
    )
    for line in (ROOT / dockerfile).read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, target = shlex.split(line)[1:]
            for source in sources:
                place = tmp_path / target.lstrip("/")
                if target.endswith("/"):
                    place /= Path(source).name
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, place)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(tmp_path / "source")]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=SECONDS, check=True)
    (made,) = (tmp_path / "source" / "dist").iterdir()
    assert zipfile.ZipFile(made).namelist() == zipfile.ZipFile(wheel).namelist()
