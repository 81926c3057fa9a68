"""What a server would refuse or misread is refused before a byte is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from beanrow import BadTypeError, BadValueError, BeanstalkError, Client
from tests.client.scripted import ScriptedServer

Call = Callable[[Client], object]
NAN = float("nan")
ANY: Any = None


def tube_calls(tube: Any) -> list[Call]:
    return [
        lambda client: client.put("x", tube=tube),
        lambda client: client.use(tube),
        lambda client: client.watch(tube),
        lambda client: client.ignore(tube),
        lambda client: client.stats_tube(tube),
        lambda client: client.pause_tube(tube, 1),
    ]


def priority_calls(priority: Any) -> list[Call]:
    return [
        lambda client: client.put("x", priority=priority),
        lambda client: client.release(1, priority=priority),
        lambda client: client.bury(1, priority=priority),
    ]


def time_calls(seconds: Any) -> list[Call]:
    return [
        lambda client: client.put("x", delay=seconds),
        lambda client: client.put("x", ttr=seconds),
        lambda client: client.release(1, delay=seconds),
        lambda client: client.pause_tube("t", seconds),
        lambda client: client.reserve(timeout=seconds),
    ]


def job_calls(job: Any) -> list[Call]:
    return [
        lambda client: client.delete(job),
        lambda client: client.release(job),
        lambda client: client.bury(job),
        lambda client: client.touch(job),
        lambda client: client.peek(job),
        lambda client: client.kick_job(job),
        lambda client: client.reserve_job(job),
        lambda client: client.stats_job(job),
    ]


def refused(calls: list[Call], error: type[BeanstalkError], words: str) -> None:
    """Each call raises this error with these words, and the server hears nothing."""
    with ScriptedServer([]) as server, Client(server.address) as client:
        for call in calls:
            with pytest.raises(error, match=words):
                call(client)


@pytest.mark.parametrize(
    ("tube", "words"),
    [
        ("", "is empty"),
        ("t" * 201, "has 201 bytes, at most 200"),
        ("-tube", "begins with '-'"),
        ("a\r\ndelete 1", "may hold only"),
        ("a\n", "may hold only"),
        ("a b", "may hold only"),
        ("a\0", "may hold only"),
        ("tübe", "not ASCII"),
    ],
)
def test_tube_names(tube: str, words: str) -> None:
    refused(tube_calls(tube), BadValueError, words)


@pytest.mark.parametrize("tube", [b"tube", 5, True])
def test_a_tube_name_is_text(tube: object) -> None:
    refused(tube_calls(tube), BadTypeError, "a tube name is a str")


def test_no_name_is_no_tube() -> None:
    refused(tube_calls(None)[1:], BadTypeError, "a tube name is a str")


@pytest.mark.parametrize("priority", [-1, 2**32])
def test_priorities_have_a_range(priority: int) -> None:
    refused(priority_calls(priority), BadValueError, rf"priority {priority} .* 0\.\.4294967295")


@pytest.mark.parametrize("priority", [True, 1.0, "1", None])
def test_a_priority_is_an_int(priority: object) -> None:
    refused(priority_calls(priority), BadTypeError, "priority is an int")


@pytest.mark.parametrize(
    "seconds", [-1, -0.1, 2**32, NAN, float("inf"), timedelta(seconds=-1), timedelta(days=99999)]
)
def test_times_have_a_range(seconds: object) -> None:
    refused(time_calls(seconds), BadValueError, r"is not in 0\.\.\d+ seconds")


@pytest.mark.parametrize("seconds", [True, "1", b"1"])
def test_a_time_is_a_number_or_a_timedelta(seconds: object) -> None:
    refused(time_calls(seconds), BadTypeError, "a number of seconds or a timedelta")


def test_a_time_is_not_none() -> None:
    refused(time_calls(None)[:-1], BadTypeError, "a number of seconds or a timedelta")


def test_settings_are_checked_after_equal_good_ones_too() -> None:
    """True == 1.0 == 1: what was checked once lets nothing through that only equals it."""
    script = [
        (b"stats\r\n", b"OK 4\r\n---\n\r\n"),
        (b"put 1 1 1 1\r\nx\r\n", b"INSERTED 1\r\n"),
    ]
    settings: list[dict[str, Any]] = [
        {"priority": True, "delay": 1, "ttr": 1},
        {"priority": 1.0, "delay": 1, "ttr": 1},
        {"priority": 1, "delay": True, "ttr": 1},
        {"priority": 1, "delay": 1, "ttr": True},
        {"priority": 1, "delay": [], "ttr": 1},
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        client.put("x", priority=1, delay=1, ttr=1)
        for setting in settings:
            with pytest.raises(BadTypeError):
                client.put("x", **setting)


def test_a_reserve_has_the_range_of_the_daemon() -> None:
    """From 2**31 on daemon 1.12 waits for ever and 1.13 answers BAD_FORMAT."""
    refused([lambda client: client.reserve(timeout=2**31)], BadValueError, r"0\.\.2147483647")


@pytest.mark.parametrize("job", ["1", 1.0, True, None, b"1"])
def test_a_job_is_a_job_or_an_id(job: object) -> None:
    refused(job_calls(job), BadTypeError, "a job is a Job or an id")


@pytest.mark.parametrize("job", [-1, 2**64])
def test_ids_have_a_range(job: int) -> None:
    refused(job_calls(job), BadValueError, "job id")


@pytest.mark.parametrize("bound", [-1, 2**32])
def test_a_kick_has_a_range(bound: int) -> None:
    """The daemon kicks everything at -1 and nothing at 2**32."""
    refused([lambda client: client.kick(bound)], BadValueError, "bound")


@pytest.mark.parametrize("bound", [True, 1.5, "1"])
def test_a_kick_is_an_int(bound: Any) -> None:
    refused([lambda client: client.kick(bound)], BadTypeError, "bound is an int")


@pytest.mark.parametrize("body", [5, None, ["x"], {"a": 1}])
def test_a_body_is_bytes_or_text(body: Any) -> None:
    refused([lambda client: client.put(body)], BadTypeError, "a body is bytes or str")


def test_a_body_that_the_encoding_does_not_know() -> None:
    with (
        ScriptedServer([]) as server,
        Client(server.address, encoding="ascii") as client,
        pytest.raises(UnicodeEncodeError),
    ):
        client.put("schön")


@pytest.mark.parametrize("timeout", [0, 0.0, -1, NAN, float("inf"), timedelta()])
def test_a_timeout_is_more_than_nothing(timeout: float) -> None:
    with pytest.raises(BadValueError, match="timeout"):
        Client(timeout=timeout)


@pytest.mark.parametrize("timeout", [None, "10", True])
def test_a_timeout_is_a_time(timeout: Any) -> None:
    with pytest.raises(BadTypeError, match="timeout"):
        Client(timeout=timeout)


@pytest.mark.parametrize("encoding", ["no-such-encoding", "base64"])
def test_an_encoding_is_one_of_text(encoding: str) -> None:
    with pytest.raises(BadValueError, match=encoding):
        Client(encoding=encoding)


def test_an_encoding_is_a_name() -> None:
    with pytest.raises(BadTypeError, match=r"job\.body gives bytes"):
        Client(encoding=ANY)


def test_bad_input_is_a_value_or_type_error_to_those_who_do_not_know_us() -> None:
    client = Client()
    with pytest.raises(ValueError, match="is empty"):
        client.use("")
    with pytest.raises(TypeError, match="a str"):
        client.use(ANY)
