"""The functions that run inside the engine, under a name that says which they are.

Laws:
- The version is made of the text: another text has other names, so gateways of before and after
  an upgrade run side by side, each with its own functions.
- Nothing is ever replaced: a library that is there under our name is ours.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from beanrow.cluster.layout import Layout

__all__ = ["Library"]


class Library:
    """The text to be loaded, for a layout, and the names of its functions."""

    def __init__(self, layout: Layout) -> None:
        text = files("beanrow.cluster").joinpath("library.lua").read_text(encoding="utf-8")
        text = text.replace("@PARTITIONS@", str(layout.partitions))
        text = text.replace("@ID_UNITS@", str(layout.id_units))
        self.version: str = sha256(text.encode()).hexdigest()[:8]
        self.name: str = f"beanrow_{self.version}"
        self.text: str = text.replace("_VERSION", f"_{self.version}").replace(
            "VERSION_", f"bean{self.version}_"
        )

    def function(self, name: str) -> bytes:
        """Give the name under which the engine knows a function."""
        return f"bean{self.version}_{name}".encode()
