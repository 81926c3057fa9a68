"""`beanrow move`: dead letters back to their tubes, and jobs into other ones."""

from __future__ import annotations

import json

from beanrow import App, Client, NotFoundError
from tests.cli.command import complaint, document, good, run
from tests.cli.inside import refused, told
from tests.servers import Server
from tests.worker.conftest import Told, working


def letters(server: Server, tube: str) -> tuple[list[int], str]:
    """Have a worker give up two jobs, one of them unreadable; the ids of their letters."""
    told = Told()
    app = App(server.address, middleware=[told])
    dead = f"{tube}-dead"

    @app.task(tube=tube, dead_letters=dead, ttr=99, priority=7)
    def fail(text: str, n: int = 0) -> None:
        raise ValueError("no good")

    with Client(server.address) as client:
        fail.put("é")
        client.put(b"\xff\x00", tube=tube, ttr=98, priority=8)
        with working(app, 1):
            told.wait_for("letter", count=2)
        app.close()
        client.watch(dead)
        client.ignore("default")
        found = [client.reserve(timeout=5), client.reserve(timeout=5)]
    return [job.id for job in found if job is not None], dead


def test_dead_letters_go_back_as_they_were_put(server: Server, tube: str) -> None:
    ids, dead = letters(server, tube)
    with Client(server.address) as client:
        strange = client.put("no letter", tube=dead)
        done = run("move", "--server", server.address, "--tube", dead, "--json")
        told = complaint(done, 2)
        assert f"1 jobs of tube {dead} are no dead letters, and were left" in told
        moved = json.loads(done.stdout)
        assert [one["from"] for one in moved] == ids
        assert {one["tube"] for one in moved} == {tube}
        first, second = (one["id"] for one in moved)
        assert json.loads(client.peek(first).body)["text"] == "é"
        assert client.peek(second).body == b"\xff\x00"
        seen = [client.stats_job(one) for one in (first, second)]
        assert [(one.tube, one.state, one.pri, one.ttr) for one in seen] == [
            (tube, "ready", 7, 99), (tube, "ready", 8, 98)
        ]  # fmt: skip
        assert [client.stats_tube(dead).current_jobs_ready, client.stats_job(strange).tube] == [
            1, dead
        ]  # fmt: skip


def test_one_letter_and_one_job_as_it_is(server: Server, tube: str) -> None:
    (first, second), _ = letters(server, tube)
    assert good("move", "--server", server.address, str(first)).startswith(b"%d -> " % first)
    (moved,) = document("move", "--server", server.address, str(second), "--to", f"{tube}-other")
    assert moved == {"from": second, "id": moved["id"], "tube": f"{tube}-other"}
    with Client(server.address) as client:
        assert b"body_base64" in client.peek(moved["id"]).body
        plain = client.put("no letter", tube=tube, delay=100)
        told = complaint(run("move", "--server", server.address, str(plain)), 2)
        assert "this body is no dead letter" in told
        assert client.stats_job(plain).state == "delayed"  # it was not even taken


def test_all_of_a_tube_as_they_are(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        ids = client.put_many((str(n) for n in range(5)), tube=tube, ttr=50)
        moved = document("move", "--server", server.address, "--tube", tube, "--to", f"{tube}-b")
        assert [one["from"] for one in moved] == ids
        assert [client.peek(one["id"]).text for one in moved] == ["0", "1", "2", "3", "4"]
        for one in ids:
            try:
                client.peek(one)
            except NotFoundError:
                continue
            raise AssertionError("it is in both tubes")


def test_what_cannot_be_moved(server: Server, tube: str) -> None:
    place = ("move", "--server", server.address)
    assert "give ID, or say which" in complaint(run(*place), 2)
    assert "give ID, or say which" in complaint(run(*place, "4", "--tube", tube), 2)
    assert "already" in complaint(run(*place, "--tube", tube, "--to", tube), 2)
    assert "no job 999999999" in complaint(run(*place, "999999999"), 1)
    assert f"no tube {tube};" in complaint(run(*place, "--tube", tube), 1)


def test_jobs_in_other_states_and_those_that_are_found(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        client.put_many(["delayed 1", "delayed 2"], tube=tube, delay=100)
        buried = [client.put(f"buried {n}", tube=tube, priority=n) for n in (1, 2)]
        for one in buried:
            client.bury(client.reserve_job(one), priority=1)
        some = ("move", "--server", server.address, "--tube", tube, "--to", f"{tube}-b")
        assert told(*some, "--state", "buried", "--dry-run") == {"would-move": 2}
        assert told(*some, "--state", "delayed", "--match", "2$", "--dry-run") == {"would-move": 1}
        assert [one["from"] for one in told(*some, "--state", "buried")] == buried
        assert len(told(*some, "--state", "delayed", "--match", "2$")) == 1
        assert client.stats_tube(tube).current_jobs_delayed == 1
        assert client.stats_tube(f"{tube}-b").current_jobs_delayed == 1


def test_what_is_no_letter_keeps_its_state(server: Server, tube: str) -> None:
    with Client(server.address) as client:
        job = client.reserve_job(client.put("no letter", tube=tube))
        client.bury(job, priority=3)
        done = refused(2, "move", "--server", server.address, "--tube", tube, "--state", "buried")
        assert "1 jobs of" in done
        assert client.stats_job(job).state == "buried"
