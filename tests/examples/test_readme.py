"""What the README shows is what the files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples import fetch_worker, put_urls

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", ["fetch_worker.py", "put_urls.py"])
def test_the_readme_shows_the_example_as_it_is(name: str) -> None:
    assert (ROOT / "examples" / name).read_text() in BLOCKS


def test_worker_and_producer_mean_the_same_tube() -> None:
    assert fetch_worker.TUBE == put_urls.TUBE


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
def test_the_makefile_has_what_the_readme_names(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_the_readme_links_to_what_exists(link: str) -> None:
    assert (ROOT / link).exists()
