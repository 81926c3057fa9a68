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
    "COUNT",
    "DELAY",
    "JOB_ID",
    "PRIORITY",
    "SERVER",
    "TIMEOUT",
    "TTR",
    "TUBE",
    "checked",
    "connected",
    "period",
    "server_option",
    "shared_options",
    "shared_options_of_servers",
    "shared_servers",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def checked(name: str, read: Callable[[str], T]) -> Callable[[str], T]:
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


def period(what: str, most: int = MAX_UINT32) -> Callable[[str], int]:
    """Make a type of option that is a time in seconds."""
    return checked("seconds", lambda text: seconds(float(text), what, most))


TUBE = checked("tube", _tube)
PRIORITY = checked("number", lambda text: priority_number(int(text)))
COUNT = checked("number", lambda text: whole_number(int(text), "number"))
JOB_ID = checked("id", lambda text: whole_number(int(text), "job id", MAX_ID))
DELAY = period("delay")
TTR = period("ttr")
TIMEOUT = period("timeout", MAX_TIMEOUT)
SERVER = checked("host:port", read_address)


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_DEFAULT = "Default: environment BEANSTALKD_URL, else localhost:11300."


def server_option(verb: F) -> F:
    """Give a verb --server, as ``server: Address``."""
    server = click.option(
        "--server", type=SERVER, multiple=True, callback=_chosen_server, help=_DEFAULT
    )
    return server(verb)


def shared_options(verb: F) -> F:
    """Give a verb --server, as ``server: Address``, and --json, as ``as_json: bool``."""
    return server_option(_AS_JSON(verb))


def shared_servers(verb: F) -> F:
    """Give a verb --server, more than once, as ``servers``."""
    servers = click.option(
        "--server",
        "servers",
        type=SERVER,
        multiple=True,
        callback=_chosen_servers,
        help=f"May be repeated. {_DEFAULT}",
    )
    return servers(verb)


def shared_options_of_servers(verb: F) -> F:
    """Give a verb --server, more than once, as ``servers``, and --json, as ``as_json: bool``."""
    return shared_servers(_AS_JSON(verb))


def _chosen_server(
    ctx: click.Context, param: click.Parameter, values: tuple[Address, ...]
) -> Address:
    first, *others = _chosen_servers(ctx, param, values)
    if others:
        raise click.UsageError(f"{ctx.info_name} takes one --server", ctx)
    return first


def _chosen_servers(
    ctx: click.Context, param: click.Parameter, values: tuple[Address, ...]
) -> tuple[Address, ...]:
    """Take the servers named after the verb, before it, or in the environment."""
    try:
        addresses: tuple[Address, ...] = values or ctx.obj or (read_address(),)
    except BeanstalkError as error:
        raise click.UsageError(f"environment BEANSTALKD_URL: {error}", ctx) from error
    if any(one.embedded for one in addresses):
        raise click.BadParameter(
            "'embedded:' would end with this command; name a server", ctx, param
        )
    return tuple(dict.fromkeys(addresses))


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
