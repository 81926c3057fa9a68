"""The two ends of `make release`: what must be so before, and what is left to do after.

python tools/release.py before | after
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.findall(r'__version__ = "(.+)"', (ROOT / "src/beanrow/version.py").read_text())[0]

LEFT = f"""
Checked: lint, types, tests, long tests, two equal builds. Left to you, in this order:

  1. Read dist/: SHA256SUMS, the names, the size. Install the wheel somewhere and use it.
  2. git tag --sign v{VERSION} --message "beanrow {VERSION}" && git push origin v{VERSION}
  3. On a second machine: git checkout v{VERSION} && make dist; the hashes must be the same.
  4. Upload the wheel and the source archive; attach dist/*.cdx.json and SHA256SUMS to the tag.
  5. In a fresh environment: pip install 'beanrow[cli]=={VERSION}' && beanrow --version
  6. Begin the next version: src/beanrow/version.py, and a new [Unreleased] in CHANGELOG.md.
"""


def git(*words: str) -> str:
    """Ask git about this tree."""
    return subprocess.check_output(["git", "-C", str(ROOT), *words], text=True).strip()


def faults(changelog: str, tags: str, changes: str) -> list[str]:
    """List what keeps this version from being released."""
    found = []
    if changes:
        found.append("the tree has changes that no commit holds: git status")
    if f"v{VERSION}" in tags.split():
        found.append(f"v{VERSION} is released: raise src/beanrow/version.py")
    if not re.search(
        rf"^## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE
    ):
        found.append(f"CHANGELOG.md has no line '## [{VERSION}] - YYYY-MM-DD': name it there")
    if re.search(r"^## \[Unreleased\]\n+(?!## )\S", changelog, re.MULTILINE):
        found.append("CHANGELOG.md still lists changes under [Unreleased]: move them down")
    return found


def main() -> int:
    """Check, or tell what is left; 1 if something is in the way."""
    if sys.argv[1:] == ["after"]:
        print(LEFT)
        return 0
    changelog = (ROOT / "CHANGELOG.md").read_text()
    found = faults(changelog, git("tag", "--list", "v*"), git("status", "--porcelain"))
    for fault in found:
        print(f"not yet: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
