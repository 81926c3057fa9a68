"""Jobs whose connection is gone: the client says so, and sends nothing for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beanrow import Client, ClientClosedError, CommandTimeoutError, ConnectionLostError, JobLost
from beanrow.client.connection import Connection
from beanrow.protocol.values import Job
from tests.client.scripted import Act, ScriptedServer, cut, reset

RESERVE = b"reserve-with-timeout 0\r\n"
RESERVED = (RESERVE, b"RESERVED 7 1\r\nx\r\n")

COMMANDS: list[tuple[Callable[[Client, Job], object], bytes]] = [
    (lambda client, job: client.delete(job), b"delete 7\r\n"),
    (lambda client, job: client.release(job), b"release 7 65536 0\r\n"),
    (lambda client, job: client.bury(job), b"bury 7 65536\r\n"),
    (lambda client, job: client.touch(job), b"touch 7\r\n"),
]
each_command = pytest.mark.parametrize(
    ("call", "request_bytes"), COMMANDS, ids=["delete", "release", "bury", "touch"]
)


def reserved(client: Client) -> Job:
    job = client.reserve(timeout=0)
    assert job is not None
    return job


@each_command
@pytest.mark.parametrize("act", [cut, reset])
def test_the_command_that_finds_the_connection_dead(
    call: Callable[[Client, Job], object], request_bytes: bytes, act: Act
) -> None:
    with (
        ScriptedServer([RESERVED, (request_bytes, act)]) as server,
        Client(server.address) as client,
    ):
        job = reserved(client)
        with pytest.raises(JobLost, match="job 7 is lost") as told:
            call(client, job)
        assert (told.value.job_id, told.value.outcome) == (7, "unknown")
        assert isinstance(told.value.__cause__, ConnectionLostError)


@each_command
def test_a_lost_job_sends_nothing_over_the_next_connection(
    call: Callable[[Client, Job], object], request_bytes: bytes
) -> None:
    """A client that sent it there could delete a job that another worker is at."""
    again = [(b"list-tube-used\r\n", b"USING default\r\n")]
    with (
        ScriptedServer([RESERVED, (b"kick 1\r\n", cut)], again) as server,
        Client(server.address) as client,
    ):
        job = reserved(client)
        with pytest.raises(ConnectionLostError):
            client.kick(1)
        with pytest.raises(JobLost) as told:
            call(client, job)
        assert (told.value.job_id, told.value.outcome) == (7, "never-sent")
        assert client.list_tube_used() == "default"
        with pytest.raises(JobLost):
            call(client, job)


def test_a_command_without_a_reply_in_time_loses_its_job() -> None:
    with (
        ScriptedServer([RESERVED, (b"touch 7\r\n", b"")]) as server,
        Client(server.address, timeout=0.1) as client,
    ):
        job = reserved(client)
        with pytest.raises(JobLost) as told:
            client.touch(job)
        assert told.value.outcome == "unknown"
        assert isinstance(told.value.__cause__, CommandTimeoutError)


def test_a_lost_job_that_is_reserved_again_is_held_again(
    client: Client, other: Client, tube: str
) -> None:
    job_id = other.put("x", tube=tube)
    lost = reserved(client)
    assert isinstance(lost.holder, Connection)
    lost.holder._wire.interrupt()  # the network goes
    with pytest.raises(JobLost):
        client.touch(lost)
    again = client.reserve(timeout=5)  # the server needs a moment to notice
    assert again is not None
    assert again.id == job_id
    with pytest.raises(JobLost):
        client.delete(lost)
    client.touch(again)
    client.delete(again)


def test_a_job_acts_on_the_connection_that_reserved_it_whichever_client_is_asked() -> None:
    with (
        ScriptedServer([RESERVED, (b"delete 7\r\n", b"DELETED\r\n")]) as theirs,
        ScriptedServer([]) as ours,
        Client(theirs.address) as holder,
        Client(ours.address) as client,
    ):
        client.delete(reserved(holder))


def test_a_job_of_a_closed_client() -> None:
    with ScriptedServer([RESERVED]) as server:
        client = Client(server.address)
        job = reserved(client)
        client.close()
        with pytest.raises(ClientClosedError):
            client.delete(job)
