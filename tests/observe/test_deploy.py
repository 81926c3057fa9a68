"""deploy/: the dashboard and the alert rules speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beanrow import Client
from beanrow.client.address import read_address
from beanrow.observe.exporter import Exporter
from beanrow.observe.snapshot import ALL_TUBES
from tests.servers import Daemon, OurServer

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = (DEPLOY / "beanstalkd.rules.yml").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana-beanstalkd.json").read_text())
NAME = re.compile(r"\bbeanstalkd_[a-z_]+")
ONLY_OURS = re.compile(r"beanstalkd_tube_((wait|run)_seconds|oldest_ready_age)")


def names_told(server: Daemon | OurServer) -> set[str]:
    """The names of the samples of a server on which something has happened."""
    with Client(server.address) as client:
        client.put("x")
        client.delete(client.reserve())
    exporter = Exporter([read_address(server.address)], ALL_TUBES)
    text = exporter.scrape()
    exporter.close()
    return set(re.findall(r"^([a-z_]+)[ {]", text, re.MULTILINE))


def queries(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def rules() -> Iterator[tuple[str, str]]:
    """Each alert with its expression, on one line or indented below it."""
    for part in RULES.split("- alert: ")[1:]:
        name = part.partition("\n")[0]
        match = re.search(
            r"^        expr: (?:\|\n((?:          .*\n)+)|(.*)\n)", part, re.MULTILINE
        )
        assert match is not None, name
        yield name, match[1] or match[2]


def in_dashboard() -> dict[str, str]:
    found = dict(queries(DASHBOARD["panels"]))
    for variable in DASHBOARD["templating"]["list"][1:]:
        found[f"the variable {variable['name']}"] = variable["query"]["query"]
    return found


EXPRESSIONS = {**in_dashboard(), **dict(rules())}


def test_there_is_something_to_check() -> None:
    assert len(dict(rules())) == RULES.count("- alert:") >= 10
    assert len(in_dashboard()) >= 20
    assert all(NAME.search(one) for one in EXPRESSIONS.values())


def test_each_metric_is_told_by_our_server(our_server: OurServer) -> None:
    told = names_told(our_server)
    for where, expression in EXPRESSIONS.items():
        assert set(NAME.findall(expression)) <= told, where


def test_each_metric_is_told_by_the_daemon_unless_it_is_marked(fresh_daemon: Daemon) -> None:
    told = names_told(fresh_daemon)
    for where, expression in EXPRESSIONS.items():
        missing = {name for name in NAME.findall(expression) if name not in told}
        assert all(map(ONLY_OURS.match, missing)), where
        if missing and where in dict(rules()):
            assert re.search(rf"# ours\n +- alert: {where}\n", RULES), where


def test_rates_are_of_counters_alone(our_server: OurServer) -> None:
    exporter = Exporter([read_address(our_server.address)], ALL_TUBES)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exporter.scrape(), re.MULTILINE))
    exporter.close()
    for where, expression in EXPRESSIONS.items():
        for name in re.findall(r"rate\((beanstalkd_[a-z_]+)", expression):
            kind = kinds.get(name, "histogram" if name.endswith("_bucket") else None)
            assert kind in {"counter", "histogram"}, f"{where}: {name}"


def test_no_two_panels_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("alert", sorted(dict(rules())))
def test_each_alert_says_what_to_do(alert: str) -> None:
    part = RULES.partition(f"- alert: {alert}\n")[2].partition("- alert: ")[0]
    for key in ("severity:", "summary:", "description:"):
        assert key in part, key
