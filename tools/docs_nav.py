"""A hook of MkDocs: a page that the navigation names and nobody has written is left out of it.

So a part of beanrow has its place before it has its page; what is written and has no place still
fails the build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Leave out what is not there."""
    config["nav"] = written(config["nav"], Path(config["docs_dir"]))
    return config


def written(nav: list[dict[str, Any]], docs: Path) -> list[dict[str, Any]]:
    """Give the entries whose pages exist, and the sections that have any."""
    kept = []
    for entry in nav:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            if inner := written(target, docs):
                kept.append({title: inner})
        elif (docs / target).is_file():
            kept.append({title: target})
    return kept
