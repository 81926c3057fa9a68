"""Limits, names, numbers and durations, where they begin and end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from beanrow.errors import BadTypeError, BadValueError
from beanrow.protocol.values import (
    MAX_ID,
    MAX_UINT32,
    Job,
    body_bytes,
    is_tube_name,
    job_id,
    priority_number,
    seconds,
    tube_name,
)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+/;.$_()"


def test_the_letters_of_a_tube_name_are_these_and_no_others() -> None:
    allowed = {chr(byte) for byte in range(256) if is_tube_name(b"x" + bytes([byte]))}
    assert allowed == set(LETTERS)
    first = {chr(byte) for byte in range(256) if is_tube_name(bytes([byte]))}
    assert first == set(LETTERS) - {"-"}


@pytest.mark.parametrize("size", [1, 200])
def test_a_tube_name_has_1_to_200_bytes(size: int) -> None:
    assert tube_name("t" * size) == b"t" * size


@pytest.mark.parametrize("name", ["", "t" * 201, "t\n", "t\r\n", "-", "é"])
def test_no_tube_names(name: str) -> None:
    with pytest.raises(BadValueError):
        tube_name(name)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (0, 0),
        (0.0, 0),
        (0.001, 1),
        (1, 1),
        (1.0, 1),
        (1.000001, 2),
        (timedelta(), 0),
        (timedelta(microseconds=1), 1),
        (timedelta(minutes=2), 120),
        (MAX_UINT32, MAX_UINT32),
    ],
)
def test_durations_are_rounded_up(given: float, sent: int) -> None:
    assert seconds(given, "delay") == sent


def test_a_duration_has_a_limit_of_its_own_where_one_is_given() -> None:
    assert seconds(10, "timeout", 10) == 10
    with pytest.raises(BadValueError, match=r"timeout 10\.5 is not in 0\.\.10 seconds"):
        seconds(10.5, "timeout", 10)


def test_priorities_end_at_32_bits() -> None:
    assert [priority_number(0), priority_number(MAX_UINT32)] == [0, MAX_UINT32]
    with pytest.raises(BadValueError):
        priority_number(MAX_UINT32 + 1)


def test_ids_end_at_64_bits() -> None:
    assert job_id(MAX_ID) == job_id(Job(MAX_ID, b"")) == MAX_ID
    with pytest.raises(BadValueError):
        job_id(MAX_ID + 1)
    with pytest.raises(BadTypeError):
        job_id(True)


def test_bodies() -> None:
    assert body_bytes("é", "latin-1") == b"\xe9"
    assert body_bytes(b"\xff", "ascii") == b"\xff"
    assert body_bytes(bytearray(b"a"), "ascii") == b"a"  # type: ignore[arg-type]
    with pytest.raises(BadTypeError, match="a body is bytes or str, not int"):
        body_bytes(5, "utf-8")  # type: ignore[arg-type]


def test_a_job_shows_itself_briefly() -> None:
    assert repr(Job(7, b"hello")) == "Job(id=7, body=b'hello')"
    assert len(repr(Job(7, b"x" * 10_000))) < 100
