"""The command `beanrow` run inside this process: where the process is not what is tested."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from click.testing import CliRunner

from beanrow.cli.program import run


class Done(NamedTuple):
    """How it ended, and what it wrote."""

    code: int
    out: bytes
    err: str


def inside(*arguments: str, stdin: bytes = b"", url: str | None = None) -> Done:
    """Run `beanrow` to its end; `url` is what the environment names as the server."""
    runner = CliRunner(env={"BEANSTALKD_URL": url})
    with runner.isolation(input=stdin) as (out, err, _):
        code = run(list(arguments))
        return Done(int(code), out.getvalue(), err.getvalue().decode())


def well(*arguments: str, stdin: bytes = b"") -> str:
    """Run `beanrow`, which succeeds and says nothing on stderr; its output."""
    done = inside(*arguments, stdin=stdin)
    assert (done.code, done.err) == (0, "")
    return done.out.decode()


def told(*arguments: str, stdin: bytes = b"") -> Any:
    """Run `beanrow ... --json`; the one document of its output."""
    return json.loads(well(*arguments, "--json", stdin=stdin))


def refused(code: int, *arguments: str, stdin: bytes = b"") -> str:
    """Run `beanrow`, which ends with this code and the one line of an error."""
    done = inside(*arguments, stdin=stdin)
    assert done.code == code, done
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("beanrow"), done.err
    return done.err
