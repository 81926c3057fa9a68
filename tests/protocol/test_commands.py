"""Each command of the protocol: its bytes, its own replies, and the refusals it may get."""

from __future__ import annotations

from typing import Any

import pytest

from beanrow import errors
from beanrow.errors import (
    ERROR_WORDS,
    BadFormatError,
    BadReplyError,
    BeanstalkError,
    CommandError,
    DeadlineSoon,
    JobTooBigError,
    NotFoundError,
)
from beanrow.protocol import commands
from beanrow.protocol.commands import BuriedId, Command
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats
from beanrow.protocol.values import Job

# The table of the protocol: every command as it is sent, with the replies that answer it.
JOB = b"1 2\r\nhi\r\n"
TABLE: list[tuple[Command[Any], bytes, dict[bytes, object]]] = [
    (
        commands.put(b"hi"),
        b"put 65536 0 60 2\r\nhi\r\n",
        {b"INSERTED 9\r\n": 9, b"BURIED 9\r\n": 9},
    ),
    (
        commands.put(b"", 1, 2, 3),
        b"put 1 2 3 0\r\n\r\n",
        {b"INSERTED 9\r\n": 9, b"BURIED 9\r\n": 9},
    ),
    (commands.use("t"), b"use t\r\n", {b"USING t\r\n": "t"}),
    (
        commands.reserve(),
        b"reserve\r\n",
        {
            b"RESERVED " + JOB: (1, b"hi"),
            b"TIMED_OUT\r\n": None,
            b"DEADLINE_SOON\r\n": DeadlineSoon,
        },
    ),
    (
        commands.reserve_with_timeout(1.5),
        b"reserve-with-timeout 2\r\n",
        {
            b"RESERVED " + JOB: (1, b"hi"),
            b"TIMED_OUT\r\n": None,
            b"DEADLINE_SOON\r\n": DeadlineSoon,
        },
    ),
    (commands.reserve_job(1), b"reserve-job 1\r\n", {b"RESERVED " + JOB: (1, b"hi")}),
    (commands.delete(1), b"delete 1\r\n", {b"DELETED\r\n": None}),
    (
        commands.release(1, 2, 3),
        b"release 1 2 3\r\n",
        {b"RELEASED\r\n": True, b"BURIED\r\n": False},
    ),
    (commands.bury(1, 2), b"bury 1 2\r\n", {b"BURIED\r\n": None}),
    (commands.touch(1), b"touch 1\r\n", {b"TOUCHED\r\n": None}),
    (commands.watch("t"), b"watch t\r\n", {b"WATCHING 2\r\n": 2}),
    (commands.ignore("t"), b"ignore t\r\n", {b"WATCHING 1\r\n": 1}),
    (commands.peek(1), b"peek 1\r\n", {b"FOUND " + JOB: (1, b"hi")}),
    (
        commands.peek_ready(),
        b"peek-ready\r\n",
        {b"FOUND " + JOB: (1, b"hi"), b"NOT_FOUND\r\n": None},
    ),
    (
        commands.peek_delayed(),
        b"peek-delayed\r\n",
        {b"FOUND " + JOB: (1, b"hi"), b"NOT_FOUND\r\n": None},
    ),
    (
        commands.peek_buried(),
        b"peek-buried\r\n",
        {b"FOUND " + JOB: (1, b"hi"), b"NOT_FOUND\r\n": None},
    ),
    (commands.kick(5), b"kick 5\r\n", {b"KICKED 3\r\n": 3}),
    (commands.kick_job(1), b"kick-job 1\r\n", {b"KICKED\r\n": None}),
    (commands.pause_tube("t", 3), b"pause-tube t 3\r\n", {b"PAUSED\r\n": None}),
    (commands.stats(), b"stats\r\n", {b"OK 11\r\n---\npid: 7\n\r\n": ServerStats(pid=7)}),
    (commands.stats_job(1), b"stats-job 1\r\n", {b"OK 10\r\n---\nid: 1\n\r\n": JobStats(id=1)}),
    (
        commands.stats_tube("t"),
        b"stats-tube t\r\n",
        {b'OK 14\r\n---\nname: "7"\n\r\n': TubeStats(name="7")},
    ),
    (commands.list_tubes(), b"list-tubes\r\n", {b"OK 8\r\n---\n- t\n\r\n": ["t"]}),
    (commands.list_tube_used(), b"list-tube-used\r\n", {b"USING t\r\n": "t"}),
    (commands.list_tubes_watched(), b"list-tubes-watched\r\n", {b"OK 8\r\n---\n- t\n\r\n": ["t"]}),
    (commands.quit(), b"quit\r\n", {}),
]
IDS = [request.split()[0].decode() for _, request, _ in TABLE]
REFUSALS: dict[bytes, type[CommandError]] = {
    b"OUT_OF_MEMORY": errors.OutOfMemoryError,
    b"INTERNAL_ERROR": errors.InternalError,
    b"DRAINING": errors.DrainingError,
    b"BAD_FORMAT": errors.BadFormatError,
    b"EXPECTED_CRLF": errors.ExpectedCrlfError,
    b"UNKNOWN_COMMAND": errors.UnknownCommandError,
    b"JOB_TOO_BIG": errors.JobTooBigError,
    b"FORBIDDEN": errors.ForbiddenError,
    b"NOT_FOUND": errors.NotFoundError,
    b"NOT_IGNORED": errors.NotIgnoredError,
}

