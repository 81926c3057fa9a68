"""Each form does what it says, on each kind of server, and can be undone where it says so."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beanrow import Client
from beanrow.cli.program import run
from beanrow.dashboard import changes
from beanrow.errors import NotFoundError
from beanrow.worker.letters import read_letter
from tests.dashboard.desk import Dash, notice, read
from tests.dashboard.test_pages import LETTER
from tests.servers import OurServer


def undo(dash: Dash) -> str:
    """Undo what was changed last, and tell the outcome."""
    return dash.do("/1/undo", change=dash.desk.changes.newest()[0].number)


def facts(client: Client, job_id: int) -> tuple[object, ...]:
    stats = client.stats_job(job_id)
    return stats.tube, stats.state, stats.pri, stats.ttr, client.peek(job_id).body


def test_pause_and_resume(dash: Dash, client: Client, tube: str) -> None:
    client.put("x", tube=tube)
    told = dash.do("/1/tube", name=tube, action="pause", seconds=300)
    assert told == f"tube {tube} hands out nothing for 5 min."
    assert 295 <= client.stats_tube(tube).pause_time_left <= 300
    words = read(dash.page("/1/tube", name=tube))
    assert "paused for 4 min" in words or "paused for 5 min" in words
    dash.do("/1/tube", name=tube, action="resume")
    assert client.stats_tube(tube).pause_time_left == 0


def test_kick(dash: Dash, client: Client, tube: str) -> None:
    client.watch(tube)
    for _ in range(3):
        client.bury(client.reserve_job(client.put("x", tube=tube)))
    client.put("x", tube=tube, delay=600)
    assert "2 jobs" in dash.do("/1/tube", name=tube, action="kick", count=2)
    assert client.stats_tube(tube).current_jobs_buried == 1
    assert "1 job " in dash.do("/1/tube", name=tube, action="kick", count="")
    stats = client.stats_tube(tube)
    assert (stats.current_jobs_buried, stats.current_jobs_delayed) == (0, 1)


def test_put(dash: Dash, client: Client, tube: str) -> None:
    fields = {"priority": 3, "delay": 0, "ttr": 9, "body": "two\r\nlines ü <b>"}
    told = dash.do("/1/tube", name=tube, action="put", **fields)
    (found,) = re.findall(r"job (\d+) put", told)
    assert facts(client, int(found)) == (tube, "ready", 3, 9, "two\nlines ü <b>".encode())


def test_clear_and_undo(dash: Dash, client: Client, tube: str) -> None:
    client.put_many([b"ready %d" % number for number in range(130)], tube=tube, priority=7, ttr=11)
    client.put("\x00\xff".encode("latin-1"), tube=tube, delay=600)
    client.bury(client.reserve_job(client.put("set aside", tube=tube)), priority=4)
    held = client.reserve_job(client.put("held", tube=tube))
    told = dash.do("/1/tube", name=tube, action="clear")
    assert told.startswith(f"132 jobs of tube {tube} deleted")
    assert client.stats_tube(tube).current_jobs_reserved == 1
    client.delete(held)
    assert undo(dash).startswith("132 jobs put back as before")
    stats = client.stats_tube(tube)
    assert (stats.current_jobs_ready, stats.current_jobs_delayed, stats.current_jobs_buried) == (
        130,
        1,
        1,
    )
    client.use(tube)
    ready, delayed, buried = client.peek_ready(), client.peek_delayed(), client.peek_buried()
    assert ready is not None
    assert delayed is not None
    assert buried is not None
    assert facts(client, ready.id) == (tube, "ready", 7, 11, b"ready 0")
    assert delayed.body == b"\x00\xff"
    assert 590 < client.stats_job(delayed).time_left <= 600
    assert facts(client, buried.id)[2:] == (4, 60, b"set aside")
    assert "nothing to put back" in dash.refused(
        409, "/1/undo", change=dash.desk.changes.newest()[1].number
    )


def test_two_who_undo_at_once_put_back_once(dash: Dash, client: Client, tube: str) -> None:
    client.put_many([b"x"] * 250, tube=tube, delay=600)
    dash.do("/1/tube", name=tube, action="clear")
    fields: dict[str, object] = {"change": dash.desk.changes.newest()[0].number}
    with ThreadPoolExecutor(4) as people:
        answers = list(people.map(lambda _: dash.send("/1/undo", fields), range(4)))
    assert sorted(one.status_code for one in answers) == [200, 409, 409, 409]
    assert client.stats_tube(tube).current_jobs_delayed == 250


def test_a_paused_tube_is_cleared_too(dash: Dash, client: Client, tube: str) -> None:
    client.put_many([b"x"] * 5, tube=tube)
    client.pause_tube(tube, 60)
    assert dash.do("/1/tube", name=tube, action="clear").startswith("5 jobs")


def test_chosen_jobs_are_deleted_and_put_back(dash: Dash, client: Client, tube: str) -> None:
    ids = client.put_many([b"a", b"b", b"c"], tube=tube)
    held = client.reserve_job(ids[0])
    told = dash.do("/1/jobs", name=tube, action="delete", id=ids[:2])
    assert told.startswith(f"1 job of tube {tube} deleted; 1 job left, held by workers.")
    client.release(held)
    assert undo(dash).startswith("1 job put back")
    page = dash.page("/1/jobs", name=tube)
    assert [client.peek(int(id)).body for id in re.findall(r"/1/job/(\d+)", page)] == [
        b"a",
        b"c",
        b"b",
    ]


def test_all_that_a_filter_finds(dash: Dash, client: Client, tube: str) -> None:
    client.put_many([b"job %d" % number for number in range(300)], tube=tube)
    client.put("job 1", tube=tube, delay=60)
    told = dash.do(
        "/1/jobs", name=tube, action="delete", all=1, match="job 1", state="ready", id=[1]
    )
    assert told.startswith("111 jobs of")
    assert client.stats_tube(tube).current_jobs_ready == 189
    assert client.stats_tube(tube).current_jobs_delayed == 1
    what = dash.desk.changes.newest()[0].what
    assert what == f"delete all jobs (state ready, body with job 1) of tube {tube}"


def test_jobs_are_kicked(dash: Dash, client: Client, tube: str) -> None:
    ids = [client.put("x", tube=tube, delay=60), client.put("y", tube=tube)]
    told = dash.do("/1/jobs", name=tube, action="kick", id=ids)
    assert told == f"1 job of tube {tube} kicked; 1 job neither buried nor delayed."
    assert client.stats_job(ids[0]).state == "ready"


def test_jobs_are_moved_and_moved_back(dash: Dash, client: Client, tube: str) -> None:
    ids = client.put_many([b"a", b"b"], tube=tube, priority=9)
    other = f"{tube}-other"
    told = dash.do("/1/jobs", name=tube, action="move", id=ids, to=other)
    assert told.startswith("2 jobs of")
    assert client.stats_tube(other).current_jobs_ready == 2
    assert undo(dash).startswith("2 jobs put back")
    client.use(tube)
    first = client.peek_ready()
    assert first is not None
    assert facts(client, first.id) == (tube, "ready", 9, 60, b"a")
    with pytest.raises(NotFoundError):
        client.stats_tube(other)
    assert "already" in dash.refused(400, "/1/jobs", name=tube, action="move", id=ids, to=tube)


def test_what_was_taken_meanwhile_is_not_put_back(dash: Dash, client: Client, tube: str) -> None:
    ids = client.put_many([b"a", b"b"], tube=tube)
    other = f"{tube}-other"
    dash.do("/1/jobs", name=tube, action="move", id=ids, to=other)
    client.watch(other)
    client.ignore("default")
    client.delete(client.reserve())
    told = undo(dash)
    assert told.startswith("1 job put back as before; 1 not: no job ")


def test_dead_letters_go_back(dash: Dash, client: Client, tube: str) -> None:
    dead = f"{tube}-dead"
    letter = json.dumps({**LETTER, "tube": tube})
    ids = client.put_many([letter, letter], tube=dead)
    told = dash.do("/1/jobs", name=dead, action="letter", id=ids, from_="failed")
    assert told.startswith("2 jobs of")
    client.use(tube)
    job = client.peek_ready()
    assert job is not None
    assert facts(client, job.id) == (tube, "ready", 10, 30, b"[42]")
    undo(dash)
    client.use(dead)
    back = client.peek_ready()
    assert back is not None
    assert read_letter(back.body).tube == tube
    for strange in ({"tube": ["x"]}, {"tube": "no such"}, {"priority": "x"}, {"ttr": None}):
        job_id = client.put(json.dumps({**LETTER, **strange}), tube=dead)
        told = dash.do("/1/jobs", name=dead, action="letter", id=[job_id])
        assert "1 job" not in told
        assert dash.desk.changes.newest()[0].failed
        assert client.stats_job(job_id).state == "ready"
    plain = client.put("plain", tube=dead)
    answer = dash.send("/1/jobs", {"name": dead, "action": "letter", "id": [plain]})
    assert f"job {plain} is no dead letter" in notice(answer.text)


def form_of(page: str) -> dict[str, str]:
    """The fields of the form that edits a job, as a browser would send them back."""
    body = re.search(r'<textarea name="body"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    how = re.search(r'name="how" value="([\w-]+)"', page)
    assert body is not None
    assert how is not None
    fields = dict(re.findall(r'name="(priority|ttr)" type="number"[^>]*value="(\d+)"', page))
    text = body[1].replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"')
    sent = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return {**fields, "delay": "", "how": how[1], "body": sent}


@pytest.mark.parametrize(
    "body",
    [b"one\ntwo\n", b"one\r\ntwo", b"mixed\r\nends\n", b"\n\nfirst", b"\xff\x00", b"", b"<b>\rx"],
)
def test_a_form_gives_a_body_back_as_it_was(
    dash: Dash, client: Client, tube: str, body: bytes
) -> None:
    job_id = client.put(body, tube=tube)
    fields = form_of(dash.page(f"/1/job/{job_id}"))
    told = dash.do(f"/1/job/{job_id}", **{**fields, "priority": "1"})
    assert told.startswith(f"job {job_id} changed")
    assert facts(client, job_id) == (tube, "ready", 1, 60, body)


def test_a_job_is_edited_and_put_back(dash: Dash, client: Client, tube: str) -> None:
    job_id = client.put('{"a": 1}', tube=tube, priority=5, delay=600)
    fields = form_of(dash.page(f"/1/job/{job_id}"))
    told = dash.do(f"/1/job/{job_id}", **{**fields, "body": "new", "ttr": "9"})
    (new,) = map(int, re.findall(r"it is job (\d+) now", told))
    assert facts(client, new) == (tube, "delayed", 5, 9, b"new")
    assert undo(dash).startswith("1 job put back")
    client.use(tube)
    old = client.peek_delayed()
    assert old is not None
    assert facts(client, old.id) == (tube, "delayed", 5, 60, b'{"a": 1}')
    dash.do(f"/1/job/{old.id}", **{**form_of(dash.page(f"/1/job/{old.id}")), "delay": "0"})
    assert client.stats_job(old.id).state == "ready"
    undo(dash)
    assert client.stats_job(old.id).state == "delayed"


def test_a_job_that_is_held_is_not_edited(dash: Dash, client: Client, tube: str) -> None:
    job_id = client.put("x", tube=tube)
    fields = form_of(dash.page(f"/1/job/{job_id}"))
    client.reserve_job(job_id)
    told = dash.do(f"/1/job/{job_id}", **{**fields, "body": "new"})
    assert "is held by another connection" in told


def test_a_job_of_another_tube_is_left(dash: Dash, client: Client, tube: str) -> None:
    """Rights are asked for the tube that the form names."""
    job_id = client.put("x", tube=f"{tube}-other")
    client.put("x", tube=tube)
    told = dash.do("/1/jobs", name=tube, action="delete", id=[job_id])
    assert f"job {job_id} is in tube {tube}-other" in told
    assert client.peek(job_id).body == b"x"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/1/tube", {"action": "pause", "seconds": "0"}),
        ("/1/tube", {"action": "pause", "seconds": "x"}),
        ("/1/tube", {"action": "explode"}),
        ("/1/tube", {"action": "clear", "name": "no such\r\nname"}),
        ("/1/tube", {"action": "put", "priority": "", "delay": "0", "ttr": "1"}),
        ("/1/jobs", {"action": "delete"}),
        ("/1/jobs", {"action": "explode", "id": ["1"]}),
        ("/1/jobs", {"action": "delete", "id": ["x"]}),
        ("/1/jobs", {"action": "delete", "all": "1", "older": "x"}),
        ("/1/jobs", {"action": "move", "id": ["1"], "to": ""}),
    ],
)
def test_a_wrong_form_is_refused(dash: Dash, path: str, fields: dict[str, object]) -> None:
    dash.refused(400, path, **{"name": "default", **fields})


def test_long_work_goes_on_behind_the_page(
    dash: Dash, client: Client, tube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_many([b"x"] * 50, tube=tube, delay=60)
    monkeypatch.setattr(changes, "_MOST_SECONDS_WAITED", 0.0)
    told = dash.do("/1/tube", name=tube, action="clear")
    assert told.startswith((f"clear tube {tube} goes on:", "50 jobs"))
    end = time.monotonic() + 20
    while dash.desk.changes.newest()[0].running:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert f"50 jobs of tube {tube} deleted" in read(dash.page("/1/changes"))


def test_what_is_taken_away_can_be_kept(
    start_ours: Callable[..., OurServer], tmp_path: Path
) -> None:
    server, kept = start_ours(), tmp_path / "undo"
    with Client(server.address) as client:
        client.put_many([b"a", b"\xff"], tube="emails", priority=3)
        with Dash(server.address, undo=kept) as dash:
            dash.do("/1/tube", name="emails", action="clear")
        (file,) = kept.iterdir()
        assert run(["restore", "--file", str(file), "--server", server.address]) == 0
        assert client.stats_tube("emails").current_jobs_ready == 2


def test_without_a_directory_nothing_is_left(
    start_ours: Callable[..., OurServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = start_ours()
    with Client(server.address) as client, Dash(server.address) as dash:
        client.put("x", tube="emails")
        dash.do("/1/tube", name="emails", action="clear")
        assert [*tmp_path.iterdir()]
    assert [*tmp_path.iterdir()] == []
