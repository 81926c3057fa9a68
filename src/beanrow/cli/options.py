"""What the verbs share: the types of their options, --server and --json, the client.

Law: an option is checked before a connection is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from beanrow.client.address import Address, read_address
from beanrow.client.sync import Client
from beanrow.errors import BeanstalkError, BuriedJob, ConnectFailedError
from beanrow.protocol.values import (
    MAX_ID,
    MAX_TIMEOUT,
    MAX_UINT32,
    priority_number,
    seconds,
    tube_name,
    whole_number,
)

__all__ = [
    "DELAY",
    "JOB_ID",
    "PRIORITY",
    "SERVER",
    "TIMEOUT",
    "TTR",
    "TUBE",
    "connected",
    "shared_options",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _checked(name: str, read: Callable[[str], T]) -> Callable[[str], T]:
    """Make a type of option: its name in the help, and how it is read, with beanrow's errors."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except BeanstalkError as error:
            raise click.BadParameter(str(error)) from error
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a number") from error

    convert.__name__ = name
    return convert


def _tube(text: str) -> str:
    tube_name(text)
    return text


def _time(what: str, most: int = MAX_UINT32) -> Callable[[str], int]:
    return _checked("seconds", lambda text: seconds(float(text), what, most))


TUBE = _checked("tube", _tube)
PRIORITY = _checked("number", lambda text: priority_number(int(text)))
JOB_ID = _checked("id", lambda text: whole_number(int(text), "job id", MAX_ID))
DELAY = _time("delay")
TTR = _time("ttr")
TIMEOUT = _time("timeout", MAX_TIMEOUT)
SERVER = _checked("host:port", read_address)


def shared_options(verb: F) -> F:
    """Give a verb --server, as ``server: Address``, and --json, as ``as_json: bool``."""
    server = click.option(
        "--server",
        type=SERVER,
        callback=_chosen_server,
        help="Default: environment BEANSTALKD_URL, else localhost:11300.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return server(as_json(verb))


def _chosen_server(ctx: click.Context, param: click.Parameter, value: Address | None) -> Address:
    """Take the server named after the verb, before it, or in the environment."""
    try:
        address: Address = value or ctx.obj or read_address()
    except BeanstalkError as error:
        raise click.UsageError(f"environment BEANSTALKD_URL: {error}", ctx) from error
    if address.embedded:
        raise click.BadParameter(
            "'embedded:' would end with this command; name a server", ctx, param
        )
    return address


@contextmanager
def connected(server: Address) -> Iterator[Client]:
    """Open a client. It tells a buried job by what it returns, and nowhere else."""
    client = Client(server.url, on_buried_job=_leave_to_the_caller)
    try:
        client.connect()
    except ConnectFailedError as error:
        _tell_no_server(server, error)
    with client:
        yield client


def _leave_to_the_caller(_signal: BuriedJob) -> None:
    pass


def _tell_no_server(server: Address, error: ConnectFailedError) -> NoReturn:
    cause = error.__cause__
    reason = (cause.strerror if isinstance(cause, OSError) else None) or cause
    raise ConnectFailedError(
        f"cannot connect to {server}: {reason}; "
        "start a server with 'beanrow serve' or name one with --server"
    ) from error