ANY_MAY_GET = {b"FORBIDDEN", b"OUT_OF_MEMORY", b"INTERNAL_ERROR", b"BAD_FORMAT", b"UNKNOWN_COMMAND"}
OWN_REFUSALS = {
    "put": {b"EXPECTED_CRLF", b"JOB_TOO_BIG", b"DRAINING"},
    "ignore": {b"NOT_IGNORED"},
}
BY_ID_OR_NAME = {
    *("reserve-job", "delete", "release", "bury", "touch", "peek", "kick-job"),
    *("pause-tube", "stats-job", "stats-tube"),
}


def test_every_refusal_of_the_protocol_has_its_error() -> None:
    assert ERROR_WORDS == REFUSALS
    for word, error in REFUSALS.items():
        assert error.status.encode() == word
        assert issubclass(error, CommandError)


def test_every_exception_is_below_one_root() -> None:
    exceptions = [one for name in errors.__all__ if isinstance(one := getattr(errors, name), type)]
    assert len(exceptions) > 20
    assert [one for one in exceptions if not issubclass(one, BeanstalkError)] == []


def test_the_table_has_every_command() -> None:
    made = {
        name
        for name in commands.__all__
        if getattr(commands, name).__annotations__.get("return", "").startswith("Command[")
    }
    assert {name.replace("-", "_") for name in IDS} == made


@pytest.mark.parametrize(("command", "request_", "replies"), TABLE, ids=IDS)
def test_a_command_and_its_own_replies(
    command: Command[Any], request_: bytes, replies: dict[bytes, object]
) -> None:
    assert command.request == request_
    assert str(command) == request_.partition(b"\r\n")[0].decode()
    for reply, expected in replies.items():
        if expected is DeadlineSoon:
            with pytest.raises(DeadlineSoon):
                command.answer(reply)
            continue
        answer = command.answer(reply)
        if isinstance(answer, Job):
            answer = (answer.id, answer.body)
        assert answer == expected


@pytest.mark.parametrize(("command", "request_", "replies"), TABLE, ids=IDS)
def test_a_command_and_the_refusals_it_may_get(
    command: Command[Any], request_: bytes, replies: dict[bytes, object]
) -> None:
    own = {b"NOT_FOUND"} if command.name in BY_ID_OR_NAME else set()
    for word in ANY_MAY_GET | own | OWN_REFUSALS.get(command.name, set()):
        with pytest.raises(REFUSALS[word], match=word.decode()) as told:
            command.answer(word + b"\r\n")
        assert isinstance(told.value, CommandError)
        assert type(told.value) is REFUSALS[word]
        assert told.value.command == str(command)


