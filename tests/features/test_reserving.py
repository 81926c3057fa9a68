"""Feature: reserving jobs."""

from __future__ import annotations

import pytest

from beanrow import Client, NotFoundError


@pytest.mark.parametrize("tube", ["default", "another-tube"])
def test_a_reserved_job_is_counted_as_such(client: Client, tube: str) -> None:
    client.use(tube)
    client.watch(tube)
    job_id = client.put("a job")
    before = client.stats_job(job_id)
    assert (before.reserves, before.state) == (0, "ready")
    job = client.reserve(timeout=0)
    assert job is not None
    assert (job.id, job.text) == (job_id, "a job")
    after = client.stats_job(job)
    assert (after.reserves, after.state) == (1, "reserved")
    assert client.reserve(timeout=0) is None


@pytest.mark.parametrize("tube", ["default", "another-tube"])
def test_a_deleted_job_is_gone(client: Client, tube: str) -> None:
    client.watch(tube)
    client.put("a job", tube=tube)
    job = client.reserve(timeout=0)
    assert job is not None
    client.delete(job)
    assert client.reserve(timeout=0) is None
    with pytest.raises(NotFoundError):
        client.stats_job(job)


def test_a_released_job_can_be_reserved_again(client: Client) -> None:
    client.put("a job")
    job = client.reserve(timeout=0)
    assert job is not None
    client.release(job)
    assert client.stats_job(job).state == "ready"
    again = client.reserve(timeout=0)
    assert again is not None
    assert again.id == job.id
    assert client.stats_job(again).reserves == 2
