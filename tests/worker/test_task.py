"""Tasks: what a call becomes, and what is refused before anything is put."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pydantic
import pytest

from beanrow import (
    App,
    BadTypeError,
    BadValueError,
    BatchError,
    Bury,
    Client,
    JobTooBigError,
    NotOfferedError,
    Release,
    UnreadableBody,
    current_job,
    provided,
)
from beanrow.testing import Beanstalk
from tests.client.scripted import ScriptedServer
from tests.servers import Daemon, Server


@pytest.fixture
def app(server: Server) -> Iterator[App]:
    app = App(server.address)
    yield app
    app.close()


class Order(msgspec.Struct):
    number: int
    lines: list[str] = []


class Customer(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


def test_a_plain_call_runs_the_function() -> None:
    app = App()

    @app.task
    def add(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    assert add(1) == 3
    assert (add.name, add.tube, add.__doc__) == ("add", "add", "Add.")


def test_a_put_is_the_call_by_parameter_name(app: App, server: Server, tube: str) -> None:
    @app.task(tube=tube, priority=7, ttr=timedelta(minutes=2))
    def send(user_id: int, *, lang: str = "en") -> None: ...

    job_id = send.put(42, lang="dé")
    with Client(server.address) as client:
        assert client.peek(job_id).body == '{"user_id":42,"lang":"dé"}'.encode()
        stats = client.stats_job(job_id)
        assert (stats.tube, stats.pri, stats.ttr, stats.delay) == (tube, 7, 120, 0)
        delayed = send.options(delay=60, priority=1, ttr=9).put(1)
        stats = client.stats_job(delayed)
        assert (stats.pri, stats.ttr, stats.delay, stats.state) == (1, 9, 60, "delayed")


def test_many_are_put_in_order(app: App, server: Server, tube: str) -> None:
    @app.task(tube=tube)
    def send(user_id: int, lang: str = "en") -> None: ...

    ids = send.put_many((n, "de") for n in range(700))
    assert ids == sorted(ids)
    assert len(ids) == 700
    with Client(server.address) as client:
        assert json.loads(client.peek(ids[699]).body) == {"user_id": 699, "lang": "de"}
    with pytest.raises(BadTypeError, match="takes a tuple of arguments"):
        send.put_many([5])  # type: ignore[list-item]
    with pytest.raises(BadTypeError, match="missing a required argument"):
        send.put_many([()])


def test_a_body_over_the_limit_is_refused_with_both_sizes(app: App, tube: str) -> None:
    @app.task(tube=tube)
    def send(text: str, n: int = 0) -> None: ...

    with pytest.raises(JobTooBigError) as told:
        send.put("x" * 70_000)
    assert (told.value.size, told.value.limit) == (70_011, 65535)
    with pytest.raises(BatchError) as batch:
        send.put_many([("x",), ("x" * 70_000,)])
    assert isinstance(batch.value.results[1], JobTooBigError)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"c": 2}, "unexpected keyword argument 'c'"),
        ((object(),), {}, "not JSON serializable"),
        ((float("nan"),), {}, "not JSON compliant"),
    ],
)
def test_a_call_that_no_worker_could_run_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with ScriptedServer([]) as server:  # not a byte is sent
        app = App(server.address)

        @app.task
        def f(a: Any, b: int = 0) -> None: ...

        with pytest.raises((BadTypeError, BadValueError), match=words):
            f.put(*args, **kwargs)
        app.client.connect()
        app.close()


def test_what_cannot_be_a_task() -> None:
    app = App()
    with pytest.raises(BadTypeError, match="take a list instead"):
        app.task(tube="t")(lambda *names: names)
    with pytest.raises(BadTypeError, match="a task is a function"):
        app.task(tube="t")(print)
    with pytest.raises(BadValueError, match="tube name"):
        app.task(tube="a b")(lambda: None)
    with pytest.raises(BadValueError, match="ttr 0"):
        app.task(tube="t", ttr=0)(lambda: None)
    with pytest.raises(BadTypeError, match="retry is a Retry"):
        app.task(tube="t", retry=3)(lambda: None)  # type: ignore[call-overload]
    for name in ("weight", "at_once"):
        with pytest.raises(BadValueError, match=name):
            app.task(tube="t", **{name: 0})(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(BadValueError, match="time_limit"):
        app.task(tube="t", time_limit=0)(lambda: None)

    @app.task(tube="one")
    def first() -> None: ...

    with pytest.raises(BadValueError, match=r"tube 'one' is task first's"):
        app.task(tube="one")(lambda: None)


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (b'{"a":1}', ((), {"a": 1})),
        (b'{"a":1,"b":2}', ((), {"a": 1, "b": 2})),
        (b"[1, 2]", ((), {"a": 1, "b": 2})),
        (b"[1]", ((), {"a": 1})),
    ],
)
def test_a_body_of_another_language_is_read(body: bytes, call: object) -> None:
    @App().task
    def f(a: int, b: int = 0) -> None: ...

    assert f.parameters.decode(body) == call


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1, 2, 3]", "3 arguments, and it takes 2"),
        (b"[]", "missing: a"),
        (b"{}", "missing: a"),
        (b'{"a":1,"z":2}', "unknown: z"),
        (b"7", "neither an object"),
        (b"{", "Expecting property name"),
        (b"\xff", "codec can't decode"),
        (b"", "Expecting value"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_body_that_is_no_call_says_why(body: bytes, words: str) -> None:
    @App().task
    def f(a: int, b: int = 0) -> None: ...

    with pytest.raises(UnreadableBody, match=words):
        f.parameters.decode(body)


def test_positional_only_and_other_names() -> None:
    @App().task
    def f(a: int, /, b: int = 0, **more: int) -> tuple[int, int, dict[str, int]]:
        return a, b, more

    body = f.parameters.encode((1,), {"b": 2, "c": 3})
    assert json.loads(body) == {"a": 1, "b": 2, "c": 3}
    args, kwargs = f.parameters.decode(body)
    assert f.function(*args, **kwargs) == (1, 2, {"c": 3})


def test_one_parameter_of_bytes_or_text_is_the_raw_body() -> None:
    app = App()

    @app.task
    def raw(data: bytes) -> None: ...

    @app.task
    def text(line: str) -> None: ...

    assert raw.parameters.encode((b"\x00\xff",), {}) == b"\x00\xff"
    assert raw.parameters.decode(b"\xff") == ((b"\xff",), {})
    assert text.parameters.encode(("é",), {}) == "é".encode()
    assert text.parameters.decode("é".encode()) == (("é",), {})
    with pytest.raises(BadTypeError, match="data is bytes, not str"):
        raw.put("x")  # type: ignore[arg-type]
    with pytest.raises(UnreadableBody):
        text.parameters.decode(b"\xff")


def test_msgspec_and_pydantic_types_are_decoded_and_validated() -> None:
    app = App()

    @app.task
    def ship(order: Order, others: list[Order] | None = None) -> None: ...

    @app.task
    def greet(customer: Customer) -> None: ...

    body = ship.parameters.encode((Order(1, ["a"]),), {"others": [Order(2)]})
    assert json.loads(body) == {
        "order": {"number": 1, "lines": ["a"]},
        "others": [{"number": 2, "lines": []}],
    }
    _, call = ship.parameters.decode(body)
    assert call == {"order": Order(1, ["a"]), "others": [Order(2)]}
    with pytest.raises(UnreadableBody, match="Expected `int`"):
        ship.parameters.decode(b'{"order":{"number":"x"}}')

    body = greet.parameters.encode((Customer(name="Ada", age=36),), {})
    assert json.loads(body) == {"customer": {"name": "Ada", "age": 36}}
    assert greet.parameters.decode(body)[1] == {"customer": Customer(name="Ada", age=36)}
    with pytest.raises(UnreadableBody, match="greater than or equal to 0"):
        greet.parameters.decode(b'{"customer":{"name":"Ada","age":-1}}')


def test_a_codec_of_ones_own() -> None:
    class Lines:
        def encode(self, arguments: dict[str, Any]) -> bytes:
            return "\n".join(arguments.values()).encode()

        def decode(self, body: bytes) -> list[Any]:
            return body.decode().split("\n")

    @App().task(codec=Lines())
    def f(a: str, b: str) -> None: ...

    assert f.parameters.encode(("x", "y"), {}) == b"x\ny"
    assert f.parameters.decode(b"x\ny") == ((), {"a": "x", "b": "y"})


def test_a_unique_job_is_refused_where_the_server_cannot_keep_it(daemon: Daemon, tube: str) -> None:
    app = App(daemon.address)

    @app.task(tube=tube)
    def send(n: int) -> None: ...

    with pytest.raises(NotOfferedError, match="nothing was sent"):
        send.options(unique="key-1").put(1)
    with Client(daemon.address) as client:
        assert tube not in client.list_tubes()
    app.close()


def test_a_unique_job_is_put_once(beanstalk: Beanstalk, tube: str) -> None:
    app = App(beanstalk.address)

    @app.task(tube=tube)
    def send(n: int) -> None: ...

    unique = send.options(unique="key-1", lifetime=60)
    first = unique.put(1)
    assert unique.put(2) == first
    assert beanstalk.assert_put(tube, count=1).json == {"n": 1}
    beanstalk.client().delete(first)
    beanstalk.clock.advance(59)
    assert unique.put(3) == first, "the key outlives its job by what is left of the lifetime"
    beanstalk.clock.advance(1)
    assert unique.put(3) > first
    assert send.options(unique="key-2").put(4) != first
    with pytest.raises(BadValueError, match="unique key"):
        unique.put_many([(1,)])
    app.close()


# -- test mode --------------------------------------------------------------------


def test_inline_runs_each_job_as_it_is_put() -> None:
    app, ran = App("nowhere.invalid"), []

    @app.task
    def send(n: int) -> None:
        ran.append((current_job().id, n))

    @app.task
    async def later(n: int) -> None:
        await asyncio.sleep(0)
        ran.append((current_job().id, n))

    with app.inline():
        assert send.put(5) == 1
        assert later.options(delay=60).put(6) == 2
        assert send.put_many([(7,), (8,)]) == [3, 4]

        async def service() -> None:
            later.put(9)

        asyncio.run(service())
    assert ran == [(1, 5), (2, 6), (3, 7), (4, 8), (5, 9)]
    with pytest.raises(LookupError):
        current_job()


def test_inline_raises_what_the_function_raises() -> None:
    app = App("nowhere.invalid")

    @app.task
    def fail(how: str) -> None:
        if how == "release":
            raise Release(delay=5)
        raise Bury("no good") if how == "bury" else KeyError(how)

    @app.task
    async def fail_later() -> None:
        raise KeyError("later")

    with app.inline():
        with pytest.raises(Release, match="5 s"):
            fail.put("release")
        with pytest.raises(Bury, match="no good"):
            fail.put("bury")
        with pytest.raises(KeyError):
            fail.put("other")
        with pytest.raises(KeyError, match="later"):
            fail_later.put()


def test_what_is_provided_is_made_once_and_never_put(app: App, client: Client, tube: str) -> None:
    made: list[list[int]] = []

    def connect() -> list[int]:
        made.append([])
        return made[-1]

    @app.task(tube=tube)
    def store(n: int, *, db: list[int] = provided(connect)) -> None:
        db.append(n)

    @app.task(tube=f"{tube}-b")
    async def later(n: int, *, db: list[int] = provided(connect)) -> None:
        db.append(n)

    assert client.peek(store.put(1)).body == b'{"n":1}'
    store.put(2)
    later.put(3)
    assert made == []
    assert app.drain() == 3
    assert sorted(made) == [[1, 2], [3]]
    fake: list[int] = []
    store(4, db=fake)
    store(5)
    assert (fake, made[0]) == ([4], [1, 2, 5])
    with pytest.raises(BadTypeError, match="unexpected keyword argument 'db'"):
        store.put(1, db=fake)
    with app.inline():
        store.put(6)
    assert made[0][-1] == 6


def test_what_is_provided_in_a_forked_process_is_its_own(app: App, tube: str) -> None:
    @app.task(tube=tube)
    def who(n: int, *, pid: int = provided(os.getpid)) -> int:
        return pid

    assert who(1) == os.getpid()
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, b"%d" % who(1))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        assert int(told.read()) == child
    os.waitpid(child, 0)


def test_what_is_provided_stands_behind_a_star(app: App, tube: str) -> None:
    with pytest.raises(BadTypeError, match="db is provided, so it comes behind a"):

        @app.task(tube=tube)
        def store(n: int, db: list[int] = provided(list)) -> None: ...
