"""The site of documentation: complete, and built without network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import beanrow
from beanrow import contrib, errors, observe
from tools.docs_nav import written

ROOT = Path(__file__).parents[2]
REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
SHOWN = set(re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE))
OUTSIDE = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"(?:https?:)?//([^\"/]+)"
)


@pytest.mark.parametrize("name", sorted(set(beanrow.__all__) - {"__version__"}))
def test_the_reference_shows_every_public_name(name: str) -> None:
    of_errors = name in vars(errors)
    assert f"beanrow.{name}" in SHOWN or (of_errors and "beanrow.errors" in SHOWN)


@pytest.mark.parametrize("package", [contrib, observe])
def test_the_reference_shows_every_module_for_others(package: object) -> None:
    name = str(vars(package)["__name__"])
    here = Path(str(vars(package)["__file__"])).parent
    modules = {path.stem for path in here.iterdir() if not path.stem.startswith("_")}
    shown = {one.split(".")[2] for one in SHOWN if one.startswith(f"{name}.")}
    assert shown == modules


def test_a_page_that_is_not_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "here.md").touch()
    nav: list[dict[str, Any]] = [
        {"A": "here.md"},
        {"B": [{"C": "here.md"}, {"D": "gone.md"}]},
        {"E": [{"F": "gone.md"}]},
    ]
    assert written(nav, tmp_path) == [{"A": "here.md"}, {"B": [{"C": "here.md"}]}]


def test_every_page_has_a_place_in_the_navigation() -> None:
    named = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md")}
    assert pages - set(named) == set(), "give it a line below nav in mkdocs.yml"
    assert len(named) == len(set(named))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_site_is_built_without_network_and_without_a_warning(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {page: page.read_text() for page in (tmp_path / "site").rglob("*.html")}
    sources = [*(ROOT / "docs").rglob("*.md")]
    assert len(pages) == len(sources) + 1  # and 404.html
    outside = {(str(page), host) for page, text in pages.items() for host in OUTSIDE.findall(text)}
    assert outside == set()
    client = pages[tmp_path / "site" / "reference" / "client.html"]
    assert 'id="beanrow.Client.reserve"' in client
    for name in ("reserve", "put_many", "list_jobs"):  # told as their counterparts tell it
        assert told(client, f"AsyncClient.{name}") == told(client, f"Client.{name}") != ""


def told(page: str, method: str) -> str:
    """The first sentence below a method's heading."""
    part = page.partition(f'id="beanrow.{method}"')[2].partition('<h4 id="')[0]
    found = re.search(r"doc-contents[^>]*>\s*<p>(.*?)</p>", part, re.DOTALL)
    return found[1] if found else ""
