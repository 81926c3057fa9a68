"""The server inside a test: who may speak to it, what it tells, how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from beanrow import App, BadValueError, ClientClosedError, JobTooBigError
from beanrow.testing import ANY, Beanstalk


def test_any_program_may_speak_to_it(beanstalk: Beanstalk) -> None:
    program = (
        "import sys; from beanrow import Client; "
        "client = Client(sys.argv[1]); print(client.put('from afar', tube='emails'))"
    )
    told = subprocess.check_output([sys.executable, "-c", program, beanstalk.address])
    assert int(told) == 1
    beanstalk.assert_put("emails", "from afar")


def test_it_is_the_whole_protocol(beanstalk: Beanstalk) -> None:
    host, _, port = beanstalk.address.rpartition(":")
    with socket.create_connection((host, int(port))) as talk:
        talk.sendall(b"put 1 0 60 1\r\nx\r\nnonsense\r\nreserve\r\nreserve-job 1\r\nquit\r\n")
        with talk.makefile("rb") as replies:
            assert replies.read() == (
                b"INSERTED 1\r\nUNKNOWN_COMMAND\r\nRESERVED 1 1\r\nx\r\nNOT_FOUND\r\n"
            )


def test_each_is_alone() -> None:
    with Beanstalk() as one, Beanstalk() as other:
        one.client().put("x")
        assert one.address != other.address
        assert (len(one.jobs()), len(other.jobs())) == (1, 0)


def test_its_largest_body() -> None:
    with Beanstalk(max_job_size=3) as beanstalk, pytest.raises(JobTooBigError):
        beanstalk.client().put("four")


def test_what_it_gave_out_it_takes_back() -> None:
    app = App("somewhere:1")
    with Beanstalk() as beanstalk:
        client = beanstalk.client()
        client.put("x")
        beanstalk.use_for(app)
        assert str(app.address) == beanstalk.address
    beanstalk.close()  # twice is fine
    assert str(app.address) == "somewhere:1"
    with pytest.raises(ClientClosedError):
        client.put("x")
    with pytest.raises(RuntimeError, match="has ended"):
        beanstalk.jobs()
    with pytest.raises(RuntimeError, match="has ended"):
        beanstalk.clock.advance(1)
    assert "beanstalk" not in {thread.name for thread in threading.enumerate()}


def test_a_fault_of_its_own_is_told() -> None:
    beanstalk = Beanstalk()

    def broken() -> None:
        raise ZeroDivisionError

    beanstalk._loop.call(lambda: beanstalk._loop.call_after(0, broken))
    beanstalk.jobs()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        beanstalk.close()


def test_reset(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("x", tube="emails", delay=10)
    beanstalk.faults.drop("put")
    beanstalk.clock.advance(5)
    beanstalk.reset()
    assert (beanstalk.jobs(), beanstalk.puts(), beanstalk.faults.waiting) == ([], [], [])
    assert beanstalk.clock.now == 0
    assert beanstalk.client().put("y") == 1


# -- what it has -------------------------------------------------------------------------------


def test_jobs_and_puts(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put(b"\xff", tube="a", priority=5, delay=7, ttr=9)
    client.put('[1, "ü"]', tube="b")
    client.put("gone", tube="b", ttr=0)
    client.delete(3)
    client.watch("b")
    client.bury(client.reserve_job(2), priority=77)
    assert beanstalk.jobs() == beanstalk.jobs("a") + beanstalk.jobs("b", "buried")
    assert tuple(beanstalk.jobs("a")[0]) == (1, "a", b"\xff", "delayed", 5, 7, 9)
    assert beanstalk.jobs("a")[0].text == "\\xff"
    assert beanstalk.jobs("a", "ready") == []
    (buried,) = beanstalk.jobs("b")
    assert (buried.json, buried.priority) == ([1, "ü"], 77)
    assert [(one.id, one.state, one.priority, one.ttr) for one in beanstalk.puts("b")] == [
        (2, "buried", 65536, 60),
        (3, "deleted", 65536, 1),
    ]


def test_puts_of_every_kind_are_seen(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    client.put("plain")
    client.put("elsewhere", tube="emails")
    client.put_many(["many 1", "many 2"])
    for _ in range(2):
        client.put_unique("k", "once")
    bodies = [one.text for one in beanstalk.puts()]
    assert bodies == ["plain", "elsewhere", "many 1", "many 2", "once"]


def passes(check: Callable[[], object]) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "terms", "holds"),
    [
        (ANY, {}, True),
        ('{"n": 1}', {}, True),
        (b'{"n": 1}', {}, True),
        ({"n": 1}, {}, True),
        ({"n": 1}, {"priority": 10, "delay": 0, "ttr": 60, "count": 1}, True),
        ("{}", {}, False),
        (b"{}", {}, False),
        ({"n": 2}, {}, False),
        (None, {}, False),
        (object(), {}, None),
        ({"n": 1}, {"priority": 11}, False),
        ({"n": 1}, {"delay": 1}, False),
        ({"n": 1}, {"ttr": 61}, False),
        (ANY, {"count": 1}, False),
        (ANY, {"count": 2}, True),
    ],
)
def test_assert_put(
    beanstalk: Beanstalk, body: Any, terms: dict[str, int], holds: bool | None
) -> None:
    client = beanstalk.client()
    client.put('{"n": 1}', tube="emails", priority=10)
    client.put("no JSON", tube="emails")
    if holds is None:
        with pytest.raises(TypeError, match="JSON"):
            beanstalk.assert_put("emails", body)
        return
    assert passes(lambda: beanstalk.assert_put("emails", body, **terms)) is holds
    if not terms:
        assert passes(lambda: beanstalk.assert_not_put("emails", body)) is not holds
    assert passes(lambda: beanstalk.assert_not_put("other"))


def test_what_a_failed_assertion_tells(beanstalk: Beanstalk) -> None:
    with pytest.raises(AssertionError, match="nothing was put anywhere"):
        beanstalk.assert_put("emails", "x")
    client = beanstalk.client()
    client.put_many([f"{n}" for n in range(12)], tube="emials")
    client.put("x" * 1000, tube="long")
    with pytest.raises(AssertionError, match=r"there were puts into emials, long"):
        beanstalk.assert_put("emails", "x")
    with pytest.raises(AssertionError, match=r"12 puts, not 1, into tube 'emials' of any") as told:
        beanstalk.assert_put("emials", count=1)
    assert "\n  ... and 2 before" in str(told.value)
    assert "job 12, ready, priority 65536, delay 0, ttr 60: 11" in str(told.value)
    with pytest.raises(AssertionError, match=r"x\.\.\.$") as told:
        beanstalk.assert_not_put("long")
    assert len(str(told.value)) < 400


def test_a_count_of_none_is_another_assertion(beanstalk: Beanstalk) -> None:
    with pytest.raises(BadValueError, match="assert_not_put"):
        beanstalk.assert_put("emails", count=0)


def test_assert_jobs(beanstalk: Beanstalk) -> None:
    beanstalk.client().put("x", tube="emails")
    beanstalk.assert_jobs("emails", ready=1)
    beanstalk.assert_jobs("other")
    with pytest.raises(
        AssertionError, match=r"'emails' has 1 ready, 0 reserved.*, not 0 ready"
    ) as t:
        beanstalk.assert_jobs("emails", delayed=1)
    assert "job 1, ready" in str(t.value)
    with pytest.raises(TypeError, match="delaid"):
        beanstalk.assert_jobs("emails", delaid=1)


def test_wait_for(beanstalk: Beanstalk) -> None:
    client = beanstalk.client()
    later = threading.Timer(0.05, lambda: client.put("x", tube="emails"))
    later.start()
    beanstalk.wait_for("emails", ready=1)
    later.join()
    with pytest.raises(AssertionError, match=r"0\.01 s tube 'emails' has 1 ready, not 2 ready"):
        beanstalk.wait_for("emails", 0.01, ready=2)
    for figures in ({}, {"redy": 1}):
        with pytest.raises(TypeError, match="figure"):
            beanstalk.wait_for("emails", **figures)


@pytest.mark.parametrize("tube", ["", "-x", "a b"])
def test_a_tube_that_none_can_be(beanstalk: Beanstalk, tube: str) -> None:
    for ask in (beanstalk.jobs, beanstalk.puts, beanstalk.assert_put, beanstalk.assert_jobs):
        with pytest.raises(BadValueError):
            ask(tube)
    with pytest.raises(BadValueError, match="state 'redy'"):
        beanstalk.jobs("emails", "redy")


def test_a_worker_that_does_not_end_is_told(
    beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beanrow.testing.beanstalk._PATIENCE", 0.1)
    app, began, end = App(), threading.Event(), threading.Event()

    @app.task(tube="slow")
    def slow(n: int) -> None:
        began.set()
        end.wait(20)

    working = beanstalk.working(app)
    working.__enter__()
    slow.put(1)
    assert began.wait(10)
    with pytest.raises(RuntimeError, match="still runs"):
        working.__exit__(None, None, None)
    beanstalk.wait_for("slow", 10, ready=1)  # it was given back
    end.set()
