"""Feature: statistics of the server, of tubes and of jobs."""

from __future__ import annotations

import pytest

from beanrow import Client


@pytest.mark.parametrize("tube", ["default", "another-tube"])
def test_a_tube_knows_who_watches_it(client: Client, tube: str) -> None:
    client.watch(tube)
    told = client.stats_tube(tube)
    assert (told.name, told.current_watching) == (tube, 1)


@pytest.mark.parametrize("tube", ["default", "another-tube"])
def test_the_tubes_are_listed(client: Client, tube: str) -> None:
    client.watch(tube)
    assert tube in client.list_tubes()
    assert tube in client.list_tubes_watched()
    client.use(tube)
    assert client.list_tube_used() == tube


def test_the_server_counts(client: Client) -> None:
    before = client.stats()
    assert (before.total_jobs, before.current_jobs_ready, before.current_connections) == (0, 0, 1)
    client.put("a job")
    after = client.stats()
    assert (after.total_jobs, after.current_jobs_ready, after.cmd_put) == (1, 1, 1)
    assert after.cmd_stats > before.cmd_stats
