"""What a caller may hook, and what happens where it does not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from beanrow import (
    BeanstalkError,
    BuriedId,
    BuriedJob,
    Client,
    DeadlineSoon,
    DrainingError,
    InternalError,
    JobTooBigError,
    NotFoundError,
    OutOfMemoryError,
)
from tests.client.scripted import ANY_STATS, Script, ScriptedServer, cut
from tests.servers import Server

PUT = b"put 65536 0 60 1\r\nx\r\n"
OUT_OF_MEMORY = b"OUT_OF_MEMORY\r\n"
SOON = b"DEADLINE_SOON\r\n"


# -- out of memory: the Retry restart of cl-beanstalk ------------------------------


def test_out_of_memory_without_hook_is_an_error() -> None:
    with ScriptedServer([ANY_STATS, (PUT, OUT_OF_MEMORY)]) as server:
        with Client(server.address) as client, pytest.raises(OutOfMemoryError) as told:
            client.put("x")
        assert told.value.command == "put 65536 0 60 1"


def test_out_of_memory_with_a_hook_that_says_try_again() -> None:
    asked: list[OutOfMemoryError] = []

    def wait(error: OutOfMemoryError) -> bool:
        asked.append(error)
        return True

    script = [ANY_STATS, (PUT, OUT_OF_MEMORY), (PUT, OUT_OF_MEMORY), (PUT, b"INSERTED 3\r\n")]
    with ScriptedServer(script) as server, Client(server.address, on_out_of_memory=wait) as client:
        assert client.put("x") == 3
    assert [error.command for error in asked] == ["put 65536 0 60 1"] * 2


def test_out_of_memory_with_a_hook_that_gives_up() -> None:
    with (
        ScriptedServer([(b"touch 1\r\n", OUT_OF_MEMORY)]) as server,
        Client(server.address, on_out_of_memory=lambda _: False) as client,
        pytest.raises(OutOfMemoryError, match="touch 1: OUT_OF_MEMORY"),
    ):
        client.touch(1)


def test_a_hook_may_use_the_client() -> None:
    script = [
        (b"watch t\r\n", OUT_OF_MEMORY),
        (b"kick 5\r\n", b"KICKED 0\r\n"),
        (b"watch t\r\n", b"WATCHING 2\r\n"),
    ]
    with ScriptedServer(script) as server:
        client = Client(server.address, on_out_of_memory=lambda _: client.kick(5) == 0)
        assert client.watch("t") == 2
        client.close()


def test_a_thousand_tries_are_no_recursion() -> None:
    script = [(b"touch 1\r\n", OUT_OF_MEMORY)] * 2000 + [(b"touch 1\r\n", b"TOUCHED\r\n")]
    with (
        ScriptedServer(script) as server,
        Client(server.address, on_out_of_memory=lambda _: True) as client,
    ):
        client.touch(1)


# -- use and put in one write, and the use is refused ------------------------------


def test_a_put_into_the_wrong_tube_is_taken_back() -> None:
    script = [
        ANY_STATS,
        (b"use t\r\n" + PUT, OUT_OF_MEMORY + b"INSERTED 7\r\n"),
        (b"delete 7\r\n", b"DELETED\r\n"),
        (b"use t\r\n" + PUT, b"USING t\r\nINSERTED 8\r\n"),
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        with pytest.raises(OutOfMemoryError, match="use t: OUT_OF_MEMORY") as told:
            client.put("x", tube="t")
        assert not hasattr(told.value, "__notes__")
        assert client.put("x", tube="t") == 8


def test_a_put_into_the_wrong_tube_that_a_worker_took_is_told() -> None:
    script = [
        ANY_STATS,
        (b"use t\r\n" + PUT, OUT_OF_MEMORY + b"INSERTED 7\r\n"),
        (b"delete 7\r\n", b"NOT_FOUND\r\n"),
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        with pytest.raises(OutOfMemoryError) as told:
            client.put("x", tube="t")
        assert "ran in tube 'default': it gave 7" in told.value.__notes__[0]


def test_a_kick_in_the_wrong_tube_is_told() -> None:
    script: Script = [
        (b"use t\r\n", b"USING t\r\n"),
        (b"kick-job 1\r\n", cut),
    ]
    again = [(b"use t\r\nkick 5\r\n", OUT_OF_MEMORY + b"KICKED 2\r\n")]
    with ScriptedServer(script, again) as server, Client(server.address) as client:
        client.use("t")
        with pytest.raises(BeanstalkError):
            client.kick_job(1)
        with pytest.raises(OutOfMemoryError) as told:
            client.kick(5)
        assert "'kick 5' was sent behind it and ran in tube 'default'" in told.value.__notes__[0]


def test_both_refused() -> None:
    script = [ANY_STATS, (b"use t\r\n" + PUT, OUT_OF_MEMORY * 2)]
    with (
        ScriptedServer(script) as server,
        Client(server.address) as client,
        pytest.raises(OutOfMemoryError, match="use t"),
    ):
        client.put("x", tube="t")


# -- other refusals that no test can make a daemon give ----------------------------


def test_draining_and_internal_error() -> None:
    script = [
        ANY_STATS,
        (PUT, b"DRAINING\r\n"),
        (PUT, b"INTERNAL_ERROR\r\n"),
        (PUT, b"INSERTED 1\r\n"),
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        with pytest.raises(DrainingError, match="takes no new jobs"):
            client.put("x")
        with pytest.raises(InternalError, match="a fault in itself"):
            client.put("x")
        assert client.put("x") == 1


@pytest.mark.parametrize("stats", [ANY_STATS[1], b"INTERNAL_ERROR\r\n", b"OK 1\r\nx\r\n"])
def test_a_server_that_does_not_tell_its_limit_may_still_have_one(stats: bytes) -> None:
    with (
        ScriptedServer([(b"stats\r\n", stats), (PUT, b"JOB_TOO_BIG\r\n")]) as server,
        Client(server.address) as client,
    ):
        with pytest.raises(JobTooBigError) as told:
            client.put("x")
        assert (told.value.size, told.value.limit) == (1, None)


# -- buried jobs ------------------------------------------------------------------


def test_a_buried_job_is_warned_of() -> None:
    with (
        ScriptedServer([ANY_STATS, (PUT, b"BURIED 9\r\n")]) as server,
        Client(server.address) as client,
    ):
        with pytest.warns(BuriedJob, match="BURIED 9") as told:
            job_id = client.put("x")
        assert job_id == 9
        assert isinstance(job_id, BuriedId)
        assert told[0].filename == __file__, "the warning points at the caller"


def test_a_buried_job_goes_to_the_hook() -> None:
    buried: list[BuriedJob] = []
    script = [ANY_STATS, (PUT, b"BURIED 9\r\n"), (b"release 8 65536 0\r\n", b"BURIED\r\n")]
    with (
        ScriptedServer(script) as server,
        Client(server.address, on_buried_job=buried.append) as client,
    ):
        assert client.put("x") == 9
        assert client.release(8) is False
    assert [signal.job_id for signal in buried] == [9, 8]


# -- a deadline is near -----------------------------------------------------------


def test_the_hook_saves_the_job_and_the_reserve_goes_on(server: Server, tube: str) -> None:
    def save(signal: DeadlineSoon) -> None:
        client.delete(held)

    client = Client(server.address, on_deadline_soon=save)
    client.watch(tube)
    client.put("held", tube=tube, ttr=1)
    held = client.reserve()
    assert client.reserve(timeout=0) is None
    with pytest.raises(NotFoundError):
        client.peek(held)
    client.close()


def test_after_the_hook_the_reserve_goes_on_for_the_time_left() -> None:
    now = [0.0]
    script = [
        (b"reserve-with-timeout 10\r\n", SOON),
        (b"reserve-with-timeout 6\r\n", b"TIMED_OUT\r\n"),
    ]
    with (
        ScriptedServer(script) as server,
        Client(
            server.address,
            clock=lambda: now[0],
            on_deadline_soon=lambda _: now.append(now.pop() + 4.5),
        ) as client,
    ):
        assert client.reserve(timeout=10) is None


def test_a_second_warning_in_one_reserve_is_raised() -> None:
    """A hook that saves nothing must not make the client ask for ever."""
    warned: list[DeadlineSoon] = []
    script = [(b"reserve-with-timeout 0\r\n", SOON)] * 4
    with (
        ScriptedServer(script) as server,
        Client(server.address, on_deadline_soon=warned.append) as client,
    ):
        for count in (1, 2):
            with pytest.raises(DeadlineSoon):
                client.reserve(timeout=0)
            assert len(warned) == count


def test_without_hook_it_is_raised_once_and_not_again_by_us(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.watch(tube)
        client.put("held", tube=tube, ttr=1)
        held = client.reserve()
        with pytest.raises(DeadlineSoon):
            client.reserve()
        client.delete(held)


# -- long waits -------------------------------------------------------------------


def test_a_reserve_without_timeout_is_rounds_of_a_minute() -> None:
    minute = b"reserve-with-timeout 60\r\n"
    script = [
        (minute, b"TIMED_OUT\r\n"),
        (minute, b"TIMED_OUT\r\n"),
        (minute, b"RESERVED 1 0\r\n\r\n"),
    ]
    with ScriptedServer(script) as server, Client(server.address) as client:
        assert client.reserve().id == 1


def test_a_long_timeout_is_rounds_too() -> None:
    now = [0.0]

    def times_out(peer: Any) -> None:
        now[0] += 60
        peer.sendall(b"TIMED_OUT\r\n")

    script: Script = [
        (b"reserve-with-timeout 60\r\n", times_out),
        (b"reserve-with-timeout 60\r\n", times_out),
        (b"reserve-with-timeout 5\r\n", b"TIMED_OUT\r\n"),
    ]
    with ScriptedServer(script) as server, Client(server.address, clock=lambda: now[0]) as client:
        assert client.reserve(timeout=125) is None


# -- the wire trace ---------------------------------------------------------------


def test_the_trace_shows_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "beanrow.wire")
    long = b"y" * 1000
    script: Script = [
        ANY_STATS,
        (PUT, b"INSERTED 1\r\n"),
        (b"use t\r\nput 65536 0 60 1000\r\n" + long + b"\r\n", b"USING t\r\nINSERTED 2\r\n"),
        (b"peek 1\r\n", b"FOUND 1 3\r\n\xff\r\n\r\n"),
        (b"quit\r\n", cut),
    ]
    with ScriptedServer(script) as server:
        client = Client(server.address, trace=True)
        client.put("x")
        client.put(long, tube="t")
        client.peek(1)
        client.quit()
    lines = [record.getMessage().removeprefix(f"{server.address} ") for record in caplog.records]
    shown = repr(b"y" * 60) + "... (1000 bytes)"
    assert lines == [
        "> stats",
        "< OK 4 b'---\\n'",
        "> put 65536 0 60 1 b'x'",
        "< INSERTED 1",
        "> use t",
        f"> put 65536 0 60 1000 {shown}",
        "< USING t",
        "< INSERTED 2",
        "> peek 1",
        "< FOUND 1 3 b'\\xff\\r\\n'",
        "> quit",
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_no_trace_unless_asked_for(caplog: pytest.LogCaptureFixture, server: Server) -> None:
    caplog.set_level(logging.DEBUG, "beanrow.wire")
    with Client(server.address) as client:
        client.list_tubes()
    assert caplog.records == []
