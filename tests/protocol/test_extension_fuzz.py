"""Our extensions under any bytes: a server reads every line and goes on, a client reads or refuses."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanrow import BadReplyError, BeanstalkError
from beanrow.engine.engine import Engine
from beanrow.protocol import requests
from beanrow.protocol.capabilities import CAPABILITIES, JOBS_WITH_TUBE, MORE_STATS
from beanrow.protocol.commands import Command
from beanrow.protocol.extended_lines import parse_extended_line
from beanrow.protocol.extensions import (
    capabilities,
    list_clients,
    list_jobs,
    list_leases,
    list_slow,
    list_times,
    resume,
    session,
)
from beanrow.protocol.replies import ok, resumed
from beanrow.protocol.request_stream import RequestStream
from beanrow.server.connection import Connection

WORDS = [word.encode() for word in sorted({*CAPABILITIES, "capabilities", "put", "use", "reserve"})]
FIELDS = st.one_of(
    st.sampled_from([b"default", b"a", b"0", b"1", b"5", b"86400", b"ready", b"reserved", b"t1"]),
    st.sampled_from([b"", b"-1", b"+1", b"4294967296", b"18446744073709551616", b"9" * 210]),
    st.sampled_from([b"x" * 200, b"x" * 201, b"\xff", b"\0", b"\xc2\xb2", b"1_0", b"\t", b"-a"]),
    st.binary(max_size=8),
)
LINES = st.builds(
    lambda word, fields, gap: gap.join([word, *fields]),
    st.sampled_from(WORDS),
    st.lists(FIELDS, max_size=7),
    st.sampled_from([b" ", b" ", b" ", b"  ", b"\t"]),
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\nx\r\n", b"\r\nhello\r\n"])
PIECES = st.builds(lambda line, end: line + end, LINES, ENDS)
ASKED = capabilities(*CAPABILITIES).request


@settings(max_examples=300)
@given(LINES)
def test_any_line_is_read(line: bytes) -> None:
    parsed = parse_extended_line(line, CAPABILITIES)
    word = line.partition(b" ")[0].decode("latin-1")
    is_ours = word in CAPABILITIES - {JOBS_WITH_TUBE, MORE_STATS}  # which are no requests
    assert isinstance(parsed, tuple) if is_ours else parsed is None


@given(st.lists(PIECES, max_size=15), st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_what_a_stream_means_does_not_depend_on_its_pieces(
    pieces: list[bytes], cuts: list[int]
) -> None:
    data = ASKED + b"".join(pieces)
    whole, stream, at, turn = RequestStream(5), RequestStream(5), 0, 0
    whole.feed(data)
    expected, found = _all(whole), []
    while at < len(data):
        size = cuts[turn % len(cuts)]
        stream.feed(data[at : at + size])
        found += _all(stream)
        at, turn = at + size, turn + 1
    assert [(type(one), one) for one in found] == [(type(one), one) for one in expected]


def _all(stream: RequestStream) -> list[requests.Request]:
    found = []
    while (request := stream.next()) is not None:
        found.append(request)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), PIECES), max_size=40))
def test_a_server_answers_whatever_it_is_told(said: list[tuple[int, bytes]]) -> None:
    engine, now = Engine(0, max_job_size=5), 0
    engine.offer_sessions(lambda: f"t{now}")
    connections = [Connection(engine) for _ in range(3)]
    for connection in connections:
        connection.receive(ASKED, now)
    for number, data in said:
        now += 10**8
        engine.tick(now)
        connection = connections[number]
        if connection.session.closing:
            connection.session.replies.clear()
            connection.close(now)
            connections[number] = connection = Connection(engine)
            connection.receive(ASKED, now)
        connection.receive(data, now)
        for session_ in engine.outbox:
            session_.replies.clear()
        engine.outbox.clear()
    for connection in connections:
        connection.close(now)
    engine.tick(now + 10**18)
    assert engine.counters.connections == sum(tube.reserved for tube in engine.tube_order) == 0
    assert list(engine.tokens.sessions()) == []


# -- what a client is told --------------------------------------------------------

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "after-id", "tube", "state", "bytes", "extra", "time-left", "client"])
ROWS = st.one_of(
    st.dictionaries(KEYS, VALUES, max_size=8).map(json.dumps),
    VALUES.map(json.dumps),
    st.text(max_size=20),
    st.sampled_from(["[" * 5000, '{"id":' * 5000, '{"after-id":1e400}', "{}", ""]),
)
DOCUMENTS = st.lists(ROWS, max_size=5).map(lambda rows: "\n".join(rows).encode("utf-8", "replace"))
LISTS = [list_jobs("a", "ready"), list_leases(), list_clients(), list_slow(), list_times("a")]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(LISTS), DOCUMENTS)
def test_any_list_is_a_value_or_an_error_of_ours(command: Command[object], document: bytes) -> None:
    with suppress(BeanstalkError):
        command.answer(ok(document))


@pytest.mark.parametrize("after", [-1, 0, 7])
def test_a_list_that_does_not_go_on_is_refused(after: int) -> None:
    with pytest.raises(BadReplyError):
        list_jobs("a", "ready", 7).answer(ok(b'{"after-id":%d}\n' % after))


@given(
    st.one_of(
        st.builds(resumed, st.integers(0, 5), st.binary(max_size=30)),
        st.builds(lambda token: b"SESSION %b\r\n" % token, st.binary(max_size=210)),
    )
)
def test_any_session_is_a_value_or_an_error_of_ours(reply: bytes) -> None:
    for command in (session(1), resume("token")):
        with suppress(BeanstalkError):
            answer = command.answer(reply)
            assert isinstance(answer, str | list)