def kind_of(reply: bytes) -> tuple[bytes, bool]:
    """Its word, and whether more follows: BURIED is an answer to bury, BURIED 9 one to put."""
    word, *more = reply.split()
    return word, bool(more)


@pytest.mark.parametrize(("command", "request_", "replies"), TABLE, ids=IDS)
def test_a_command_and_the_replies_to_others(
    command: Command[Any], request_: bytes, replies: dict[bytes, object]
) -> None:
    others = {reply for _, _, some in TABLE for reply in some} - {b"NOT_FOUND\r\n"}
    own = {kind_of(reply) for reply in replies}
    for reply in others:
        if kind_of(reply) in own:
            continue
        with pytest.raises(BadReplyError) as told:
            command.answer(reply)
        assert (told.value.command, told.value.reply) == (str(command), reply)


@pytest.mark.parametrize(("command", "request_", "replies"), TABLE, ids=IDS)
def test_a_reply_is_taken_whole_or_not_at_all(
    command: Command[Any], request_: bytes, replies: dict[bytes, object]
) -> None:
    """A client tries what came before it measures it."""
    for reply in [*replies, *(word + b"\r\n" for word in ANY_MAY_GET)]:
        for some in [*(reply[:size] for size in range(len(reply))), reply + b"x", reply * 2]:
            with pytest.raises(BadReplyError):
                command.answer(some)


def test_a_buried_id_says_so() -> None:
    assert isinstance(commands.put(b"x").answer(b"BURIED 5\r\n"), BuriedId)
    assert not isinstance(commands.put(b"x").answer(b"INSERTED 5\r\n"), BuriedId)


def test_a_body_too_big_tells_its_size() -> None:
    with pytest.raises(JobTooBigError) as told:
        commands.put(b"x" * 70_000).answer(b"JOB_TOO_BIG\r\n")
    assert (told.value.size, told.value.limit) == (70_000, None)
    assert len(str(told.value)) < 200, "the body is not in the message"


def test_a_missing_crlf_is_a_bad_format_too() -> None:
    with pytest.raises(BadFormatError):
        commands.put(b"x").answer(b"EXPECTED_CRLF\r\n")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (commands.delete(7), "delete 7: NOT_FOUND: .*another connection has reserved it"),
        (commands.touch(7), "touch 7: NOT_FOUND: .*its ttr may have run out"),
        (commands.reserve_job(7), "reserve-job 7: NOT_FOUND: .*reserved already"),
        (commands.kick_job(7), "kick-job 7: NOT_FOUND: .*neither buried nor delayed"),
        (commands.stats_tube("t"), "stats-tube t: NOT_FOUND: .*empty and unused"),
    ],
)
def test_not_found_says_what_it_means_here(command: Command[Any], words: str) -> None:
    with pytest.raises(NotFoundError, match=words):
        command.answer(b"NOT_FOUND\r\n")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (commands.put(b"x"), b"INSERTED x\r\n"),
        (commands.put(b"x"), b"INSERTED \r\n"),
        (commands.put(b"x"), b"BURIED x\r\n"),
        (commands.use("t"), b"USING \xff\r\n"),
        (commands.watch("t"), b"WATCHING many\r\n"),
        (commands.kick(1), b"KICKED\r\n"),
        (commands.reserve(), b"RESERVED 1\r\nx\r\n"),
        (commands.reserve(), b"RESERVED x 1\r\nx\r\n"),
        (commands.reserve(), b"RESERVED 1 1\r\nxyz"),
        (commands.stats(), b"OK 3\r\nabcde"),
        (commands.delete(1), b"deleted\r\n"),
        (commands.quit(), b"BYE\r\n"),
    ],
)
def test_a_malformed_reply_is_shown(command: Command[Any], reply: bytes) -> None:
    with pytest.raises(BadReplyError) as told:
        command.answer(reply)
    assert told.value.reply == reply


def test_a_long_bad_reply_is_cut_short() -> None:
    with pytest.raises(BadReplyError) as told:
        commands.delete(1).answer(b"x" * 100_000)
    assert len(str(told.value)) < 200
    assert len(told.value.reply) == 100_000
