"""The plugin in test runs of others: with the fixture, in parallel, and where nobody wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def run_pytest(directory: Path, files: dict[str, str], *arguments: str) -> str:
    """Run pytest as another project would; what it tells, if it ends with 0."""
    for name, text in files.items():
        (directory / name).write_text(text)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "pytest_beanrow", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(SOURCE), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_that_does_not_use_it(tmp_path: Path) -> None:
    """It imports nothing of beanrow, and may have a fixture of this name."""
    told = run_pytest(
        tmp_path,
        {
            "conftest.py": "import pytest\n"
            "@pytest.fixture(scope='session')\n"
            "def beanstalk():\n    return 'mine'\n",
            "test_own.py": "import sys\n"
            "def test_it(beanstalk):\n"
            "    assert beanstalk == 'mine'\n"
            "    assert [one for one in sys.modules if one.split('.')[0] == 'beanrow'] == []\n",
        },
    )
    assert "1 passed" in told


def test_in_parallel(tmp_path: Path) -> None:
    """Each test is alone; a client that nobody closes and a job that is held are no warning."""
    told = run_pytest(
        tmp_path,
        {
            "test_many.py": "import pytest\n"
            "@pytest.mark.parametrize('n', range(12))\n"
            "def test_it(beanstalk, n):\n"
            "    client = beanstalk.client()\n"
            "    assert client.put(f'{n}', tube='t', delay=3600) == 1\n"
            "    beanstalk.clock.advance(3600)\n"
            "    beanstalk.assert_put('t', f'{n}', count=1)\n"
            "    assert client.reserve_job(1).text == f'{n}'\n"
            "    beanstalk.assert_jobs('t', reserved=1)\n"
        },
        *("-n", "2", "-W", "error"),
    )
    assert "12 passed" in told


def test_it_is_known_to_pytest_once_beanrow_is_installed() -> None:
    """Read from the project's own file: what is installed here may be older than the checkout."""
    import tomllib

    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())
    plugins = project["project"]["entry-points"]["pytest11"]
    assert plugins == {"pytest_beanrow": "pytest_beanrow"}  # one name: -p of it loads it once
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "src/pytest_beanrow.py" in wheel["only-include"]
