"""What the build adds to the package: the manual page, and the completion of three shells.

Laws: they are made of the code that is being packed, so they cannot be out of date; the source
archive carries them under share/, so whoever builds from it needs no click; an editable install
is for people with a clone, who have the commands themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARED = {
    "share/man/man1/beanrow.1": ["man"],
    "share/bash-completion/completions/beanrow": ["completion", "bash"],
    "share/zsh/site-functions/_beanrow": ["completion", "zsh"],
    "share/fish/vendor_completions.d/beanrow.fish": ["completion", "fish"],
}
"""Where each file is installed, below the prefix, and the verb that prints it."""


class SharedFiles(BuildHookInterface[Any]):
    """Makes them below build/, unless the archive that is built from has them."""

    def dependencies(self) -> list[str]:
        """Name what the build needs for this."""
        return [] if self._have(self.root) else ["click>=8.1"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Have the builder take the files in."""
        if version == "editable":
            return
        top = self.root
        if not self._have(top):
            top = str(Path(self.root, "build"))
            for file, verb in SHARED.items():
                self._make(Path(top, file), verb)
        key = "shared_data" if self.target_name == "wheel" else "force_include"
        build_data[key].update({str(Path(top, file)): file for file in SHARED})

    def _have(self, top: str) -> bool:
        return all(Path(top, file).is_file() for file in SHARED)

    def _make(self, path: Path, verb: list[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        paths = [str(Path(self.root, "src")), os.environ.get("PYTHONPATH", "")]  # pip's: click
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-m", "beanrow.cli", *verb]
        path.write_bytes(subprocess.check_output(command, env=environment))
