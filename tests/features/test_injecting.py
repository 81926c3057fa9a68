"""Feature: injecting jobs into tubes."""

from __future__ import annotations

import pytest

from beanrow import Client


@pytest.mark.parametrize("tube", ["default", "another-tube"])
def test_a_job_put_into_a_tube_is_ready_there(client: Client, tube: str) -> None:
    assert client.use(tube) == tube
    job_id = client.put("a job")
    told = client.stats_job(job_id)
    assert (told.tube, told.state, told.reserves) == (tube, "ready", 0)
    assert client.stats_tube(tube).current_jobs_ready == 1
    seen = client.peek_ready()
    assert seen is not None
    assert (seen.id, seen.text) == (job_id, "a job")


def test_jobs_in_one_tube_are_not_in_another(client: Client) -> None:
    client.use("another-tube")
    client.put("a job")
    assert client.stats_tube("default").current_jobs_ready == 0
    assert client.reserve(timeout=0) is None, "only default is watched"
    client.watch("another-tube")
    job = client.reserve(timeout=0)
    assert job is not None
    assert job.text == "a job"


def test_the_more_urgent_job_comes_first(client: Client) -> None:
    later = client.put("later", priority=10)
    sooner = client.put("sooner", priority=5)
    first, second = client.reserve(timeout=0), client.reserve(timeout=0)
    assert first is not None
    assert second is not None
    assert [(first.id, first.text), (second.id, second.text)] == [
        (sooner, "sooner"),
        (later, "later"),
    ]


def test_a_delayed_job_comes_after_its_delay(client: Client) -> None:
    job_id = client.put("a job", delay=1)
    assert client.stats_job(job_id).state == "delayed"
    assert client.peek_ready() is None
    assert client.reserve(timeout=0) is None
    job = client.reserve(timeout=5)
    assert job is not None
    assert job.id == job_id
    assert client.stats_job(job_id).state == "reserved"
