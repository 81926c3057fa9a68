"""The files of a release: python tools/dist.py [NEW DIRECTORY], by default dist/, written anew.

Builds the source archive, and from it the wheel, twice, each time at another path; when both
builds are the same byte for byte it writes them, an SBOM of the wheel with all its extras
(CycloneDX), and SHA256SUMS. Times in the files are SOURCE_DATE_EPOCH, else the last commit's, so
another machine with the same tools gets the same hashes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "site"
)


def epoch() -> str:
    """Give the time that the files show, as seconds since 1970."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return told
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.check_output(command, text=True).strip()


def build(source: Path, out: Path, seconds: str) -> dict[str, str]:
    """Build archive and wheel of a copy of this tree at that path; name and hash of each."""
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source],
        env={**os.environ, "SOURCE_DATE_EPOCH": seconds},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return {path.name: digest(path) for path in sorted(out.iterdir())}


def digest(path: Path) -> str:
    """Hash a file, as sha256sum writes it."""
    return sha256(path.read_bytes()).hexdigest()


def write_sbom(wheel: Path, scratch: Path) -> Path:
    """List what the wheel with all extras brings into an empty environment."""
    python = scratch / "bin" / "python"
    venv.create(scratch, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "-qq", f"{wheel}[all]"], check=True)
    sbom = wheel.with_name("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "environment", str(python)),
            *("--output-reproducible", "--output-format", "JSON", "--output-file", str(sbom)),
        ],
        check=True,
    )
    components = json.loads(sbom.read_text())["components"]
    assert any(one["name"] == "beanrow" for one in components), "the wheel is not in its own SBOM"
    return sbom


def main() -> int:
    """Build, compare, list; 1 if two builds differ."""
    if len(sys.argv) > 1:
        out = Path(sys.argv[1])
    else:
        out = ROOT / "dist"
        shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch, "1"), Path(scratch, "another", "path")
        seconds = epoch()
        hashes = build(first / "source", first / "dist", seconds)
        if (again := build(second / "source", second / "dist", seconds)) != hashes:
            print(f"two builds differ: {hashes} and {again}", file=sys.stderr)
            return 1
        shutil.copytree(first / "dist", out)
        (wheel,) = out.glob("*.whl")
        sbom = write_sbom(wheel, Path(scratch, "environment"))
    hashes[sbom.name] = digest(sbom)
    sums = "".join(f"{value}  {name}\n" for name, value in hashes.items())
    (out / "SHA256SUMS").write_text(sums)
    print(sums, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
