"""Which server a key chooses, and when one that is away is tried again."""

from __future__ import annotations

from collections import Counter

import pytest

from beanrow import BadTypeError, BadValueError
from beanrow.client.servers import Servers

NAMES = ("a:1", "b:1", "c:1", "d:1")


def test_a_key_ranks_the_servers_alike_everywhere() -> None:
    assert Servers(NAMES).ranked("emails") == Servers(NAMES[::-1]).ranked("emails")
    assert sorted(Servers(NAMES).ranked("emails")) == sorted(NAMES)
    assert Servers(("one:1", "two:1", "three:1")).ranked("key") == ["one:1", "two:1", "three:1"], (
        "the same for ever: another order would send the jobs of a key elsewhere"
    )


def test_keys_are_spread_evenly() -> None:
    servers = Servers(NAMES)
    first = Counter(servers.ranked(f"key {number}")[0] for number in range(4000))
    assert min(first.values()) > 850


def test_one_server_less_moves_its_own_keys_only() -> None:
    all_of_them, fewer = Servers(NAMES), Servers(NAMES[:-1])
    for number in range(500):
        before, after = all_of_them.ranked(f"{number}"), fewer.ranked(f"{number}")
        assert [name for name in before if name != NAMES[-1]] == after


def test_a_server_that_is_away_comes_last_and_is_left_out() -> None:
    servers = Servers(NAMES)
    first, second, *rest = servers.ranked("key")
    assert servers.lose(first, 0.0)
    assert not servers.lose(first, 0.0), "no news"
    assert servers.ranked("key") == [second, *rest, first]
    assert first not in servers.present()
    servers.find(first)
    assert servers.ranked("key") == [first, second, *rest]
    assert sorted(servers.present()) == sorted(NAMES)


def test_each_server_is_the_first_to_be_asked_in_turn() -> None:
    servers = Servers(NAMES)
    assert {servers.present()[0] for _ in NAMES} == set(NAMES)


def test_pauses_between_tries_grow_up_to_a_limit() -> None:
    servers, pauses = Servers(NAMES), []
    assert servers.due() is None
    for _ in range(12):
        servers.lose("a:1", 100.0)
        due = servers.due()
        assert due is not None
        assert due[1] == "a:1"
        pauses.append(due[0] - 100.0)
    assert 0.25 <= pauses[0] <= 0.5
    assert 7.5 <= pauses[-1] <= 15.0


def test_bad_lists_of_servers_are_refused() -> None:
    with pytest.raises(BadValueError, match="a pool needs"):
        Servers([])
    with pytest.raises(BadValueError, match="once"):
        Servers(["a:1", "a:1"])
    with pytest.raises(BadTypeError, match="a list"):
        Servers("a:1")
